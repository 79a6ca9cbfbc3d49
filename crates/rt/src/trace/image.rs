//! What is read of one suspended stack, for the walk.
//!
//! The words from the stack pointer up. If the goroutine is on a bigger stack ([`crate::with_stack`]), or polls a
//! future ([`crate::poll_stack`]), these are that stack's, and its own are read as well: where it left it is
//! not recorded, but the frame that switched keeps a pointer into it, and so the words above the lowest such
//! pointer hold what the walk needs.
//!
//! Nothing here trusts a word: an image is read by address, and what it does not have is not there.

use super::MOST_WORDS;
use crate::g::registry::Registered;
use crate::g::{G, GRef, Status};
use crate::m::CurrentM;
use crate::rest::Rest;
use millpond_frames::{Registers, SAVED_WORDS};
use millpond_stack::{Pool, SlotInfo};

/// Words of a stack, by address.
pub(super) struct Image {
    sp: usize,
    words: Vec<u64>,
    /// Of the goroutine's own stack, if it is on another; and where they begin.
    own: (usize, Vec<u64>),
}

impl Image {
    /// # Safety
    /// As for [`Pool::read`]: `sp` is the stack pointer of a suspended goroutine whose own stack is `own`.
    unsafe fn read(pool: &Pool, sp: usize, own: SlotInfo) -> Option<Self> {
        let mut image = Self { sp, words: Vec::new(), own: (0, Vec::new()) };
        // SAFETY: the caller's promise.
        unsafe { pool.read(sp, MOST_WORDS, &mut image.words) };
        if !(own.limit..own.base).contains(&sp) {
            let into_own = |&&word: &&u64| (own.limit..own.base).contains(&(word as usize));
            let lowest = image.words.iter().filter(into_own).min().map(|&word| word as usize & !7);
            image.own.0 = lowest?;
            // SAFETY: the same goroutine's.
            unsafe { pool.read(image.own.0, MOST_WORDS, &mut image.own.1) };
        }
        (image.words.len() > SAVED_WORDS).then_some(image)
    }

    /// Where the walk begins.
    pub(super) fn registers(&self) -> Registers {
        let saved = std::array::from_fn(|word| self.words.get(word).copied().unwrap_or(0));
        Registers::of_suspended(self.sp, saved)
    }

    /// The word at an address.
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        let in_part = |start: usize, words: &[u64]| {
            let offset = (at as usize).checked_sub(start)?;
            offset.is_multiple_of(8).then(|| words.get(offset / 8).copied()).flatten()
        };
        in_part(self.sp, &self.words).or_else(|| in_part(self.own.0, &self.own.1))
    }
}

impl CurrentM {
    /// Images of goroutines of this M, which is on its thread's stack; `None` for those that run, or have ended.
    pub(super) fn images(&self, gs: &[GRef]) -> Vec<Option<Image>> {
        let Ok(pool) = crate::stacks::pool() else { return Vec::new() };
        let image = |g: &GRef| {
            if !matches!(g.status(), Status::Waiting | Status::Runnable) {
                return None;
            }
            let (sp, own) = g.exec(self).suspended_at()?;
            // SAFETY: this M alone resumes it, rests it and wakes it, and does none of that meanwhile.
            unsafe { Image::read(pool, sp, own) }
        };
        gs.iter().map(image).collect()
    }
}

impl Registered<'_> {
    /// The image of a goroutine of this registry, if its stack is at rest, which it stays.
    pub(super) fn image_of_resting(&self, g: &G) -> Option<Image> {
        let pool = crate::stacks::pool().ok()?;
        if g.rest.read(true) != Rest::AtRest {
            return None;
        }
        // SAFETY: its M notes under this lock that it is at rest and that it is no more, and takes the lock before
        // it puts the stack back to resume it: so it stays suspended while the lock is held.
        let (sp, own) = unsafe { g.exec_of_suspended() }.suspended_at()?;
        // SAFETY: as above.
        unsafe { Image::read(pool, sp, own) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_by_its_address_and_nowhere_else() {
        let image = Image { sp: 0x1000, words: vec![1, 2, 3], own: (0x9000, vec![7]) };
        let found =
            [0xFF8, 0x1000, 0x1010, 0x1018, 0x1004, 0x9000, 0x9008].map(|at| image.word(at));
        assert_eq!(found, [None, Some(1), Some(3), None, None, Some(7), None]);
        assert_eq!(image.registers(), Registers { ip: 1, bx: 2, bp: 3, sp: 0x1018 });
    }
}
