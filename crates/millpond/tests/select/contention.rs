//! Many selects on the same channels: nothing is lost, nothing comes twice, nobody hangs.

use crate::callers::{from_each, runtime};
use millpond::chan::{self, Receiver, RecvError, Select, Sender};
use millpond::{go, select, select_async, spawn};
use std::future::Future;

/// Go's `TestSelfSelect`: two parties that each send and receive on one channel in one select. A
/// party never receives its own value.
fn self_select(capacity: usize) {
    let (tx, rx) = chan::bounded(capacity);
    let parties: Vec<_> = (0..2u8)
        .map(|me| {
            let (tx, rx) = (tx.clone(), rx.clone());
            go(move || {
                for _ in 0..1_000 {
                    let own = select! {
                        r = tx.send(me) => { r.unwrap(); false }
                        v = rx.recv() => v == Ok(me),
                    };
                    if capacity == 0 {
                        assert!(!own, "a rendezvous with itself");
                    }
                }
                // The other may need a partner still.
                drop(tx);
            })
        })
        .collect();
    let drained = go(move || {
        drop(tx);
        rx.iter().count()
    });
    for party in parties {
        party.join().unwrap();
    }
    drained.join().unwrap();
}

#[test]
fn a_select_never_serves_itself() {
    runtime(|| self_select(0));
}

#[test]
fn a_select_with_both_ends_of_a_buffer_goes_on() {
    runtime(|| self_select(10));
}

/// Go's `TestSelectStress`: four channels of several sizes; senders and receivers one by one and by
/// select; a quarter of a million operations on each end.
#[test]
fn a_million_operations_balance() {
    const OPERATIONS: usize = if cfg!(debug_assertions) { 10_000 } else { 125_000 };
    runtime(|| {
        let channels: Vec<_> = [0, 1, 2, 64].map(chan::bounded::<usize>).into_iter().collect();
        let mut parties = Vec::new();
        for (tx, rx) in &channels {
            let (tx, rx) = (tx.clone(), rx.clone());
            parties.push(go(move || (0..OPERATIONS).for_each(|i| tx.send(i).unwrap())));
            parties.push(go(move || assert_eq!(rx.iter().take(OPERATIONS).count(), OPERATIONS)));
        }
        let txs: Vec<_> = channels.iter().map(|(tx, _)| tx.clone()).collect();
        parties.push(go(move || select_sends(&txs, OPERATIONS)));
        let rxs: Vec<_> = channels.iter().map(|(_, rx)| rx.clone()).collect();
        parties.push(go(move || select_receives(&rxs, OPERATIONS)));
        for party in parties {
            party.join().unwrap();
        }
        assert!(channels.iter().all(|(tx, _)| tx.is_empty()));
    });
}

fn select_sends(txs: &[Sender<usize>], each: usize) {
    let mut left = [each; 4];
    while left.iter().any(|left| *left > 0) {
        let sent = select! {
            r = txs[0].send(0), if left[0] > 0 => { r.unwrap(); 0 }
            r = txs[1].send(1), if left[1] > 0 => { r.unwrap(); 1 }
            r = txs[2].send(2), if left[2] > 0 => { r.unwrap(); 2 }
            r = txs[3].send(3), if left[3] > 0 => { r.unwrap(); 3 }
        };
        left[sent] -= 1;
    }
}

fn select_receives(rxs: &[Receiver<usize>], each: usize) {
    let mut left = [each; 4];
    while left.iter().any(|left| *left > 0) {
        let got = select! {
            v = rxs[0].recv(), if left[0] > 0 => { v.unwrap(); 0 }
            v = rxs[1].recv(), if left[1] > 0 => { v.unwrap(); 1 }
            v = rxs[2].recv(), if left[2] > 0 => { v.unwrap(); 2 }
            v = rxs[3].recv(), if left[3] > 0 => { v.unwrap(); 3 }
        };
        left[got] -= 1;
    }
}

/// Selects of every kind of caller on the same two channels, until all that was sent has come.
#[test]
fn every_kind_of_caller_selects_on_the_same_channels() {
    from_each(|| {
        const EACH: u64 = 500;
        let (a_tx, a) = chan::bounded(0);
        let (b_tx, b) = chan::bounded(2);
        let send_blocking = |tx: [Sender<u64>; 2]| {
            move || {
                for i in 0..EACH {
                    select! { r = tx[0].send(i) => r, r = tx[1].send(i) => r }.unwrap();
                }
            }
        };
        let receive_blocking = |rx: [Receiver<u64>; 2]| {
            move || {
                let (mut sum, mut open) = (0, [true; 2]);
                while open != [false; 2] {
                    let (number, got) = select! {
                        v = rx[0].recv(), if open[0] => (0, v),
                        v = rx[1].recv(), if open[1] => (1, v),
                    };
                    match got {
                        Ok(v) => sum += v,
                        Err(RecvError) => open[number] = false,
                    }
                }
                sum
            }
        };
        let (txs, rxs) = ([a_tx, b_tx], [a, b]);
        let senders = [go(send_blocking(txs.clone())), {
            let txs = txs.clone();
            spawn(async move {
                for i in 0..EACH {
                    select_async! { r = txs[0].send(i) => r, r = txs[1].send(i) => r }.unwrap();
                }
            })
        }];
        let on_a_thread = std::thread::spawn(send_blocking(txs));
        let receivers = [go(receive_blocking(rxs.clone())), {
            let rxs = rxs.clone();
            spawn(async move {
                let (mut sum, mut open) = (0, [true; 2]);
                while open != [false; 2] {
                    let (number, got) = select_async! {
                        v = rxs[0].recv(), if open[0] => (0, v),
                        v = rxs[1].recv(), if open[1] => (1, v),
                    };
                    match got {
                        Ok(v) => sum += v,
                        Err(RecvError) => open[number] = false,
                    }
                }
                sum
            })
        }];
        drop(rxs);
        for sender in senders {
            sender.join().unwrap();
        }
        let sum: u64 = receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum();
        on_a_thread.join().unwrap();
        assert_eq!(sum, 3 * (0..EACH).sum::<u64>());
    });
}

#[test]
fn a_dynamic_select_sends_receives_and_lets_arms_go() {
    from_each(|| {
        let inputs: Vec<_> = (0..50).map(|_| chan::bounded::<usize>(0)).collect();
        for (number, (tx, _)) in inputs.iter().enumerate() {
            let tx = tx.clone();
            go(move || tx.send(number));
        }
        let (out, results) = chan::bounded(0);
        let collector = go(move || results.iter().sum::<usize>());
        let mut select = Select::new();
        let mut arms: Vec<_> = Vec::new();
        for (number, (_, rx)) in inputs.iter().enumerate() {
            arms.push(select.recv(rx, move |v| (number, v)));
        }
        let mut sum = 0;
        for _ in 0..50 {
            let (number, got) = select.wait();
            sum += got.unwrap();
            assert!(select.remove(arms[number]) && !select.remove(arms[number]));
        }
        assert!(select.is_empty() && select.try_wait().is_none());
        let mut select = Select::new();
        select.send(&out, || sum, |sent| sent.is_ok());
        assert!(select.wait());
        drop(select);
        drop(out);
        assert_eq!(collector.join().unwrap(), (0..50).sum::<usize>());
    });
}

#[test]
fn a_dynamic_select_has_limits_and_an_async_form() {
    runtime(|| {
        let (tx, rx) = chan::bounded::<u8>(1);
        let mut handle = go(|| 2);
        let mut select = Select::new();
        select.recv(&rx, |v| v);
        let limit = std::time::Duration::from_millis(1);
        assert_eq!(select.wait_timeout(limit), None);
        assert_eq!(select.try_wait(), None);
        tx.send(1).unwrap();
        assert_eq!(millpond::block_on(select.wait_async()), Ok(1));
        select.once(&mut handle, |v| Ok(v.unwrap()));
        assert_eq!(select.wait(), Ok(2));
        // An arm that was done once is over: only the receive is left.
        assert_eq!(select.wait_timeout(limit), None);
        // A future that is dropped leaves no arm in line.
        {
            let mut waiting = std::pin::pin!(select.wait_async());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
        }
        tx.send(3).unwrap();
        assert_eq!(rx.recv(), Ok(3));
    });
}
