//! Fan-out and fan-in: one source of jobs, several workers, one place for the results.
//!
//! ```text
//!                      ┌──▶ worker ──┐
//!   source ──▶ jobs ───┼──▶ worker ──┼──▶ results ──▶ main: puts them in order
//!               8      └──▶ worker ──┘       8
//! ```
//!
//! Use it where jobs are many, independent, and of uneven length.
//!
//! # Out
//! The workers receive from one channel, and whoever is free takes the next job. So a slow job holds
//! up its worker and nobody else, and nothing has to decide who gets what. A share dealt out
//! beforehand, each worker its tenth, is as slow as the worker with the unlucky tenth.
//!
//! # In
//! There are three ways, and the first is right wherever it can be:
//!
//! | way | when |
//! |---|---|
//! | [`by_sharing`]: all send to clones of one sender | the senders are yours and send one type |
//! | [`by_select`]: a `select!` over the channels | few channels, known now, maybe of different types |
//! | [`by_dynamic_select`]: a `chan::Select` | any number; who sent it matters, or when *one* ends |
//!
//! In Go the second is a `select` with channels set to nil, and the third `reflect.Select`, or a
//! goroutine for each channel that copies into one. A channel that is closed is *always* ready: a
//! select that goes on asking it spins. A guard switches its arm off, `remove` takes it out.
//!
//! # The end
//! All channels are bounded. If the results are not taken, the workers wait; if they wait, the
//! source waits: at no time are there more than a few jobs in memory, however many there will be.
//!
//! The end travels the same way. The source drops its sender, so the workers' loops end; the last
//! worker drops the last sender of results, so the loop of `main` ends. Nobody counts. The mistake
//! to make is a clone that is kept: with one in `main`, the results would never end.
//!
//! The jobs are to find out in how many steps a number reaches 1 (Collatz), which takes long for
//! some and not for others. A number that travels with the job says where its result belongs. A
//! plain loop checks the result.
//!
//! ```text
//! cargo run --release -p millpond --example fan
//! ```

use millpond::chan::{Receiver, Select, Sender, bounded};
use millpond::{go, select};

const JOBS: u64 = 5_000;
const WORKERS: usize = 4;

/// A job, and later its result, with its place.
struct Numbered<T> {
    place: usize,
    value: T,
}

type Jobs = Receiver<Numbered<u64>>;
type Results = Receiver<Numbered<u32>>;

#[millpond::main]
fn main() {
    let expected: Vec<u32> = (1..=JOBS).map(collatz).collect();
    assert_eq!(in_order(by_sharing()), expected, "sharing finds something else than the loop");
    assert_eq!(in_order(by_select()), expected, "select! finds something else than the loop");
    let (results, done) = by_dynamic_select();
    assert_eq!(in_order(results), expected, "Select finds something else than the loop");
    assert_eq!(done.iter().sum::<usize>(), expected.len());

    let most = expected.iter().zip(1..).max().expect("there are jobs");
    println!("of {JOBS} numbers {} takes the most steps, {}", most.1, most.0);
    println!("jobs of each worker: {done:?}");
}

/// In: one channel, which all workers share.
fn by_sharing() -> Vec<Numbered<u32>> {
    let (jobs, (result_tx, results)) = (source(), bounded(8));
    for _ in 0..WORKERS {
        start_worker(&jobs, result_tx.clone());
    }
    // The workers have their own. With ours, the results would never end.
    drop(result_tx);
    results.into_iter().collect()
}

/// In: two channels, and a guard for each that is still open.
fn by_select() -> Vec<Numbered<u32>> {
    let jobs = source();
    let (a, b) = (worker(&jobs), worker(&jobs));
    let (mut a_open, mut b_open) = (true, true);
    let mut all = Vec::new();
    while a_open || b_open {
        select! {
            result = a.recv(), if a_open => match result {
                Ok(result) => all.push(result),
                Err(_) => a_open = false,
            },
            result = b.recv(), if b_open => match result {
                Ok(result) => all.push(result),
                Err(_) => b_open = false,
            },
        }
    }
    all
}

/// In: as many channels as there are workers; also how much came from each.
fn by_dynamic_select() -> (Vec<Numbered<u32>>, Vec<usize>) {
    let jobs = source();
    let workers: Vec<Results> = (0..WORKERS).map(|_| worker(&jobs)).collect();
    let (mut all, mut done) = (Vec::new(), vec![0; WORKERS]);
    let mut select = Select::new();
    let arms: Vec<_> = (0..WORKERS)
        .map(|number| select.recv(&workers[number], move |result| (number, result)))
        .collect();
    while !select.is_empty() {
        match select.wait() {
            (number, Ok(result)) => {
                done[number] += 1;
                all.push(result);
            }
            (number, Err(_)) => {
                select.remove(arms[number]);
            }
        }
    }
    (all, done)
}

/// Makes the jobs, as fast as they are taken.
fn source() -> Jobs {
    let (jobs, rx) = bounded(8);
    go(move || {
        for (place, value) in (1..=JOBS).enumerate() {
            if jobs.send(Numbered { place, value }).is_err() {
                // All workers are gone: nobody wants the rest.
                return;
            }
        }
    });
    rx
}

/// A worker with a channel of its own.
fn worker(jobs: &Jobs) -> Results {
    let (tx, results) = bounded(8);
    start_worker(jobs, tx);
    results
}

/// Out: takes jobs until there are no more, or nobody wants the results.
fn start_worker(jobs: &Jobs, results: Sender<Numbered<u32>>) {
    let jobs = jobs.clone();
    go(move || {
        for Numbered { place, value } in jobs {
            if results.send(Numbered { place, value: collatz(value) }).is_err() {
                break;
            }
        }
    });
}

/// The results in the order of their jobs.
fn in_order(mut results: Vec<Numbered<u32>>) -> Vec<u32> {
    results.sort_by_key(|result| result.place);
    results.into_iter().map(|result| result.value).collect()
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
