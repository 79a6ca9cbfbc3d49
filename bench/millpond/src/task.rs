//! Tasks: the rows of `start`, with futures that `spawn` has started.
//!
//! The first goroutine starts them; the loop that starts and joins is itself a task, as it is on the runtimes that have
//! nothing else, because a goroutine that starts tasks would be woken across the two kinds at each join.

use bench_common::{Args, Outcome, footprint_bytes, per_item_bytes};
use millpond::{block_on, spawn, time, yield_async};
use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Runs `main` as a task and waits for it.
fn in_task<F: Future<Output = Outcome> + Send + 'static>(main: F) -> Outcome {
    spawn(main).join().expect("it does not panic")
}

pub(crate) fn spawn_join(args: &Args) -> Outcome {
    let (batches, batch) = (args.get("batches"), args.get("batch"));
    in_task(async move {
        let mut handles = Vec::with_capacity(batch as usize);
        let (began, mut sum) = (Instant::now(), 0);
        for _ in 0..batches {
            handles.extend((0..batch).map(|i| spawn(async move { i })));
            for handle in handles.drain(..) {
                sum += handle.await.expect("it does not panic");
            }
        }
        Outcome::new(batches * batch, began.elapsed(), sum)
    })
}

pub(crate) fn yields(args: &Args) -> Outcome {
    let (tasks, each) = (args.get("goroutines"), args.get("each"));
    in_task(async move {
        let began = Instant::now();
        let turns = |_| {
            spawn(async move {
                for _ in 0..each {
                    yield_async().await;
                }
                each
            })
        };
        let handles: Vec<_> = (0..tasks).map(turns).collect();
        let mut sum = 0;
        for handle in handles {
            sum += handle.await.expect("it does not panic");
        }
        Outcome::new(tasks * each, began.elapsed(), sum)
    })
}

pub(crate) fn sleepers(args: &Args) -> Outcome {
    let (count, span) = (args.get("count"), Duration::from_millis(args.get("ms")));
    in_task(async move {
        let began = Instant::now();
        let sleeper = |_| {
            spawn(async move {
                time::sleep_async(span).await;
                1
            })
        };
        let handles: Vec<_> = (0..count).map(sleeper).collect();
        let mut woken = 0;
        for handle in handles {
            woken += handle.await.expect("it does not panic");
        }
        Outcome::new(1, began.elapsed(), woken)
    })
}

pub(crate) fn idle(args: &Args) -> Outcome {
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
    let all_arrived = || arrived.load(Ordering::Relaxed) == count;
    block_on(async {
        while !all_arrived() {
            yield_async().await;
        }
    });
    let bytes = per_item_bytes(before, count);
    Outcome::new(count, began.elapsed(), arrived.load(Ordering::Relaxed)).with("bytes", bytes)
}
