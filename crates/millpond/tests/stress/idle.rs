//! A process in which everybody waits uses no processor.

use crate::harness::{Run, Table, as_main, until_parked};
use crate::table;
use millpond::debug::WaitReason;
use millpond::net::TcpListener;
use millpond::{chan, go, spawn};
use std::time::Duration;

pub const TESTS: Table = table![
    ten_thousand_parked_use_no_processor,
    a_process_that_waits_for_sockets_signals_and_far_timers_uses_no_processor,
    a_process_is_idle_again_after_work,
];

pub const SCENARIOS: Table = table![parked, waiting_for_events, after_work];

/// Processor time of this process, in all its threads.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What is used in a second of waiting.
fn used_in_a_second() -> Duration {
    let before = processor_time();
    millpond::time::sleep(Duration::from_secs(1));
    let used = processor_time() - before;
    println!("{used:?} of processor time in a second");
    used
}

/// Two ticks of the clock by which kernels account, in a second.
const IDLE: Duration = Duration::from_millis(20);

/// What was begun before comes to its end, once: sysmon's last looks, threads that linger, stacks that are
/// put to rest when they have waited for a second. From then on nothing is used: three seconds in a row.
#[track_caller]
fn is_idle() {
    let mut in_a_row = 0;
    for _ in 0..12 {
        in_a_row = if used_in_a_second() < IDLE { in_a_row + 1 } else { 0 };
        if in_a_row == 3 {
            return;
        }
    }
    panic!("no three idle seconds in a row, of twelve");
}

fn parked() {
    as_main(|| {
        let (tx, rx) = chan::bounded::<()>(0);
        for _ in 0..10_000 {
            let rx = rx.clone();
            drop(go(move || rx.recv()));
        }
        until_parked(10_000, WaitReason::ChanRecv);
        is_idle();
        drop(tx);
    });
}

fn ten_thousand_parked_use_no_processor() {
    Run::of("parked").passes();
}

fn waiting_for_events() {
    as_main(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        drop(go(move || listener.accept()));
        let signals = millpond::signal::notify(&[millpond::signal::SIGUSR2]).unwrap();
        drop(go(move || signals.recv()));
        for i in 0..1_000 {
            let far = Duration::from_secs(3_600 + i);
            drop(go(move || millpond::time::sleep(far)));
            drop(spawn(millpond::time::sleep_async(far)));
        }
        until_parked(1_000, WaitReason::Sleep);
        is_idle();
    });
}

fn a_process_that_waits_for_sockets_signals_and_far_timers_uses_no_processor() {
    Run::of("waiting_for_events").passes();
}

fn after_work() {
    as_main(|| {
        for _ in 0..3 {
            let parts: Vec<_> = (0..1_000).map(|i| go(move || i)).collect();
            let sum: i32 = parts.into_iter().map(|part| part.join().unwrap()).sum();
            assert_eq!(sum, 499_500);
            millpond::blocking(|| ());
            std::thread::sleep(Duration::from_millis(20));
        }
        is_idle();
    });
}

fn a_process_is_idle_again_after_work() {
    Run::of("after_work").passes();
}
