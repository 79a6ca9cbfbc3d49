//! Tasks that talk. What tokio itself does not have comes from where its users get it, so that no row is slow for
//! want of a good channel:
//!
//! | row | channel |
//! |---|---|
//! | `pingpong`, `sieve` | tokio's `mpsc` of capacity 1: there is no rendezvous |
//! | `mpmc` | `flume`: tokio has none |
//! | `mpsc` | `async-channel`, which is faster here than tokio's own |
//! | `select` | tokio's `mpsc` and `tokio::select!` |
//!
//! `pingpong_apart` runs its two tasks on two runtimes of one thread each: there is no other way to say where a
//! task runs.

use bench_common::{Args, Outcome};
use std::sync::Arc;
use std::thread;
use std::time::Instant;
use tokio::runtime;
use tokio::spawn;
use tokio::sync::{Mutex, mpsc};

pub(crate) async fn pingpong(args: Args) -> Outcome {
    let trips = args.get("trips");
    let (ping, pinged) = mpsc::channel(1);
    let (pong, ponged) = mpsc::channel(1);
    let began = Instant::now();
    spawn(answer(pinged, pong));
    let sum = spawn(call(trips, ping, ponged)).await.expect("it does not panic");
    Outcome::new(trips, began.elapsed(), sum)
}

async fn answer(mut pinged: mpsc::Receiver<u64>, pong: mpsc::Sender<u64>) {
    while let Some(value) = pinged.recv().await {
        if pong.send(value).await.is_err() {
            return;
        }
    }
}

async fn call(trips: u64, ping: mpsc::Sender<u64>, mut ponged: mpsc::Receiver<u64>) -> u64 {
    let mut sum = 0;
    for value in 0..trips {
        ping.send(value).await.expect("the other one listens");
        sum += ponged.recv().await.expect("the other one answers");
    }
    sum
}

/// Two threads with a runtime each.
pub(crate) fn pingpong_apart(args: &Args) -> Outcome {
    let trips = args.get("trips");
    let (ping, pinged) = mpsc::channel(1);
    let (pong, ponged) = mpsc::channel(1);
    let runtime = || runtime::Builder::new_current_thread().build().expect("a runtime can start");
    let began = Instant::now();
    let answering = thread::spawn(move || runtime().block_on(answer(pinged, pong)));
    let sum = runtime().block_on(call(trips, ping, ponged));
    let took = began.elapsed();
    answering.join().expect("it does not panic");
    Outcome::new(trips, took, sum)
}

pub(crate) async fn mpmc(args: Args) -> Outcome {
    let (producers, consumers) = (args.get("producers"), args.get("consumers"));
    let each = args.get("each");
    let (tx, rx) = flume::bounded(args.get("cap") as usize);
    let began = Instant::now();
    for _ in 0..producers {
        let tx = tx.clone();
        spawn(async move {
            for value in 0..each {
                tx.send_async(value).await.expect("there are receivers");
            }
        });
    }
    drop(tx);
    let consume = |_| {
        let rx: flume::Receiver<u64> = rx.clone();
        spawn(async move {
            let mut sum = 0;
            while let Ok(value) = rx.recv_async().await {
                sum += value;
            }
            sum
        })
    };
    let handles: Vec<_> = (0..consumers).map(consume).collect();
    let mut sum = 0;
    for handle in handles {
        sum += handle.await.expect("it does not panic");
    }
    Outcome::new(producers * each, began.elapsed(), sum)
}

pub(crate) async fn mpsc(args: Args) -> Outcome {
    let (producers, each) = (args.get("producers"), args.get("each"));
    let (tx, rx) = async_channel::bounded(args.get("cap") as usize);
    let began = Instant::now();
    for _ in 0..producers {
        let tx = tx.clone();
        spawn(async move {
            for value in 0..each {
                tx.send(value).await.expect("there is a receiver");
            }
        });
    }
    drop(tx);
    let consumer = spawn(async move {
        let mut sum = 0;
        while let Ok(value) = rx.recv().await {
            sum += value;
        }
        sum
    });
    let sum = consumer.await.expect("it does not panic");
    Outcome::new(producers * each, began.elapsed(), sum)
}

pub(crate) async fn select(args: Args) -> Outcome {
    let (each, cap) = (args.get("each"), args.get("cap") as usize);
    let began = Instant::now();
    // Kept until the end: a closed channel would be ready for ever.
    let mut senders = Vec::new();
    let [mut a, mut b, mut c, mut d] = std::array::from_fn(|_| {
        let (tx, rx) = mpsc::channel(cap);
        senders.push(tx.clone());
        spawn(async move {
            for value in 0..each {
                tx.send(value).await.expect("there is a receiver");
            }
        });
        rx
    });
    let consumer = spawn(async move {
        let mut sum = 0;
        for _ in 0..4 * each {
            let value: Option<u64> = tokio::select! {
                value = a.recv() => value,
                value = b.recv() => value,
                value = c.recv() => value,
                value = d.recv() => value,
            };
            sum += value.expect("no channel is closed");
        }
        sum
    });
    let sum = consumer.await.expect("it does not panic");
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
    let handles: Vec<_> = (0..contenders).map(contend).collect();
    for handle in handles {
        handle.await.expect("it does not panic");
    }
    let total = *number.lock().await;
    Outcome::new(contenders * each, began.elapsed(), total)
}

fn filter(mut numbers: mpsc::Receiver<u64>, prime: u64) -> mpsc::Receiver<u64> {
    let (tx, rx) = mpsc::channel(1);
    spawn(async move {
        while let Some(number) = numbers.recv().await {
            if number % prime != 0 && tx.send(number).await.is_err() {
                return;
            }
        }
    });
    rx
}

pub(crate) async fn sieve(args: Args) -> Outcome {
    let primes = args.get("primes");
    let began = Instant::now();
    let (tx, mut numbers) = mpsc::channel(1);
    spawn(async move {
        for number in 2.. {
            if tx.send(number).await.is_err() {
                return;
            }
        }
    });
    let mut last = 0;
    for _ in 0..primes {
        last = numbers.recv().await.expect("there is always another prime");
        numbers = filter(numbers, last);
    }
    Outcome::new(1, began.elapsed(), last)
}
