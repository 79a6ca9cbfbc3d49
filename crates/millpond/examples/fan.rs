//! Fan-out and fan-in: one source of jobs, several workers, one place for the results.
//!
//! ```text
//!                      ┌──▶ worker ──┐
//!   source ──▶ jobs ───┼──▶ worker ──┼──▶ results ──▶ main: puts them in order
//!               8      └──▶ worker ──┘       8
//! ```
//!
//! *Out*: the workers receive from one channel, and whoever is free takes the next job. So a slow
//! job holds up its worker and nobody else, and nothing has to decide who gets what. *In*: all send
//! to one channel, in whatever order they are ready; a number that travels with the job says where
//! its result belongs.
//!
//! Both channels are bounded. If the results are not taken, the workers wait; if they wait, the
//! source waits: at no time are there more than a few jobs in memory, however many there will be.
//!
//! The end travels the same way. The source drops its sender, so the workers' loops end; the last
//! worker drops the last sender of results, so the loop of `main` ends. Nobody counts.
//!
//! The jobs are to find out in how many steps a number reaches 1 (Collatz), which takes long for
//! some and not for others. A plain loop checks the result.
//!
//! ```text
//! cargo run --release -p millpond --example fan
//! ```

use millpond::chan::{Receiver, Sender, bounded};
use millpond::go;

const JOBS: u64 = 5_000;
const WORKERS: usize = 4;

/// A job, and later its result, with its place.
struct Numbered<T> {
    place: usize,
    value: T,
}

#[millpond::main]
fn main() {
    let (job_tx, jobs) = bounded(8);
    let (result_tx, results) = bounded(8);
    drop(go(move || source(&job_tx)));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (jobs, results) = (jobs.clone(), result_tx.clone());
            go(move || worker(jobs, &results))
        })
        .collect();
    // The workers have their own. With ours, the results would never end.
    drop((jobs, result_tx));

    let steps = in_order(results);
    assert_eq!(steps, (1..=JOBS).map(collatz).collect::<Vec<_>>(), "the loop finds something else");
    let done: Vec<usize> = workers.into_iter().map(|w| w.join().expect("no panic")).collect();
    assert_eq!(done.iter().sum::<usize>(), steps.len());
    let most = steps.iter().zip(1..).max().expect("there are jobs");
    println!("of {JOBS} numbers {} takes the most steps, {}", most.1, most.0);
    println!("jobs of each worker: {done:?}");
}

/// Makes the jobs, as fast as they are taken.
fn source(jobs: &Sender<Numbered<u64>>) {
    for (place, value) in (1..=JOBS).enumerate() {
        if jobs.send(Numbered { place, value }).is_err() {
            // All workers are gone: nobody wants the rest.
            return;
        }
    }
}

/// Takes jobs until there are no more; how many it has done.
fn worker(jobs: Receiver<Numbered<u64>>, results: &Sender<Numbered<u32>>) -> usize {
    let mut done = 0;
    for Numbered { place, value } in jobs {
        if results.send(Numbered { place, value: collatz(value) }).is_err() {
            break;
        }
        done += 1;
    }
    done
}

/// The results in the order of their jobs.
fn in_order(results: Receiver<Numbered<u32>>) -> Vec<u32> {
    let mut all: Vec<_> = results.into_iter().collect();
    all.sort_by_key(|result| result.place);
    all.into_iter().map(|result| result.value).collect()
}

/// In how many steps `n` reaches 1.
fn collatz(mut n: u64) -> u32 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}
