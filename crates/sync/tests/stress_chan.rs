//! Ten thousand goroutines, each doing random operations on random channels, against a ledger.
//!
//! The ledger is the model: each value is sent once or given back, and is received exactly once if
//! it was sent. Every form takes part (blocking, with time-outs, at once, as a future, as a future
//! that is dropped), on channels of different capacities. After a while the channels are closed one
//! by one, from either end, and then every goroutine must come to its end.

#![cfg(not(loom))]

mod common;

use common::{Rng, poll_once, runtime, seed};
use millpond_rt::{block_on, go, yield_now};
use millpond_sync::chan::{self, Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const GOROUTINES: usize = 10_000;
const OPERATIONS: usize = 24;
const CHANNELS: usize = 64;

/// The sender was told that the value went, or that it did not, or nothing (a dropped future).
const SENT: u8 = 1;
const KEPT: u8 = 2;
const UNKNOWN: u8 = 4;
/// Added by each receive.
const RECEIVED: u8 = 16;

/// What happened to each value; its index is the value.
struct Ledger(Vec<AtomicU8>);

impl Ledger {
    fn new() -> Self {
        Self((0..GOROUTINES * OPERATIONS).map(|_| AtomicU8::new(0)).collect())
    }

    fn note(&self, value: usize, what: u8) {
        self.0[value].fetch_add(what, Ordering::Relaxed);
    }

    fn note_sent(&self, value: usize, sent: bool) {
        self.note(value, if sent { SENT } else { KEPT });
    }

    fn note_received(&self, value: Option<usize>) {
        if let Some(value) = value {
            self.note(value, RECEIVED);
        }
    }

    /// How many were received; panics at the first entry that does not add up.
    fn check(&self, seed: u64) -> usize {
        let mut received = 0;
        for (value, entry) in self.0.iter().enumerate() {
            let entry = entry.load(Ordering::Relaxed);
            let fine = matches!(entry, 0 | KEPT | UNKNOWN)
                || entry == SENT + RECEIVED
                || entry == UNKNOWN + RECEIVED;
            assert!(fine, "value {value}: {entry:#04x} does not add up (seed {seed})");
            received += usize::from(entry >= RECEIVED);
        }
        received
    }
}

/// One goroutine's life: `values` are its own to send.
fn live(
    mut rng: Rng,
    channels: &[(Sender<usize>, Receiver<usize>)],
    ledger: &Ledger,
    values: std::ops::Range<usize>,
) {
    for value in values {
        let (tx, rx) = &channels[rng.below(CHANNELS)];
        let limit = Duration::from_micros(rng.below(2_000) as u64);
        match rng.below(14) {
            0 | 1 => ledger.note_sent(value, tx.send(value).is_ok()),
            2 => ledger.note_sent(value, tx.try_send(value).is_ok()),
            3 => ledger.note_sent(value, tx.send_timeout(value, limit).is_ok()),
            4 => ledger.note_sent(value, block_on(tx.send_async(value)).is_ok()),
            5 => match poll_once(tx.send_async(value)) {
                Some(result) => ledger.note_sent(value, result.is_ok()),
                None => ledger.note(value, UNKNOWN),
            },
            6 | 7 => ledger.note_received(rx.recv().ok()),
            8 => ledger.note_received(rx.try_recv().ok()),
            9 => ledger.note_received(rx.recv_timeout(limit).ok()),
            10 => ledger.note_received(block_on(rx.recv_async()).ok()),
            11 => ledger.note_received(poll_once(rx.recv_async()).and_then(Result::ok)),
            12 => rx.try_iter().take(3).for_each(|value| ledger.note_received(Some(value))),
            _ => yield_now(),
        }
    }
}

fn stress(procs: usize) {
    let seed = seed();
    let began = Instant::now();
    let received = runtime(procs, move || {
        let capacities = [Some(0), Some(0), Some(1), Some(2), Some(16), Some(128), None];
        let channels: Arc<Vec<_>> = Arc::new(
            (0..CHANNELS)
                .map(|i| {
                    capacities[i % capacities.len()].map_or_else(chan::unbounded, chan::bounded)
                })
                .collect(),
        );
        let ledger = Arc::new(Ledger::new());
        let (done_tx, done_rx) = chan::unbounded();
        for i in 0..GOROUTINES {
            let (channels, ledger, done) = (channels.clone(), ledger.clone(), done_tx.clone());
            drop(go(move || {
                let values = i * OPERATIONS..(i + 1) * OPERATIONS;
                live(Rng::new(seed ^ (i as u64) << 20), &channels, &ledger, values);
                done.send(i).expect("the first goroutine still counts");
            }));
        }
        drop(done_tx);
        // Random partners do not always meet: closing ends those that wait for ever. How long they
        // are left alone before is a matter of how much happens, not of what is right.
        let mut ended = 0;
        while ended < GOROUTINES && done_rx.recv_timeout(Duration::from_millis(300)).is_ok() {
            ended += 1;
        }
        for (i, (tx, rx)) in channels.iter().enumerate() {
            if i % 2 == 0 { tx.close() } else { rx.close() }
        }
        while ended < GOROUTINES {
            let end = done_rx.recv_timeout(Duration::from_secs(240));
            assert!(end.is_ok(), "only {ended} goroutines ended after the close (seed {seed})");
            ended += 1;
        }
        for (_, rx) in channels.iter() {
            rx.iter().for_each(|value| ledger.note_received(Some(value)));
        }
        ledger.check(seed)
    });
    println!("{procs} Ps: {received} values received in {:?}", began.elapsed());
    assert!(received > GOROUTINES, "too little happened: {received} (seed {seed})");
}

#[test]
fn ten_thousand_goroutines_lose_and_double_nothing() {
    for procs in [1, 2, 8] {
        stress(procs);
    }
}
