//! Coroutines that begin, end, and take turns.
//!
//! Batches of coroutines that return a number, and coroutines that only yield. A batch is as large as may's pool of
//! stacks, which is what keeps it from mapping and unmapping a stack for each.

use crate::spawn::go;
use bench_common::{Args, Outcome};
use may::coroutine::{JoinHandle, yield_now};
use std::time::Instant;

fn joined(handle: JoinHandle<u64>) -> u64 {
    handle.join().expect("it does not panic")
}

pub(crate) fn spawn_join(args: &Args) -> Outcome {
    let (batches, batch) = (args.get("batches"), args.get("batch"));
    let mut handles = Vec::with_capacity(batch as usize);
    let (began, mut sum) = (Instant::now(), 0);
    for _ in 0..batches {
        handles.extend((0..batch).map(|i| go(move || i)));
        sum += handles.drain(..).map(joined).sum::<u64>();
    }
    Outcome::new(batches * batch, began.elapsed(), sum)
}

pub(crate) fn yields(args: &Args) -> Outcome {
    let (coroutines, each) = (args.get("goroutines"), args.get("each"));
    let turns = move || {
        (0..each).for_each(|_| yield_now());
        each
    };
    let began = Instant::now();
    let handles: Vec<_> = (0..coroutines).map(|_| go(turns)).collect();
    let sum = handles.into_iter().map(joined).sum();
    Outcome::new(coroutines * each, began.elapsed(), sum)
}
