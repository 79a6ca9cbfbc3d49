//! Coroutines that talk. All channels of may are unbounded, so a producer never waits: less work than the rows ask
//! for.
//!
//! | row | channel |
//! |---|---|
//! | `pingpong`, `sieve` | `spsc` |
//! | `mpmc` | `mpmc` |
//! | `mpsc` | `mpsc` |
//! | `select` | `cqueue`: a coroutine for each channel, which hands over one event at a time |
//!
//! The generator of `sieve` would run away from its filters without a bound, so it counts to where the last prime
//! is to be found and no further.

use crate::spawn::go;
use bench_common::{Args, Outcome};
use may::coroutine::JoinHandle;
use may::cqueue;
use may::sync::{Mutex, mpmc as many, mpsc as several, spsc};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn joined(handle: JoinHandle<u64>) -> u64 {
    handle.join().expect("it does not panic")
}

pub(crate) fn pingpong(args: &Args) -> Outcome {
    let trips = args.get("trips");
    let (ping, pinged) = spsc::channel();
    let (pong, ponged) = spsc::channel();
    let began = Instant::now();
    let answering = go(move || {
        while let Ok(value) = pinged.recv() {
            if pong.send(value).is_err() {
                return;
            }
        }
    });
    let caller = go(move || {
        let there_and_back = |value| {
            ping.send(value).expect("the other one listens");
            ponged.recv().expect("the other one answers")
        };
        (0..trips).map(there_and_back).sum()
    });
    let sum = joined(caller);
    let took = began.elapsed();
    answering.join().expect("it does not panic");
    Outcome::new(trips, took, sum)
}

pub(crate) fn mpmc(args: &Args) -> Outcome {
    let (producers, consumers) = (args.get("producers"), args.get("consumers"));
    let each = args.get("each");
    let (tx, rx) = many::channel();
    let began = Instant::now();
    for _ in 0..producers {
        let tx = tx.clone();
        go(move || (0..each).for_each(|value| tx.send(value).expect("there are receivers")));
    }
    drop(tx);
    let consume = |_| {
        let rx: many::Receiver<u64> = rx.clone();
        go(move || rx.iter().sum())
    };
    let handles: Vec<_> = (0..consumers).map(consume).collect();
    let sum = handles.into_iter().map(joined).sum();
    Outcome::new(producers * each, began.elapsed(), sum)
}

pub(crate) fn mpsc(args: &Args) -> Outcome {
    let (producers, each) = (args.get("producers"), args.get("each"));
    let (tx, rx) = several::channel();
    let began = Instant::now();
    for _ in 0..producers {
        produce(tx.clone(), each);
    }
    drop(tx);
    let sum = joined(go(move || rx.iter().sum()));
    Outcome::new(producers * each, began.elapsed(), sum)
}

fn produce(tx: several::Sender<u64>, each: u64) {
    go(move || (0..each).for_each(|value| tx.send(value).expect("there is a receiver")));
}

pub(crate) fn select(args: &Args) -> Outcome {
    let each = args.get("each");
    let began = Instant::now();
    let mut senders = Vec::new();
    let sources: [several::Receiver<u64>; 4] = std::array::from_fn(|_| {
        let (tx, rx) = several::channel();
        produce(tx.clone(), each);
        senders.push(tx);
        rx
    });
    let consumer = go(move || {
        let sum = AtomicU64::new(0);
        cqueue::scope(|queue| {
            for (token, source) in sources.iter().enumerate() {
                let sum = &sum;
                may::go!(queue, token, move |events| {
                    while let Ok(value) = source.recv() {
                        events.send(token);
                        sum.fetch_add(value, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..4 * each {
                queue.poll(None).expect("there are values");
            }
        });
        sum.into_inner()
    });
    let sum = joined(consumer);
    drop(senders);
    Outcome::new(4 * each, began.elapsed(), sum)
}

pub(crate) fn mutex(args: &Args) -> Outcome {
    let (contenders, each) = (args.get("contenders"), args.get("each"));
    let number = Arc::new(Mutex::new(0));
    let began = Instant::now();
    let contend = |_| {
        let number = Arc::clone(&number);
        go(move || {
            (0..each).for_each(|_| *number.lock().expect("nobody panics") += 1);
            each
        })
    };
    let handles: Vec<_> = (0..contenders).map(contend).collect();
    handles.into_iter().map(joined).for_each(drop);
    let total = *number.lock().expect("nobody panics");
    Outcome::new(contenders * each, began.elapsed(), total)
}

fn filter(numbers: spsc::Receiver<u64>, prime: u64) -> spsc::Receiver<u64> {
    let (tx, rx) = spsc::channel();
    go(move || {
        while let Ok(number) = numbers.recv() {
            if number % prime != 0 && tx.send(number).is_err() {
                return;
            }
        }
    });
    rx
}

pub(crate) fn sieve(args: &Args) -> Outcome {
    let (primes, largest) = (args.get("primes"), args.get("largest"));
    let began = Instant::now();
    let (tx, mut numbers) = spsc::channel();
    go(move || (2..=largest).try_for_each(|number| tx.send(number)));
    let mut last = 0;
    for _ in 0..primes {
        last = numbers.recv().expect("there is another prime");
        numbers = filter(numbers, last);
    }
    Outcome::new(1, began.elapsed(), last)
}
