//! The end of a process and of a runtime, with goroutines in every state.

use crate::harness::{Run, Table, as_main, until_parked};
use crate::table;
use millpond::debug::WaitReason;
use millpond::{Builder, chan, go, runtime, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const TESTS: Table = table![
    main_returns_with_ten_thousand_parked,
    run_returns_with_ten_thousand_parked,
    main_returns_while_others_compute_and_block,
    run_returns_while_another_thread_still_computes,
    exit_from_a_goroutine_ends_the_process_with_its_status,
    exit_from_a_goroutine_beside_main,
    exit_runs_no_goroutine_further,
    work_from_plain_threads_after_the_end_is_answered,
];

pub const SCENARIOS: Table = table![
    main_with_parked,
    run_with_parked,
    main_with_busy,
    run_with_computing,
    exit_in_main,
    exit_beside_main,
    exit_with_parked,
    late_work,
];

const PARKED: usize = 10_000;

/// Counts its drops, and aborts at a second one of the same value.
struct Once {
    drops: Arc<AtomicUsize>,
    dropped: AtomicBool,
}

impl Drop for Once {
    fn drop(&mut self) {
        if self.dropped.swap(true, Ordering::SeqCst) {
            std::process::abort();
        }
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// Starts [`PARKED`] goroutines that hold a value on their stack and one in their closure, for
/// ever. Returns what keeps them parked.
fn park_many(drops: &Arc<AtomicUsize>) -> chan::Sender<()> {
    let (tx, rx) = chan::bounded::<()>(0);
    for _ in 0..PARKED {
        let rx = rx.clone();
        let value = Once { drops: drops.clone(), dropped: AtomicBool::new(false) };
        drop(go(move || {
            let _on_the_stack = Box::new(value);
            let _ = rx.recv();
        }));
    }
    until_parked(PARKED, WaitReason::ChanRecv);
    tx
}

fn main_with_parked() {
    let drops = Arc::new(AtomicUsize::new(0));
    let seen = drops.clone();
    let began = Arc::new(std::sync::Mutex::new(Instant::now()));
    let ended = began.clone();
    as_main(move || {
        std::mem::forget(park_many(&drops));
        *began.lock().unwrap() = Instant::now();
    });
    assert!(ended.lock().unwrap().elapsed() < Duration::from_secs(20));
    assert_eq!(seen.load(Ordering::SeqCst), 0, "a parked goroutine is not unwound");
}

fn main_returns_with_ten_thousand_parked() {
    Run::of("main_with_parked").passes();
}

fn run_with_parked() {
    let drops = Arc::new(AtomicUsize::new(0));
    let theirs = drops.clone();
    let (tx, began) = runtime::Builder::new()
        .run(move || {
            let tx = park_many(&theirs);
            (tx, Instant::now())
        })
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // The frames are frozen where they are: what wakes them, wakes nobody, and harms nobody.
    tx.close();
    drop(tx);
    let again = runtime::Builder::new().run(|| go(|| 3).join().unwrap());
    assert_eq!(again.unwrap(), 3);
    assert_eq!(drops.load(Ordering::SeqCst), 0, "a parked goroutine is not unwound");
}

fn run_returns_with_ten_thousand_parked() {
    Run::of("run_with_parked").passes();
}

fn main_with_busy() {
    as_main(|| {
        let started = Arc::new(AtomicUsize::new(0));
        let theirs = started.clone();
        // Placed on threads of their own: what shares a thread with these waits for them.
        drop(Builder::new().spread().go(move || {
            theirs.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_secs(1_000));
        }));
        let theirs = started.clone();
        drop(Builder::new().spread().go(move || {
            theirs.fetch_add(1, Ordering::SeqCst);
            loop {
                std::hint::spin_loop();
            }
        }));
        drop(spawn(std::future::pending::<()>()));
        drop(go(|| millpond::blocking(|| std::thread::sleep(Duration::from_secs(1_000)))));
        while started.load(Ordering::SeqCst) < 2 {
            millpond::yield_now();
        }
    });
}

fn main_returns_while_others_compute_and_block() {
    let ended = Run::of("main_with_busy").env("MILLPOND_PROCS", "4").passes();
    assert!(ended.took < Duration::from_secs(60), "{ended}");
}

fn run_with_computing() {
    let stop = Arc::new(AtomicBool::new(false));
    let (theirs, inside) = (stop.clone(), Arc::new(AtomicBool::new(false)));
    let handle = runtime::Builder::new()
        .procs(2)
        .run(move || {
            let entered = inside.clone();
            let handle = go(move || {
                entered.store(true, Ordering::SeqCst);
                while !theirs.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
            });
            while !inside.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            handle
        })
        .unwrap();
    assert!(!handle.is_finished());
    stop.store(true, Ordering::SeqCst);
    // It came to its end on its own.
    handle.join().unwrap();
}

fn run_returns_while_another_thread_still_computes() {
    Run::of("run_with_computing").passes();
}

fn exit_in_main() {
    as_main(|| std::process::exit(7));
}

fn exit_from_a_goroutine_ends_the_process_with_its_status() {
    Run::of("exit_in_main").end().has_code(7);
}

fn exit_beside_main() {
    as_main(|| {
        let (_tx, rx) = chan::bounded::<()>(0);
        drop(Builder::new().stack_size(16 << 10).go(|| std::process::exit(8)));
        let _ = rx.recv();
    });
}

fn exit_from_a_goroutine_beside_main() {
    Run::of("exit_beside_main").end().has_code(8);
}

fn exit_with_parked() {
    as_main(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let _tx = park_many(&drops);
        std::process::exit(9 + drops.load(Ordering::SeqCst) as i32);
    });
}

fn exit_runs_no_goroutine_further() {
    Run::of("exit_with_parked").end().has_code(9);
}

fn late_work() {
    let (tx, rx) = runtime::Builder::new().run(chan::unbounded::<u32>).unwrap();
    let cancelled = runtime::Builder::new()
        .run(|| {
            let held = go(|| {
                let (_tx, rx) = chan::bounded::<u32>(0);
                rx.recv()
            });
            millpond::yield_now();
            held
        })
        .unwrap();
    assert!(cancelled.join().unwrap_err().is_cancelled());
    // No runtime runs now: one is started in the background.
    drop(go(move || tx.send(5)));
    assert_eq!(rx.recv(), Ok(5));
    assert_eq!(spawn(async { 6 }).join().unwrap(), 6);
}

fn work_from_plain_threads_after_the_end_is_answered() {
    Run::of("late_work").passes();
}
