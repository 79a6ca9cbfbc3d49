//! All goroutines are asleep: the report, its dump, its status.

use crate::harness::{Run, Table, as_main};
use crate::table;
use millpond::chan;
use millpond::sync::{Mutex, Once, WaitGroup};
use millpond::{Builder, JoinHandle, go, spawn, yield_now};
use std::sync::Arc;
use std::time::Duration;

pub const TESTS: Table = table![
    a_receive_that_nobody_answers_is_a_deadlock,
    a_send_that_nobody_takes_is_a_deadlock,
    a_mutex_locked_twice_is_a_deadlock,
    goroutines_that_join_each_other_are_a_deadlock,
    a_wait_group_without_its_done_is_a_deadlock,
    a_once_that_waits_for_itself_is_a_deadlock,
    the_dump_names_all_who_wait,
    a_task_that_nobody_wakes_is_a_deadlock,
    a_deadlock_is_reported_after_timers_jobs_and_panics,
    a_goroutine_that_is_only_parked_beside_main_is_no_deadlock_when_main_ends,
];

pub const SCENARIOS: Table = table![
    receive,
    send,
    mutex,
    join_cycle,
    wait_group,
    once,
    many_reasons,
    unwoken_task,
    after_much_else,
    main_ends_first,
];

const REPORT: &str = "fatal error: all goroutines are asleep - deadlock!";

/// A deadlock is found soon after it has come about.
fn deadlocks(scenario: &str, says: &[&str]) {
    let ended = Run::of(scenario).end();
    ended.has_code(2).says(&[REPORT]).says(says);
    assert_eq!(ended.stderr.matches(REPORT).count(), 1, "{ended}");
    assert!(ended.took < Duration::from_secs(120), "{ended}");
}

fn receive() {
    as_main(|| {
        let (_tx, rx) = chan::bounded::<()>(0);
        let _ = rx.recv();
    });
}

fn a_receive_that_nobody_answers_is_a_deadlock() {
    deadlocks("receive", &["(main) [chan receive", "KiB stack]:\n", "receive", "created at "]);
}

fn send() {
    as_main(|| {
        let (tx, _rx) = chan::bounded(0);
        let _ = tx.send(1);
    });
}

fn a_send_that_nobody_takes_is_a_deadlock() {
    deadlocks("send", &["(main) [chan send"]);
}

fn mutex() {
    as_main(|| {
        let mutex = Mutex::new(1);
        let first = mutex.lock();
        let second = mutex.lock();
        println!("{first} {second}");
    });
}

fn a_mutex_locked_twice_is_a_deadlock() {
    deadlocks("mutex", &["(main) [sync.Mutex.Lock"]);
}

fn join_cycle() {
    as_main(|| {
        let (to_a, from_b) = chan::bounded::<JoinHandle<()>>(1);
        let (to_b, from_a) = chan::bounded::<JoinHandle<()>>(1);
        let a = Builder::new().name("a").go(move || from_b.recv().unwrap().join().unwrap());
        let b = Builder::new().name("b").go(move || from_a.recv().unwrap().join().unwrap());
        to_a.send(b).unwrap();
        to_b.send(a).unwrap();
        // Keeps main from ending the process before.
        let (_tx, rx) = chan::bounded::<()>(0);
        let _ = rx.recv();
    });
}

fn goroutines_that_join_each_other_are_a_deadlock() {
    deadlocks("join_cycle", &["(a) [join", "(b) [join", "(main) [chan receive"]);
}

fn wait_group() {
    as_main(|| {
        let group = WaitGroup::new();
        group.add(1);
        group.wait();
    });
}

fn a_wait_group_without_its_done_is_a_deadlock() {
    deadlocks("wait_group", &["(main) [sync.WaitGroup.Wait"]);
}

fn once() {
    as_main(|| {
        let once = Arc::new(Once::new());
        let inner = once.clone();
        once.call_once(move || {
            let other = go(move || inner.call_once(|| ()));
            other.join().unwrap();
        });
    });
}

fn a_once_that_waits_for_itself_is_a_deadlock() {
    deadlocks("once", &["[sync.Once", "(main) [join"]);
}

fn many_reasons() {
    as_main(|| {
        let (tx, rx) = chan::bounded::<u8>(0);
        for i in 0..150 {
            let rx = rx.clone();
            Builder::new().name(format!("receiver {i}")).go(move || rx.recv());
        }
        let group = WaitGroup::new();
        group.add(1);
        group.wait();
        drop(tx);
    });
}

fn the_dump_names_all_who_wait() {
    let shown: Vec<_> = (0..40).map(|i| format!("(receiver {i}) [chan receive")).collect();
    let shown: Vec<_> = shown.iter().map(String::as_str).collect();
    deadlocks("many_reasons", &shown);
    let line = line_of("Builder::new().name(format!(\"receiver {i}\"))");
    let place = format!("processes/deadlock.rs:{line}");
    deadlocks("many_reasons", &["(main) [sync.WaitGroup.Wait", &place, "... and 51 more"]);
}

fn unwoken_task() {
    as_main(|| spawn(std::future::pending::<()>()).join().unwrap());
}

fn a_task_that_nobody_wakes_is_a_deadlock() {
    deadlocks("unwoken_task", &["(main) [join"]);
}

/// What could once have woken somebody and cannot any more must not hide a deadlock.
fn after_much_else() {
    as_main(|| {
        let (tx, rx) = chan::bounded(0);
        let sender = tx.clone();
        go(move || sender.send(1));
        // A timer that is set and not needed: its message comes first.
        assert_eq!(rx.recv_timeout(Duration::from_secs(3_600)), Ok(1));
        // A thread of the blocking pool, idle by now.
        assert_eq!(millpond::blocking(|| 2), 2);
        // A thread stuck in the kernel for a while, which cost it its P.
        let _ = go(|| std::thread::sleep(Duration::from_millis(30))).join();
        let _ = go(|| panic!("on purpose")).join();
        let pair = millpond::net::UnixStream::pair().unwrap();
        pair.0.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let _ = std::io::Read::read(&mut &pair.0, &mut [0]);
        let _task = spawn(async {
            let an_hour = Duration::from_secs(3_600);
            let soon = async { millpond::yield_async().await };
            millpond::time::timeout(an_hour, soon).await.unwrap();
        });
        yield_now();
        let _ = rx.recv();
        drop(tx);
    });
}

fn a_deadlock_is_reported_after_timers_jobs_and_panics() {
    deadlocks("after_much_else", &["(main) [chan receive"]);
}

fn main_ends_first() {
    as_main(|| {
        let (tx, rx) = chan::bounded::<()>(0);
        go(move || rx.recv());
        millpond::time::sleep(Duration::from_millis(50));
        drop(tx);
    });
}

fn a_goroutine_that_is_only_parked_beside_main_is_no_deadlock_when_main_ends() {
    Run::of("main_ends_first").passes().says_not(REPORT);
}

fn line_of(text: &str) -> usize {
    let lines = include_str!("deadlock.rs").lines();
    1 + lines.enumerate().find(|(_, line)| line.contains(text)).expect("it is in this file").0
}
