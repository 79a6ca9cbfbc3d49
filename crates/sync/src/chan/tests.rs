//! Behaviour that one thread can see, and what is left behind when it is over.
//!
//! Interleavings are explored by the models beside; histories of many threads, goroutines and tasks
//! are checked in `tests/`.

use super::state::{Received, Sent};
use super::*;
use millpond_rt::wait::FutureWait;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn time_outs_in_a_loop_leave_no_entry() {
    let (tx, rx) = bounded::<u8>(0);
    for _ in 0..200 {
        assert_eq!(rx.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout));
        assert_eq!(tx.send_timeout(1, Duration::ZERO), Err(SendTimeoutError::Timeout(1)));
        assert!(poll_once(&mut rx.recv_async()).is_pending());
        assert!(poll_once(&mut tx.send_async(1)).is_pending());
    }
    let (entries, room, _) = tx.shared.lock().footprint();
    assert_eq!(entries, 0);
    assert_eq!(room, 2, "one place per direction, used again each time");
}

#[test]
fn a_peak_is_given_back() {
    let (tx, rx) = unbounded();
    for i in 0..10_000 {
        tx.send(i).unwrap();
    }
    assert!(tx.shared.lock().footprint().2 >= 10_000);
    assert_eq!(rx.try_iter().count(), 10_000);
    assert_eq!(tx.shared.lock().footprint().2, 0);
}

#[test]
fn a_huge_capacity_takes_no_memory_before_it_is_used() {
    let (tx, _rx) = bounded::<[u8; 64]>(1 << 40);
    assert!(tx.shared.lock().footprint().2 <= 64);
    assert_eq!(tx.capacity(), Some(1 << 40));
}

/// A value whose drop uses the channel: it would hang if it ran under the channel's lock.
struct Nosy(Sender<Nosy>);

impl Drop for Nosy {
    fn drop(&mut self) {
        assert!(self.0.is_closed());
        self.0.close();
    }
}

#[test]
fn values_are_dropped_without_the_lock() {
    let (tx, rx) = bounded(1);
    tx.send(Nosy(tx.clone())).unwrap();
    let mut waiting = tx.send_async(Nosy(tx.clone()));
    assert!(poll_once(&mut waiting).is_pending());
    drop(rx);
    drop(waiting);
    assert!(tx.is_empty());
    drop(tx.send(Nosy(tx.clone())));
}

#[test]
fn a_panicking_drop_of_a_value_leaves_no_sender_waiting() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "boom");
        }
    }
    let (tx, rx) = bounded(1);
    tx.send(Bomb(true)).unwrap();
    let mut waiting = tx.send_async(Bomb(false));
    assert!(poll_once(&mut waiting).is_pending());
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(rx)));
    assert!(panic.is_err());
    assert!(matches!(poll_once(&mut waiting), Poll::Ready(Err(_))));
}

#[test]
fn waiters_are_served_in_their_order() {
    let (tx, rx) = bounded(0);
    let mut receivers: Vec<_> = (0..3).map(|_| rx.recv_async()).collect();
    for receiver in &mut receivers {
        assert!(poll_once(receiver).is_pending());
    }
    for i in 0..3 {
        tx.try_send(i).unwrap();
    }
    assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
    for (i, receiver) in receivers.iter_mut().enumerate() {
        assert_eq!(poll_once(receiver), Poll::Ready(Ok(i)));
    }
}

#[test]
fn a_receive_from_a_full_buffer_lets_the_longest_waiting_sender_in() {
    let (tx, rx) = bounded(1);
    tx.send(0).unwrap();
    let mut senders: Vec<_> = (1..3).map(|i| tx.send_async(i)).collect();
    for sender in &mut senders {
        assert!(poll_once(sender).is_pending());
    }
    assert_eq!(rx.try_recv(), Ok(0));
    assert_eq!(poll_once(&mut senders[0]), Poll::Ready(Ok(())));
    assert!(poll_once(&mut senders[1]).is_pending());
    assert_eq!(rx.len(), 1);
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_declined_value_comes_back_first_in_line() {
    let (tx, rx) = bounded(0);
    let mut declined = rx.recv_async();
    assert!(poll_once(&mut declined).is_pending());
    tx.try_send(1).unwrap();
    tx.close();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty), "it is on trial, not gone");
    let mut next = rx.recv_async();
    assert!(poll_once(&mut next).is_pending());
    let mut last = rx.recv_async();
    assert!(poll_once(&mut last).is_pending());
    drop(declined);
    assert!(poll_once(&mut last).is_pending(), "it is on trial again");
    assert_eq!(poll_once(&mut next), Poll::Ready(Ok(1)));
    assert_eq!(poll_once(&mut last), Poll::Ready(Err(RecvError)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_value_without_size_is_counted() {
    let (tx, rx) = unbounded();
    for _ in 0..5 {
        tx.send(()).unwrap();
    }
    drop(tx);
    assert_eq!(rx.len(), 5);
    assert_eq!(rx.into_iter().count(), 5);
}

#[test]
fn handles_know_their_channel() {
    let (tx, rx) = bounded::<u8>(3);
    let (other, _rx) = unbounded::<u8>();
    assert!(tx.same_channel(&tx.clone()) && !tx.same_channel(&other));
    assert!(rx.same_channel(&rx.clone()));
    assert_eq!((rx.capacity(), other.capacity()), (Some(3), None));
    let again = tx.clone();
    drop(tx);
    assert!(!rx.is_closed());
    drop(again);
    assert!(rx.is_closed());
}

#[test]
fn the_last_clone_of_a_receiver_closes() {
    let (tx, rx) = bounded(2);
    let again = rx.clone();
    tx.send(1).unwrap();
    drop(rx);
    assert_eq!(again.recv(), Ok(1));
    tx.send(2).unwrap();
    drop(again);
    assert_eq!(tx.send(3), Err(SendError(3)));
    assert!(tx.is_empty());
}

/// The steps as `select!` takes them: two selects that cross, each sending where the other
/// receives, and neither holds more than one lock at a time.
#[test]
fn two_crossing_selects_meet_through_a_third_look() {
    let (a, b) = (bounded::<u8>(0), bounded::<u8>(0));
    let mut first = FutureWait::new();
    let first_ticket = first.arm();
    // The first select waits: receive from a, or send 1 to b.
    let recv_a = a.0.shared.lock().register_recv(first_ticket.clone(), 0, false);
    let send_b = b.0.shared.lock().register_send(first_ticket, 1, 1);
    // The second tries its arms before it waits: send 2 to a succeeds, and its other arm, receive
    // from b, then finds that the first one's wait is over.
    assert!(matches!(a.0.shared.lock().send(2), Sent::Done(Some(_))));
    assert!(matches!(b.0.shared.lock().recv(), Received::Empty));
    assert_eq!(poll_wait(&mut first), Poll::Ready(0));
    assert_eq!(a.0.shared.lock().finish_recv(recv_a).value(), Some(2));
    assert_eq!(b.0.shared.lock().finish_send(send_b), Some(1));
}

fn poll_wait(wait: &mut FutureWait) -> Poll<u16> {
    wait.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn errors_speak_for_themselves_whatever_the_value() {
    struct Mute;
    let (tx, rx) = bounded(0);
    let full = tx.try_send(Mute).unwrap_err();
    assert_eq!(format!("{full:?}: {full}"), "Full(..): sending on a full channel");
    rx.close();
    let closed = tx.send(Mute).unwrap_err();
    assert_eq!(format!("{closed:?}: {closed}"), "SendError(..): sending on a closed channel");
    assert!(matches!(TrySendError::from(closed), TrySendError::Closed(Mute)));
    assert_eq!(RecvError.to_string(), "receiving on an empty and closed channel");
}
