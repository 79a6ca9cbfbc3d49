//! What loom explores of selects: one wait in several channels, values that are made late, and the
//! promises between them.
//!
//! Arms are driven as the macros drive them, by threads and by polled futures. A value that is never
//! made is a dropped arm; a receiver that goes away is a future that is polled once.

use super::{Receiver, RecvError, SendError, Sender, bounded};
use loom::future::block_on;
use loom::thread;
use millpond_rt::select::{Arm, Finish, Selection, select, try_select};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What a select of a send and a receive came to.
#[derive(Debug, PartialEq, Eq)]
enum Won {
    Sent(Result<(), SendError<u32>>),
    Received(Result<u32, RecvError>),
}

fn send_or_recv(tx: &Sender<u32>, value: u32, rx: &Receiver<u32>) -> Won {
    let (mut send, mut recv) = (tx.__select_send(), rx.__select_recv());
    let arms: [&mut dyn Arm; 2] = [&mut send, &mut recv];
    match select(&mut { arms }) {
        0 => Won::Sent(send.finish(value)),
        _ => Won::Received(recv.finish()),
    }
}

async fn send_or_recv_async(tx: &Sender<u32>, value: u32, rx: &Receiver<u32>) -> Won {
    let (mut send, mut recv) = (tx.__select_send(), rx.__select_recv());
    let mut selection = Selection::new();
    let number = std::future::poll_fn(|cx| {
        let arms: [&mut dyn Arm; 2] = [&mut send, &mut recv];
        selection.poll(cx, &mut { arms })
    })
    .await;
    match number {
        0 => Won::Sent(send.finish(value)),
        _ => Won::Received(recv.finish()),
    }
}

/// Two selects with the ends of two rendezvous crossed: one value goes one way, and both know it.
#[test]
fn two_selects_that_cross_agree_on_one_transfer() {
    loom::model(|| {
        let (a, b) = (bounded(0), bounded(0));
        let (a_rx, b_tx) = (a.1.clone(), b.0.clone());
        let other = thread::spawn(move || send_or_recv(&b_tx, 2, &a_rx));
        let won = send_or_recv(&a.0, 1, &b.1);
        match (won, other.join().unwrap()) {
            (Won::Sent(Ok(())), Won::Received(Ok(1))) => {}
            (Won::Received(Ok(2)), Won::Sent(Ok(()))) => {}
            both => panic!("{both:?}"),
        }
    });
}

/// As before; one of the two is a future.
#[test]
fn a_select_and_a_polled_select_that_cross_agree() {
    loom::model(|| {
        let (a, b) = (bounded(0), bounded(0));
        let (a_rx, b_tx) = (a.1.clone(), b.0.clone());
        let other = thread::spawn(move || block_on(send_or_recv_async(&b_tx, 2, &a_rx)));
        let won = send_or_recv(&a.0, 1, &b.1);
        match (won, other.join().unwrap()) {
            (Won::Sent(Ok(())), Won::Received(Ok(1))) => {}
            (Won::Received(Ok(2)), Won::Sent(Ok(()))) => {}
            both => panic!("{both:?}"),
        }
    });
}

/// Both ends of one rendezvous in one select: it does not serve itself, and two such serve each
/// other.
#[test]
fn two_selects_with_both_ends_serve_each_other() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let (their_tx, their_rx) = (tx.clone(), rx.clone());
        let other = thread::spawn(move || send_or_recv(&their_tx, 2, &their_rx));
        match (send_or_recv(&tx, 1, &rx), other.join().unwrap()) {
            (Won::Sent(Ok(())), Won::Received(Ok(1))) => {}
            (Won::Received(Ok(2)), Won::Sent(Ok(()))) => {}
            both => panic!("{both:?}"),
        }
    });
}

/// A close ends a select on either of its arms, unless something else came first.
fn close_races(close_sends: bool) {
    let (a, b) = (bounded(0), bounded(0));
    let closer = if close_sends { a.0.clone() } else { b.0.clone() };
    let closing = thread::spawn(move || closer.close());
    let won = send_or_recv(&a.0, 1, &b.1);
    closing.join().unwrap();
    match won {
        Won::Sent(Err(SendError(1))) => assert!(close_sends),
        Won::Received(Err(RecvError)) => assert!(!close_sends),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_close_ends_a_select_that_sends() {
    loom::model(|| close_races(true));
}

#[test]
fn a_close_ends_a_select_that_receives() {
    loom::model(|| close_races(false));
}

/// A late send and a close of the same channel: what the sender was told is what happened.
fn late_send_against_close(capacity: usize) {
    let (tx, rx) = bounded(capacity);
    let closer = tx.clone();
    let closing = thread::spawn(move || closer.close());
    let sending = thread::spawn(move || {
        let mut send = tx.__select_send();
        let arms: [&mut dyn Arm; 1] = [&mut send];
        select(&mut { arms });
        send.finish(7)
    });
    let got = rx.recv();
    closing.join().unwrap();
    match sending.join().unwrap() {
        Ok(()) => assert_eq!(got.or_else(|_| rx.recv()), Ok(7)),
        Err(SendError(value)) => assert_eq!((value, got), (7, Err(RecvError))),
    }
}

#[test]
fn a_late_send_to_a_rendezvous_and_its_close_agree() {
    loom::model(|| late_send_against_close(0));
}

#[test]
fn a_late_send_to_a_buffer_and_its_close_agree() {
    loom::model(|| late_send_against_close(1));
}

/// The value of a send that has won is never made: its receiver gets the next sender's.
fn broken(capacity: usize) {
    let (tx, rx) = bounded(capacity);
    let other = tx.clone();
    let breaking = thread::spawn(move || {
        let mut send = other.__select_send();
        let arms: [&mut dyn Arm; 1] = [&mut send];
        let won = try_select(&mut { arms });
        drop(send);
        won
    });
    let sending = thread::spawn(move || tx.send(7));
    assert_eq!(rx.recv(), Ok(7));
    breaking.join().unwrap();
    sending.join().unwrap().unwrap();
    assert_eq!(rx.recv(), Err(RecvError));
}

#[test]
fn a_broken_promise_of_a_rendezvous_costs_nobody_a_value() {
    loom::model(|| broken(0));
}

#[test]
fn a_place_that_is_given_back_goes_to_the_next() {
    loom::model(|| broken(1));
}

/// A receive future is dropped at any moment of a late send: the value is received by the next, or
/// was not sent.
#[test]
fn a_dropped_receive_passes_a_promised_value_on() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let sending = thread::spawn(move || {
            let mut send = tx.__select_send();
            let arms: [&mut dyn Arm; 1] = [&mut send];
            select(&mut { arms });
            send.finish(7)
        });
        let early = match pin!(rx.recv_async()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        };
        assert_eq!(early.unwrap_or_else(|| rx.recv()), Ok(7));
        sending.join().unwrap().unwrap();
        assert_eq!(rx.recv(), Err(RecvError));
    });
}

/// A select future is dropped at any moment of a hand-over: no value is lost.
#[test]
fn a_dropped_select_loses_no_value() {
    loom::model(|| {
        let (a, b) = (bounded(0), bounded(0));
        let sending = thread::spawn(move || a.0.send(1));
        let polled =
            pin!(send_or_recv_async(&b.0, 2, &a.1)).poll(&mut Context::from_waker(Waker::noop()));
        let got = match polled {
            Poll::Ready(Won::Received(result)) => result,
            Poll::Ready(Won::Sent(_)) => panic!("nobody receives from b"),
            Poll::Pending => a.1.recv(),
        };
        assert_eq!(got, Ok(1));
        sending.join().unwrap().unwrap();
    });
}
