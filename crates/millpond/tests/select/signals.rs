//! Signals in a select. The one test here that may send any: they are the process's.

use crate::callers::{from_each, runtime};
use millpond::signal::{SIGUSR1, SIGUSR2, Signals, notify};
use millpond::{chan, select, select_async};
use std::process::{Command, id};
use std::sync::mpsc;

/// Sends signals from a thread of its own, so that one may come before a select waits, while it does,
/// or after.
struct Sends(mpsc::Sender<i32>);

impl Sends {
    fn new() -> Self {
        let (orders, ordered) = mpsc::channel::<i32>();
        std::thread::spawn(move || {
            for signal in ordered {
                let kill = format!("kill -{signal} {}", id());
                let status = Command::new("sh").args(["-c", &kill]).status();
                assert!(status.expect("there is a shell").success());
            }
        });
        Self(orders)
    }

    fn send(&self, signal: i32) {
        self.0.send(signal).unwrap();
    }
}

fn next(signals: &Signals, never: &chan::Receiver<()>) -> i32 {
    select! {
        s = signals.recv() => s.unwrap(),
        _ = never.recv() => panic!("nobody sends"),
    }
}

#[test]
fn a_signal_is_an_arm_and_is_not_lost_to_another() {
    from_each(|| {
        let sends = Sends::new();
        let signals = notify(&[SIGUSR1, SIGUSR2]).unwrap();
        let (_quit, never) = chan::bounded::<()>(0);
        assert!(select! { _ = signals.recv() => false, default => true });
        for _ in 0..10 {
            sends.send(SIGUSR1);
            assert_eq!(next(&signals, &never), SIGUSR1);
        }
        // The first signal has come once the second has; the channel is ready all the time.
        let (tx, rx) = chan::bounded(1);
        let second = notify(&[SIGUSR2]).unwrap();
        sends.send(SIGUSR1);
        sends.send(SIGUSR2);
        assert_eq!(next(&second, &never), SIGUSR2);
        let (mut others, mut got) = (0, Vec::new());
        while got.len() < 2 {
            tx.send(()).unwrap();
            select! {
                s = signals.recv() => got.push(s.unwrap()),
                _ = rx.recv() => { others += 1; continue }
            }
            rx.recv().unwrap();
        }
        got.sort_unstable();
        assert_eq!(got, [SIGUSR1, SIGUSR2], "with {others} rounds between");
        // A look that never waits finds it too, although no poller was ever told of this subscription.
        let third = notify(&[SIGUSR1]).unwrap();
        assert!(select! { _ = third.recv() => false, default => true });
        sends.send(SIGUSR1);
        while !select! { s = third.recv() => s.unwrap() == SIGUSR1, default => false } {
            millpond::yield_now();
        }
    });
    runtime(|| {
        let sends = Sends::new();
        let signals = notify(&[SIGUSR1]).unwrap();
        let (got, gets) = chan::bounded(0);
        let (quit, stop) = chan::bounded::<()>(0);
        let task = millpond::spawn(async move {
            loop {
                select_async! {
                    s = signals.recv() => got.send_async(s.unwrap()).await.unwrap(),
                    _ = stop.recv() => break,
                }
            }
        });
        for _ in 0..10 {
            sends.send(SIGUSR1);
            assert_eq!(gets.recv(), Ok(SIGUSR1));
        }
        drop(quit);
        task.join().unwrap();
    });
}
