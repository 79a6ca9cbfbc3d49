//! The control: work in which no runtime has a part.
//!
//! Two threads compute, each the same fixed number of steps of a generator that the compiler cannot shorten. The
//! driver runs this one program in the place of every runtime, under the same interleaving, so every column of its
//! row should show the same figure and every ratio 1.00. What they differ by is the machine: a neighbour, a change
//! of frequency. No other difference of the table is worth more than this row shows.
//!
//! Two threads and not one, because a neighbour that takes one of two processors would not be seen by one.

use crate::{Args, Outcome, WORKERS};
use std::thread;
use std::time::Instant;

/// Marsaglia's xorshift, `steps` times.
fn steps(mut state: u64, steps: u64) -> u64 {
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    state
}

/// `each` steps on each of [`WORKERS`] threads.
pub fn control(args: &Args) -> Outcome {
    let each = args.get("each");
    let began = Instant::now();
    let threads: Vec<_> =
        (0..WORKERS as u64).map(|i| thread::spawn(move || steps(i + 1, each))).collect();
    let states = threads.into_iter().map(|thread| thread.join().expect("it only computes"));
    let alive = states.filter(|&state| state != 0).count() as u64;
    Outcome::new(each, began.elapsed(), alive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_moves_and_never_dies() {
        assert_ne!(steps(1, 1), 1);
        assert_ne!(steps(1, 1000), steps(2, 1000));
    }
}
