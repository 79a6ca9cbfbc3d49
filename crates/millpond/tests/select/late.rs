//! Values of sends: made only if their arm has won, and what a receiver sees meanwhile.

use crate::callers::{PATIENCE, from_each, runtime};
use millpond::chan::{self, RecvError};
use millpond::time::after;
use millpond::{go, select, select_async, spawn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

fn never() -> u32 {
    unreachable!("nobody receives")
}

#[test]
fn a_value_is_made_only_if_its_arm_has_won() {
    from_each(|| {
        let (tx, rx) = chan::bounded(1);
        let (full, _kept) = chan::bounded(0);
        let mut made = 0;
        for _ in 0..10 {
            select! {
                r = tx.send({ made += 1; made }) => r.unwrap(),
                _ = full.send(never()) => {}
            }
            assert_eq!(rx.recv(), Ok(made));
        }
        assert_eq!(made, 10);
        // A value that is moved in is not moved if another arm has won.
        let text = String::from("precious");
        let (texts, _texts) = chan::bounded(0);
        let text = select! {
            r = texts.send(text) => r.unwrap_err().into_inner(),
            _ = after(Duration::from_millis(1)) => text,
        };
        assert_eq!(text, "precious");
    });
}

fn make() -> u8 {
    resume_unwind(Box::new("on purpose"))
}

#[test]
fn a_value_that_panics_is_not_sent_and_the_receiver_gets_the_next() {
    from_each(|| {
        for capacity in [0, 1] {
            let (tx, rx) = chan::bounded::<u8>(capacity);
            let receiver = go(move || (rx.recv(), rx.recv()));
            let broken = catch_unwind(AssertUnwindSafe(|| {
                select! { r = tx.send(make()) => r.unwrap() }
            }));
            assert!(broken.is_err());
            tx.send(7).unwrap();
            drop(tx);
            assert_eq!(receiver.join().unwrap(), (Ok(7), Err(RecvError)));
        }
    });
}

#[test]
fn a_value_whose_making_returns_is_not_sent() {
    fn give_up(tx: &chan::Sender<u8>) -> Option<()> {
        let nothing: Option<u8> = None;
        select! { r = tx.send(nothing?) => r.ok() }
    }
    from_each(|| {
        let (tx, rx) = chan::bounded(0);
        let receiver = go(move || rx.recv());
        assert_eq!(give_up(&tx), None);
        tx.send(9).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(9));
    });
}

#[test]
fn a_receiver_waits_while_its_value_is_made() {
    from_each(|| {
        let (tx, rx) = chan::bounded(0);
        let (begun, begins) = chan::bounded(1);
        let (go_on, goes_on) = chan::bounded::<()>(0);
        let sender = go(move || {
            select! {
                r = tx.send({ begun.send(()).unwrap(); goes_on.recv().unwrap(); 5 }) => r,
            }
        });
        // A rendezvous needs its receiver before the value is made.
        let receiver = go(move || rx.recv_timeout(PATIENCE));
        begins.recv().unwrap();
        assert!(!receiver.is_finished());
        go_on.send(()).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(5));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_place_in_a_buffer_is_kept_while_the_value_is_made() {
    from_each(|| {
        let (tx, rx) = chan::bounded(1);
        let (begun, begins) = chan::bounded(1);
        let (go_on, goes_on) = chan::bounded::<()>(0);
        let late = tx.clone();
        let sender = go(move || {
            select! {
                r = late.send({ begun.send(()).unwrap(); goes_on.recv().unwrap(); 1 }) => r,
            }
        });
        begins.recv().unwrap();
        assert!(tx.try_send(2).is_err(), "the one place is taken");
        go_on.send(()).unwrap();
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!((rx.recv(), tx.try_send(2)), (Ok(1), Ok(())));
    });
}

#[test]
fn two_selects_meet_in_a_rendezvous() {
    from_each(|| {
        let (tx, rx) = chan::bounded(0);
        let receiver = go(move || {
            let mut got = Vec::new();
            loop {
                select! {
                    v = rx.recv() => match v {
                        Ok(v) => got.push(v),
                        Err(RecvError) => return got,
                    },
                    _ = after(PATIENCE) => panic!("nothing came"),
                }
            }
        });
        for i in 0..100 {
            select! {
                r = tx.send(i) => r.unwrap(),
                _ = after(PATIENCE) => panic!("nobody came"),
            }
        }
        drop(tx);
        assert_eq!(receiver.join().unwrap(), (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_poll_without_waiting_meets_a_sender_that_is_late() {
    from_each(|| {
        let (tx, rx) = chan::bounded(0);
        let sender = go(move || select! { r = tx.send(3) => r });
        loop {
            match rx.try_recv() {
                Ok(value) => break assert_eq!(value, 3),
                Err(_) => millpond::yield_now(),
            }
        }
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_task_that_is_aborted_in_a_select_loses_no_value() {
    runtime(|| {
        for round in 0..200u32 {
            let (tx, rx) = chan::bounded(0);
            let (_never, other) = chan::bounded::<u32>(0);
            // The result of a task that is aborted may be dropped, so what it got goes out aside.
            let (aside, seen) = chan::unbounded();
            let task = spawn({
                let rx = rx.clone();
                async move {
                    select_async! {
                        v = rx.recv() => aside.send(v.unwrap()).unwrap(),
                        _ = other.recv() => unreachable!("nobody sends"),
                    }
                }
            });
            let sender = go(move || tx.send(round));
            if round % 2 == 0 {
                millpond::yield_now();
            }
            task.abort();
            let _ = task.join();
            let got = seen.try_recv().unwrap_or_else(|_| rx.recv().expect("it is still to come"));
            assert_eq!(got, round);
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
    });
}
