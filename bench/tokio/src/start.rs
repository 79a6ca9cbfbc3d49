//! Tasks that begin, end, take turns, and rest.
//!
//! The same rows as on Millpond: batches of tasks that return a number, tasks that only yield, a tree of a million
//! leaves, a million that sleep, a million that wait for ever. `skynet` boxes its futures, as every recursive async
//! function has to.

use bench_common::{Args, Outcome, footprint_bytes, per_item_bytes};
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, yield_now};
use tokio::{spawn, time};

async fn joined(handle: JoinHandle<u64>) -> u64 {
    handle.await.expect("it does not panic")
}

async fn sum_of(handles: impl Iterator<Item = JoinHandle<u64>>) -> u64 {
    let mut sum = 0;
    for handle in handles {
        sum += joined(handle).await;
    }
    sum
}

pub(crate) async fn spawn_join(args: Args) -> Outcome {
    let (batches, batch) = (args.get("batches"), args.get("batch"));
    let mut handles = Vec::with_capacity(batch as usize);
    let (began, mut sum) = (Instant::now(), 0);
    for _ in 0..batches {
        handles.extend((0..batch).map(|i| spawn(async move { i })));
        sum += sum_of(handles.drain(..)).await;
    }
    Outcome::new(batches * batch, began.elapsed(), sum)
}

pub(crate) async fn yields(args: Args) -> Outcome {
    let (tasks, each) = (args.get("goroutines"), args.get("each"));
    let turns = |_| {
        spawn(async move {
            for _ in 0..each {
                yield_now().await;
            }
            each
        })
    };
    let began = Instant::now();
    let handles: Vec<_> = (0..tasks).map(turns).collect();
    let sum = sum_of(handles.into_iter()).await;
    Outcome::new(tasks * each, began.elapsed(), sum)
}

fn tree(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let part = leaves / 10;
        let children: Vec<_> = (0..10).map(|i| spawn(tree(first + i * part, part))).collect();
        sum_of(children.into_iter()).await
    })
}

pub(crate) async fn skynet(args: Args) -> Outcome {
    let leaves = args.get("leaves");
    let began = Instant::now();
    let sum = joined(spawn(tree(0, leaves))).await;
    Outcome::new(1, began.elapsed(), sum)
}

pub(crate) async fn sleepers(args: Args) -> Outcome {
    let (count, span) = (args.get("count"), Duration::from_millis(args.get("ms")));
    let sleeper = |_| {
        spawn(async move {
            time::sleep(span).await;
            1
        })
    };
    let began = Instant::now();
    let handles: Vec<_> = (0..count).map(sleeper).collect();
    let woken = sum_of(handles.into_iter()).await;
    Outcome::new(1, began.elapsed(), woken)
}

pub(crate) async fn idle(args: Args) -> Outcome {
    let count = args.get("count");
    let arrived = Arc::new(AtomicU64::new(0));
    let (before, began) = (footprint_bytes(), Instant::now());
    for _ in 0..count {
        let arrived = Arc::clone(&arrived);
        drop(spawn(async move {
            arrived.fetch_add(1, Ordering::Relaxed);
            future::pending::<()>().await;
        }));
    }
    while arrived.load(Ordering::Relaxed) < count {
        yield_now().await;
    }
    let bytes = per_item_bytes(before, count);
    Outcome::new(count, began.elapsed(), arrived.load(Ordering::Relaxed)).with("bytes", bytes)
}
