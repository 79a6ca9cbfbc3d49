//! Tasks that talk, over `async-channel` and `async-lock`, the channel and the lock that smol brings.
//!
//! There is no rendezvous: `pingpong` and `sieve` take capacity 1. `select` races the futures of four receivers,
//! which is what `smol::future` offers for it; losing the race gives the place in the queue back. The race is by
//! `or` in pairs, so it prefers the earlier channel; a fair one would cost more.

use crate::spawn;
use async_channel::{Receiver, Sender, bounded};
use async_lock::Mutex;
use bench_common::{Args, Outcome};
use smol::future::or;
use std::sync::Arc;
use std::time::Instant;

pub(crate) async fn pingpong(args: Args) -> Outcome {
    let trips = args.get("trips");
    let (ping, pinged) = bounded(1);
    let (pong, ponged) = bounded(1);
    let began = Instant::now();
    let answering = async move {
        while let Ok(value) = pinged.recv().await {
            if pong.send(value).await.is_err() {
                return;
            }
        }
    };
    spawn(answering).detach();
    let calling = async move {
        let mut sum = 0;
        for value in 0..trips {
            ping.send(value).await.expect("the other one listens");
            sum += ponged.recv().await.expect("the other one answers");
        }
        sum
    };
    let sum = spawn(calling).await;
    Outcome::new(trips, began.elapsed(), sum)
}

fn produce(tx: Sender<u64>, each: u64) {
    let producing = async move {
        for value in 0..each {
            tx.send(value).await.expect("there are receivers");
        }
    };
    spawn(producing).detach();
}

pub(crate) async fn mpmc(args: Args) -> Outcome {
    let (producers, consumers) = (args.get("producers"), args.get("consumers"));
    let each = args.get("each");
    let (tx, rx) = bounded(args.get("cap") as usize);
    let began = Instant::now();
    for _ in 0..producers {
        produce(tx.clone(), each);
    }
    drop(tx);
    let consume = |_| {
        let rx: Receiver<u64> = rx.clone();
        spawn(async move {
            let mut sum = 0;
            while let Ok(value) = rx.recv().await {
                sum += value;
            }
            sum
        })
    };
    let tasks: Vec<_> = (0..consumers).map(consume).collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await;
    }
    Outcome::new(producers * each, began.elapsed(), sum)
}

pub(crate) async fn select(args: Args) -> Outcome {
    let (each, cap) = (args.get("each"), args.get("cap") as usize);
    let began = Instant::now();
    // Kept until the end: a closed channel would be ready for ever.
    let mut senders = Vec::new();
    let [a, b, c, d]: [Receiver<u64>; 4] = std::array::from_fn(|_| {
        let (tx, rx) = bounded(cap);
        produce(tx.clone(), each);
        senders.push(tx);
        rx
    });
    let consuming = async move {
        let mut sum = 0;
        for _ in 0..4 * each {
            let value = or(or(a.recv(), b.recv()), or(c.recv(), d.recv())).await;
            sum += value.expect("no channel is closed");
        }
        sum
    };
    let sum = spawn(consuming).await;
    drop(senders);
    Outcome::new(4 * each, began.elapsed(), sum)
}

pub(crate) async fn mutex(args: Args) -> Outcome {
    let (contenders, each) = (args.get("contenders"), args.get("each"));
    let number = Arc::new(Mutex::new(0));
    let began = Instant::now();
    let contend = |_| {
        let number = Arc::clone(&number);
        spawn(async move {
            for _ in 0..each {
                *number.lock().await += 1;
            }
        })
    };
    let tasks: Vec<_> = (0..contenders).map(contend).collect();
    for task in tasks {
        task.await;
    }
    let total = *number.lock().await;
    Outcome::new(contenders * each, began.elapsed(), total)
}

fn filter(numbers: Receiver<u64>, prime: u64) -> Receiver<u64> {
    let (tx, rx) = bounded(1);
    let filtering = async move {
        while let Ok(number) = numbers.recv().await {
            if number % prime != 0 && tx.send(number).await.is_err() {
                return;
            }
        }
    };
    spawn(filtering).detach();
    rx
}

pub(crate) async fn sieve(args: Args) -> Outcome {
    let primes = args.get("primes");
    let began = Instant::now();
    let (tx, mut numbers) = bounded(1);
    let generating = async move {
        for number in 2.. {
            if tx.send(number).await.is_err() {
                return;
            }
        }
    };
    spawn(generating).detach();
    let mut last = 0;
    for _ in 0..primes {
        last = numbers.recv().await.expect("there is always another prime");
        numbers = filter(numbers, last);
    }
    Outcome::new(1, began.elapsed(), last)
}
