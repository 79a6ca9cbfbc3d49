//! Bytes that are alive on a stack while something waits above them.
//!
//! A frame's size is fixed when it is compiled, so a number from the command line becomes frames of
//! one piece each, as many as it takes. Each piece holds a pattern that depends on who and where it
//! is; whoever comes back to its frame compares all of it. A stack that was lost, shared or mixed
//! up with another shows.

use std::hint::black_box;

/// One frame's worth.
pub(super) const PIECE_BYTES: usize = 256;

type Piece = [u64; PIECE_BYTES / 8];

/// Keeps `bytes` (rounded up to pieces) alive on the stack while `inner` runs; whether they were
/// all there after it.
pub(super) fn hold(seed: u64, bytes: usize, inner: &mut dyn FnMut()) -> bool {
    if bytes == 0 {
        let mark = black_box(seed);
        inner();
        return black_box(mark) == seed;
    }
    hold_piece(seed, bytes, inner)
}

#[inline(never)]
fn hold_piece(seed: u64, bytes: usize, inner: &mut dyn FnMut()) -> bool {
    let mut piece: Piece = [0; PIECE_BYTES / 8];
    for (place, word) in piece.iter_mut().enumerate() {
        *word = pattern(seed, bytes, place);
    }
    // The compiler must neither compute the words again instead of keeping them, nor keep them twice:
    // what is lent may be changed, and stays where it is.
    black_box(&mut piece);
    let rest = hold(seed, bytes.saturating_sub(PIECE_BYTES), inner);
    // Another number, for all that the compiler knows: else it keeps all words of the pattern twice.
    let seed = black_box(seed);
    let intact = |(place, word): (usize, &u64)| *word == pattern(seed, bytes, place);
    rest & black_box(&mut piece).iter().enumerate().all(intact)
}

/// Different for each goroutine, frame and place: an odd factor permutes the 64-bit numbers.
fn pattern(seed: u64, frame: usize, place: usize) -> u64 {
    (seed << 32 ^ (frame as u64) << 8 ^ place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A stack that has room for `bytes` in pieces and for what is below and above them; `None` if the
/// default has.
pub(super) fn stack_bytes(bytes: usize) -> Option<usize> {
    // An unoptimised frame of a piece takes three times its size.
    let needed = bytes * if cfg!(debug_assertions) { 4 } else { 2 } + (16 << 10);
    (needed > 60 << 10).then_some(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_on_the_stack_and_intact() {
        let outer = 0u8;
        let mut distance = 0;
        let intact = hold(7, 10 * PIECE_BYTES, &mut || {
            let inner = 0u8;
            distance = (&raw const outer).addr().abs_diff((&raw const inner).addr());
        });
        assert!(intact);
        assert!(distance >= 10 * PIECE_BYTES, "{distance}");
    }

    #[test]
    fn patterns_differ_between_goroutines_frames_and_places() {
        let base = pattern(1, 256, 0);
        assert!(![pattern(2, 256, 0), pattern(1, 512, 0), pattern(1, 256, 1)].contains(&base));
    }
}
