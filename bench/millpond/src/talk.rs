//! Goroutines that talk: channels of every shape, a lock, a sieve.
//!
//! - `pingpong`: two goroutines and two rendezvous channels, a number there and back; an operation is a round trip. The
//!   runtime places them; `pingpong_apart` asks for two Ms.
//! - `mpmc`, `mpsc`: producers and consumers on one channel.
//! - `select`: a consumer that selects over four channels with a producer each.
//! - `mutex`: goroutines that add one to a number under one lock.
//! - `sieve`: the prime sieve of Go's tutorial, a filter goroutine for each prime, rendezvous channels between them.

use bench_common::{Args, Outcome};
use millpond::chan::{self, Receiver, Sender};
use millpond::sync::Mutex;
use millpond::{Builder, JoinHandle, go};
use std::sync::Arc;
use std::time::Instant;

fn joined(handle: JoinHandle<u64>) -> u64 {
    handle.join().expect("it does not panic")
}

pub(crate) fn pingpong(args: &Args) -> Outcome {
    trips(args, &Builder::new())
}

pub(crate) fn pingpong_apart(args: &Args) -> Outcome {
    trips(args, &Builder::new().spread())
}

fn trips(args: &Args, place: &Builder) -> Outcome {
    let trips = args.get("trips");
    let (ping, pinged) = chan::bounded(0);
    let (pong, ponged) = chan::bounded(0);
    let began = Instant::now();
    drop(place.go(move || pinged.iter().try_for_each(|value: u64| pong.send(value))));
    let caller = place.go(move || {
        let there_and_back = |value| {
            ping.send(value).expect("the other one listens");
            ponged.recv().expect("the other one answers")
        };
        (0..trips).map(there_and_back).sum()
    });
    let sum = joined(caller);
    Outcome::new(trips, began.elapsed(), sum)
}

pub(crate) fn mpmc(args: &Args) -> Outcome {
    let (producers, consumers, each) =
        (args.get("producers"), args.get("consumers"), args.get("each"));
    let (tx, rx) = chan::bounded(args.get("cap") as usize);
    let began = Instant::now();
    for _ in 0..producers {
        produce(tx.clone(), each);
    }
    drop(tx);
    let consume = |_| {
        let rx: Receiver<u64> = rx.clone();
        go(move || rx.iter().sum())
    };
    let handles: Vec<_> = (0..consumers).map(consume).collect();
    let sum = handles.into_iter().map(joined).sum();
    Outcome::new(producers * each, began.elapsed(), sum)
}

fn produce(tx: Sender<u64>, each: u64) {
    drop(go(move || (0..each).try_for_each(|value| tx.send(value))));
}

pub(crate) fn select(args: &Args) -> Outcome {
    let (each, cap) = (args.get("each"), args.get("cap") as usize);
    let began = Instant::now();
    // Kept until the end: a closed channel would be ready for ever.
    let mut senders = Vec::new();
    let [a, b, c, d]: [Receiver<u64>; 4] = std::array::from_fn(|_| {
        let (tx, rx) = chan::bounded(cap);
        produce(tx.clone(), each);
        senders.push(tx);
        rx
    });
    let consumer = go(move || {
        let mut sum = 0;
        for _ in 0..4 * each {
            let value = millpond::select! {
                value = a.recv() => value,
                value = b.recv() => value,
                value = c.recv() => value,
                value = d.recv() => value,
            };
            sum += value.expect("no channel is closed");
        }
        sum
    });
    let sum = joined(consumer);
    Outcome::new(4 * each, began.elapsed(), sum)
}

pub(crate) fn mutex(args: &Args) -> Outcome {
    let (contenders, each) = (args.get("contenders"), args.get("each"));
    let number = Arc::new(Mutex::new(0));
    let began = Instant::now();
    let contend = |_| {
        let number = Arc::clone(&number);
        go(move || {
            (0..each).for_each(|_| *number.lock() += 1);
            each
        })
    };
    let handles: Vec<_> = (0..contenders).map(contend).collect();
    handles.into_iter().map(joined).for_each(drop);
    let total = *number.lock();
    Outcome::new(contenders * each, began.elapsed(), total)
}

fn filter(numbers: Receiver<u64>, prime: u64) -> Receiver<u64> {
    let (tx, rx) = chan::bounded(0);
    drop(go(move || {
        for number in numbers.iter().filter(|number| number % prime != 0) {
            if tx.send(number).is_err() {
                return;
            }
        }
    }));
    rx
}

pub(crate) fn sieve(args: &Args) -> Outcome {
    let primes = args.get("primes");
    let began = Instant::now();
    let (tx, mut numbers) = chan::bounded(0);
    drop(go(move || (2..).try_for_each(|number| tx.send(number))));
    let mut last = 0;
    for _ in 0..primes {
        last = numbers.recv().expect("there is always another prime");
        numbers = filter(numbers, last);
    }
    Outcome::new(1, began.elapsed(), last)
}
