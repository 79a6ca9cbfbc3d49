//! Arms that are switched off, closed channels, defaults, and selects that nothing ends.

use crate::callers::{PATIENCE, from_each};
use millpond::chan::{self, RecvError, SendError};
use millpond::time::after;
use millpond::{Context, go, select};
use std::time::Duration;

#[test]
fn an_arm_that_is_switched_off_is_not_looked_at() {
    from_each(|| {
        let (tx, rx) = chan::bounded(1);
        tx.send(1).unwrap();
        let nobody = std::iter::empty::<&chan::Receiver<i32>>().next();
        for _ in 0..20 {
            select! {
                _ = rx.recv(), if false => panic!("received through an arm that is off"),
                _ = nobody.expect("not evaluated").recv(), if nobody.is_some() => unreachable!(),
                default => {}
            }
        }
        assert_eq!(rx.len(), 1);
        let got = select! {
            v = rx.recv(), if true => v,
            default => Err(RecvError),
        };
        assert_eq!(got, Ok(1));
    });
}

#[test]
fn a_condition_is_evaluated_once_and_before_its_operation() {
    from_each(|| {
        let (tx, rx) = chan::bounded::<u8>(1);
        let mut looked = 0;
        let waiter = go(move || {
            let got = select! {
                v = rx.recv(), if { looked += 1; looked == 1 } => v,
                _ = after(PATIENCE) => Err(RecvError),
            };
            (got, looked)
        });
        tx.send(3).unwrap();
        assert_eq!(waiter.join().unwrap(), (Ok(3), 1));
    });
}

#[test]
fn with_all_arms_off_only_the_default_or_time_is_left() {
    from_each(|| {
        let (_tx, rx) = chan::bounded::<u8>(1);
        let word = select! {
            _ = rx.recv(), if false => "received",
            default => "default",
        };
        assert_eq!(word, "default");
        let word = select! {
            _ = rx.recv(), if false => "received",
            _ = after(Duration::from_millis(1)) => "time",
        };
        assert_eq!(word, "time");
    });
}

#[test]
fn a_select_that_waits_is_ended_by_a_close_from_either_side() {
    from_each(|| {
        let (tx, rx) = chan::bounded::<u8>(0);
        let (other_tx, other_rx) = chan::bounded::<u8>(0);
        let closer = go({
            let rx = rx.clone();
            move || rx.close()
        });
        let got = select! {
            v = rx.recv() => v,
            v = other_rx.recv() => v,
        };
        assert_eq!(got, Err(RecvError));
        closer.join().unwrap();
        let closer = go({
            let other_tx = other_tx.clone();
            move || other_tx.close()
        });
        let sent = select! {
            r = other_tx.send(7) => r,
            _ = after(PATIENCE) => Ok(()),
        };
        assert_eq!(sent, Err(SendError(7)));
        closer.join().unwrap();
        drop(tx);
    });
}

#[test]
fn a_closed_channel_is_possible_again_and_again_until_it_is_switched_off() {
    from_each(|| {
        let (a_tx, a) = chan::bounded(3);
        let (b_tx, b) = chan::bounded(3);
        for i in 0..3 {
            a_tx.send(i).unwrap();
            b_tx.send(10 + i).unwrap();
        }
        drop((a_tx, b_tx));
        // Go's idiom: set the channel to nil when it is closed.
        let (mut a_open, mut b_open, mut sum) = (true, true, 0);
        while a_open || b_open {
            select! {
                v = a.recv(), if a_open => match v {
                    Ok(v) => sum += v,
                    Err(RecvError) => a_open = false,
                },
                v = b.recv(), if b_open => match v {
                    Ok(v) => sum += v,
                    Err(RecvError) => b_open = false,
                },
            }
        }
        assert_eq!(sum, 36);
    });
}

#[test]
fn a_default_never_waits_and_does_what_is_possible() {
    from_each(|| {
        let (tx, rx) = chan::bounded(1);
        let mut sent = Vec::new();
        for i in 0..3 {
            select! {
                r = tx.send(i) => { r.unwrap(); sent.push(i) }
                default => {}
            }
        }
        assert_eq!(sent, [0]);
        assert_eq!(rx.recv(), Ok(0));
        select! { default => {} }
    });
}

#[test]
fn a_context_ends_a_select_by_cancellation_and_by_deadline() {
    from_each(|| {
        let (_tx, rx) = chan::bounded::<u8>(0);
        let (ctx, cancel) = Context::background().with_cancel();
        let canceller = go(move || cancel.cancel());
        let error = select! {
            _ = rx.recv() => unreachable!("nobody sends"),
            error = ctx.done() => error,
        };
        assert_eq!(error, millpond::context::ContextError::Cancelled);
        canceller.join().unwrap();
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(2));
        let error = select! {
            _ = rx.recv() => unreachable!("nobody sends"),
            error = ctx.done() => error,
        };
        assert_eq!(error, millpond::context::ContextError::DeadlineExceeded);
        // A context that nothing ends is an arm that is never possible.
        let forever = Context::background();
        select! {
            _ = forever.done() => unreachable!("nothing ends it"),
            _ = after(Duration::from_millis(1)) => {}
        }
    });
}
