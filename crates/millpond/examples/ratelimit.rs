//! A rate limit: a token bucket that a clock fills, and workers that take a token for each job.
//!
//! ```text
//!   clock ──token──▶ bucket ──token──▶ worker ──▶ a call to something that must not be hurried
//!          each 5 ms   10      ┌─────▶ worker
//!          (full: lost)        └─────▶ worker
//! ```
//!
//! The bucket is a bounded channel, and a token is a message without content. What the channel
//! holds is the burst: after a quiet time that many jobs may start at once, and no more. From then
//! on jobs start as fast as the clock ticks, together, however many workers there are. A worker
//! that finds the bucket empty parks, and the workers are served in the order in which they came.
//!
//! The clock counts from its start (`sleep_until`), not from its last tick: a tick that was late
//! does not move those after it. A tick that finds the bucket full is lost, or the burst would have
//! no bound.
//!
//! It ends like a pipeline: the workers end with the jobs, the last one drops the last receiver of
//! tokens, and the clock finds its channel closed.
//!
//! ```text
//! cargo run --release -p millpond --example ratelimit
//! ```

use millpond::chan::{Receiver, TrySendError, bounded};
use millpond::go;
use millpond::time::{Instant, sleep_until};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(5);
const BURST: usize = 10;
const JOBS: usize = 50;
const WORKERS: usize = 4;

/// Tokens that come one per interval, of which at most `burst` are kept. It starts full.
fn token_bucket(interval: Duration, burst: usize) -> Receiver<()> {
    let (tokens, bucket) = bounded(burst);
    for _ in 0..burst {
        tokens.try_send(()).expect("there is room for a burst, and a receiver");
    }
    let begun = Instant::now();
    drop(go(move || {
        for tick in 1.. {
            sleep_until(begun + interval * tick);
            match tokens.try_send(()) {
                Ok(()) | Err(TrySendError::Full(())) => {}
                Err(TrySendError::Closed(())) => return,
            }
        }
    }));
    bucket
}

/// Does jobs at the rate at which there are tokens; when it has started each.
fn worker(jobs: Receiver<usize>, tokens: &Receiver<()>) -> Vec<Instant> {
    let mut started = Vec::new();
    for _job in jobs {
        tokens.recv().expect("the clock goes on while somebody takes tokens");
        started.push(Instant::now());
        // The call would stand here. It may take long: the others go on.
    }
    started
}

#[millpond::main]
fn main() {
    let begun = Instant::now();
    let tokens = token_bucket(INTERVAL, BURST);
    let (job_tx, jobs) = bounded(1);
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (jobs, tokens) = (jobs.clone(), tokens.clone());
            go(move || worker(jobs, &tokens))
        })
        .collect();
    drop((jobs, tokens));
    for job in 0..JOBS {
        job_tx.send(job).expect("the workers stay until the jobs end");
    }
    drop(job_tx);

    let mut started: Vec<Instant> =
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect();
    started.sort_unstable();
    assert_eq!(started.len(), JOBS);
    // The nth job after the burst cannot have started before the nth tick.
    for (tick, at) in (1..).zip(&started[BURST..]) {
        assert!(*at >= begun + INTERVAL * tick, "job {} was early", BURST + tick as usize);
    }
    let burst = started[BURST - 1] - begun;
    println!("the first {BURST} jobs had started after {burst:.1?}");
    println!("all {JOBS} jobs had started after {:.1?}", started[JOBS - 1] - begun);
}
