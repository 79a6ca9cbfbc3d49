//! What loom explores: every interleaving of few operations on small channels.
//!
//! The waiters are threads and futures; a goroutine differs from a thread only below
//! `millpond_rt::wait`. A time-out is a party that ends a wait from outside, which is what the
//! cancellation of a future is too; so the models of dropped futures stand for both.

use super::state::{Received, Sent};
use super::{Receiver, Sender, bounded, unbounded};
use loom::future::block_on;
use loom::thread;
use millpond_rt::wait::FutureWait;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Polls once, then drops.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Two senders, one receiver: each value arrives once, each sender's in its order, then the end.
fn two_senders((tx, rx): (Sender<u32>, Receiver<u32>)) {
    let other = tx.clone();
    let first = thread::spawn(move || {
        tx.send(1).unwrap();
        tx.send(2).unwrap();
    });
    let second = thread::spawn(move || block_on(other.send_async(10)).unwrap());
    let mut got: Vec<_> = rx.iter().collect();
    assert_eq!(rx.recv(), Err(super::RecvError));
    first.join().unwrap();
    second.join().unwrap();
    let one = got.iter().position(|v| *v == 1).unwrap();
    let two = got.iter().position(|v| *v == 2).unwrap();
    assert!(one < two);
    got.sort_unstable();
    assert_eq!(got, [1, 2, 10]);
}

#[test]
fn a_rendezvous_delivers_each_value_once() {
    loom::model(|| two_senders(bounded(0)));
}

#[test]
fn a_buffer_of_one_delivers_each_value_once() {
    loom::model(|| two_senders(bounded(1)));
}

#[test]
fn a_buffer_of_two_delivers_each_value_once() {
    loom::model(|| two_senders(bounded(2)));
}

#[test]
fn an_unbounded_buffer_delivers_each_value_once() {
    loom::model(|| two_senders(unbounded()));
}

/// Two receivers, a thread and a future, one sender.
fn two_receivers((tx, rx): (Sender<u32>, Receiver<u32>)) {
    let other = rx.clone();
    let first = thread::spawn(move || rx.iter().sum::<u32>());
    let second = thread::spawn(move || {
        let mut sum = 0;
        while let Ok(value) = block_on(other.recv_async()) {
            sum += value;
        }
        sum
    });
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    drop(tx);
    assert_eq!(first.join().unwrap() + second.join().unwrap(), 3);
}

#[test]
fn receivers_share_a_rendezvous() {
    loom::model(|| two_receivers(bounded(0)));
}

#[test]
fn receivers_share_a_buffer() {
    loom::model(|| two_receivers(bounded(1)));
}

/// `close` races with a send and a receive: what the sender was told is what happened.
fn close_races((tx, rx): (Sender<u32>, Receiver<u32>)) {
    let closer = tx.clone();
    let closing = thread::spawn(move || closer.close());
    let sending = thread::spawn(move || tx.send(7).map_err(|error| error.into_inner()));
    let got = rx.recv();
    let sent = sending.join().unwrap();
    closing.join().unwrap();
    match sent {
        Ok(()) => assert_eq!(got, Ok(7)),
        Err(value) => assert_eq!((value, got), (7, Err(super::RecvError))),
    }
    assert!(rx.is_closed() && rx.recv().is_err());
}

#[test]
fn close_of_a_rendezvous_tells_both_sides_the_same() {
    loom::model(|| close_races(bounded(0)));
}

#[test]
fn close_of_a_buffer_tells_both_sides_the_same() {
    loom::model(|| close_races(bounded(1)));
}

/// The last receiver goes while a sender waits: the value comes back or was received.
#[test]
fn the_last_receiver_frees_the_senders() {
    loom::model(|| {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let sending = thread::spawn(move || tx.send(2));
        let got = rx.recv();
        drop(rx);
        assert_eq!(got, Ok(1));
        if let Err(error) = sending.join().unwrap() {
            assert_eq!(error.into_inner(), 2);
        }
    });
}

/// A receive future is dropped while a sender hands over: the value is still there.
fn dropped_receive((tx, rx): (Sender<u32>, Receiver<u32>)) {
    let sending = thread::spawn(move || tx.send(7));
    let got = poll_once(rx.recv_async());
    let got = got.unwrap_or_else(|| rx.recv());
    assert_eq!(got, Ok(7));
    sending.join().unwrap().unwrap();
    assert!(rx.recv().is_err());
}

#[test]
fn a_dropped_receive_loses_no_value_of_a_rendezvous() {
    loom::model(|| dropped_receive(bounded(0)));
}

#[test]
fn a_dropped_receive_loses_no_value_of_a_buffer() {
    loom::model(|| dropped_receive(bounded(1)));
}

/// As before, with another receiver waiting: it gets what the dropped one got.
#[test]
fn a_dropped_receive_passes_the_value_on() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let other = rx.clone();
        let receiving = thread::spawn(move || other.recv());
        let sending = thread::spawn(move || tx.send(7));
        let early = poll_once(rx.recv_async());
        let other = receiving.join().unwrap();
        sending.join().unwrap().unwrap();
        match early {
            Some(Ok(value)) => assert_eq!((value, other), (7, Err(super::RecvError))),
            _ => assert_eq!(other, Ok(7)),
        }
    });
}

/// A send future is dropped while a receiver takes: the value was taken, or nobody gets it.
#[test]
fn a_dropped_send_sends_once_or_not_at_all() {
    loom::model(|| {
        let (tx, rx) = bounded(0);
        let receiving = thread::spawn(move || (rx.recv(), rx.recv()));
        let sent = poll_once(tx.send_async(7));
        tx.send(8).unwrap();
        drop(tx);
        let got = receiving.join().unwrap();
        if got.0 == Ok(7) {
            assert_eq!(got.1, Ok(8));
        } else {
            assert!(sent.is_none());
            assert_eq!(got, (Ok(8), Err(super::RecvError)));
        }
    });
}

/// One wait in two channels, as `select!` will have it: one arm wins, the other channel keeps its
/// value.
#[test]
fn one_ticket_in_two_channels_takes_one_value() {
    loom::model(|| {
        let channels = [bounded(1), bounded(1)];
        let mut wait = FutureWait::new();
        let ticket = wait.arm();
        let mut keys = [0u16, 1].map(|arm| {
            let mut state = channels[usize::from(arm)].1.shared.lock();
            assert!(matches!(state.recv(), Received::Empty));
            Some(state.register_recv(ticket.clone(), arm, false))
        });
        let senders: Vec<_> = (0..2u16)
            .map(|arm| {
                let tx = channels[usize::from(arm)].0.clone();
                thread::spawn(move || assert!(tx.try_send(arm).is_ok()))
            })
            .collect();
        let won = block_on(std::future::poll_fn(|cx| wait.poll(cx)));
        for (arm, (_, rx)) in channels.iter().enumerate() {
            let handed = rx.shared.lock().finish_recv(keys[arm].take().unwrap()).value();
            assert_eq!(handed, (arm == usize::from(won)).then_some(won));
        }
        for sender in senders {
            sender.join().unwrap();
        }
        let lost = 1 - won;
        assert_eq!(channels[usize::from(lost)].1.try_recv(), Ok(lost));
        assert!(channels[usize::from(won)].1.try_recv().is_err());
    });
}

/// Two waits that each have both ends of one rendezvous in their lists: a third party that sends
/// and one that receives each end one wait, or the same party finds nobody; nothing hangs.
#[test]
fn an_arm_that_lost_is_passed_over() {
    loom::model(|| {
        let (tx, rx) = bounded::<u32>(0);
        let mut wait = FutureWait::new();
        let ticket = wait.arm();
        // A select with both ends of the channel: it cannot serve itself.
        let (recv_key, send_key) = {
            let mut state = tx.shared.lock();
            let recv_key = state.register_recv(ticket.clone(), 0, false);
            (recv_key, state.register_send(ticket, 1, 5))
        };
        let (their_tx, their_rx) = (tx.clone(), rx.clone());
        let sending = thread::spawn(move || their_tx.try_send(6).is_ok());
        let receiving = thread::spawn(move || their_rx.try_recv().ok());
        let won = block_on(std::future::poll_fn(|cx| wait.poll(cx)));
        let handed = tx.shared.lock().finish_recv(recv_key).value();
        let kept = tx.shared.lock().finish_send(send_key);
        let (sent, received) = (sending.join().unwrap(), receiving.join().unwrap());
        if won == 0 {
            assert_eq!((handed, kept, sent, received), (Some(6), Some(5), true, None));
        } else {
            assert_eq!((handed, kept, sent, received), (None, None, false, Some(5)));
        }
        assert!(matches!(tx.shared.lock().send(1), Sent::Full(1)));
    });
}
