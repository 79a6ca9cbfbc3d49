//! Which free pages may be resident: a bit per page, and how many there are in each chunk.
//!
//! Pages that are lent out have no bit: what is resident of them is their span's concern. A bit that is set says
//! "perhaps"; one that is not says that the page reads as zeros and costs nothing. The numbers per chunk are what the
//! scavenger looks for, from the top.
//!
//! Protected by the page lock, as all of [`super::Pages`].

use super::summary::{CHUNK_PAGES, spans_of_words};
use std::ops::Range;

/// What was known of pages that are being lent out.
#[derive(Debug)]
pub struct Claim {
    /// Two bits (of 4 KiB each) per page for the first 16 pages: may be resident.
    pub dirty: u32,
    /// The pages, counted from the first, outside of which all read as zeros.
    pub stale: Range<usize>,
    /// How many may be resident.
    pub count: usize,
}

/// The bits and the numbers, in memory that somebody else owns.
#[derive(Debug)]
pub struct Backing {
    bits: *mut u64,
    idle: *mut u16,
}

// SAFETY: it is the only one to use its memory; see `Backing::new`.
unsafe impl Send for Backing {}

impl Backing {
    /// No page is resident.
    ///
    /// # Safety
    /// `bits` must be zeros, a bit for each page, and `idle` zeros, a number for each chunk; nobody else may use either
    /// for as long as this value.
    pub unsafe fn new(bits: *mut u64, idle: *mut u16) -> Self {
        Self { bits, idle }
    }

    /// The bits of 64 pages.
    pub fn word(&self, word: usize) -> u64 {
        // SAFETY: callers pass words of pages that there are.
        unsafe { *self.bits.add(word) }
    }

    fn change(&mut self, word: usize, bits: u64) {
        // SAFETY: as above, and one number per chunk of 8 words.
        let (old, idle) = unsafe { (&mut *self.bits.add(word), &mut *self.idle.add(word / 8)) };
        *idle = *idle - old.count_ones() as u16 + bits.count_ones() as u16;
        *old = bits;
    }

    /// The pages are lent out: what is resident of them is somebody else's concern.
    pub fn claim(&mut self, first: usize, count: usize) -> Claim {
        let mut claim = Claim { dirty: 0, stale: 0..0, count: 0 };
        for (word, mask) in spans_of_words(first..first + count) {
            let before = self.word(word);
            let mut hit = before & mask;
            if hit == 0 {
                continue;
            }
            self.change(word, before & !mask);
            let page = |bit: u32| word * 64 + bit as usize - first;
            if claim.count == 0 {
                claim.stale.start = page(hit.trailing_zeros());
            }
            claim.stale.end = page(63 - hit.leading_zeros()) + 1;
            claim.count += hit.count_ones() as usize;
            while hit != 0 && page(hit.trailing_zeros()) < 16 {
                claim.dirty |= 3 << (2 * page(hit.trailing_zeros()));
                hit &= hit - 1;
            }
        }
        claim
    }

    /// The pages are free. `dirty` as in [`Claim`] for a short run, all ones for a long one. Returns how many of them
    /// may be resident.
    pub fn put(&mut self, first: usize, count: usize, dirty: u32) -> usize {
        let mut backed = 0;
        for (word, mask) in spans_of_words(first..first + count) {
            let of_page = |page: usize| match (first + page) / 64 == word {
                true => u64::from(dirty >> (2 * page) & 3 != 0) << ((first + page) % 64),
                false => 0,
            };
            let bits = match dirty {
                u32::MAX => mask,
                0 => 0,
                _ => (0..count).map(of_page).fold(0, |bits, bit| bits | bit),
            };
            self.change(word, self.word(word) | bits);
            backed += bits.count_ones() as usize;
        }
        backed
    }

    /// Whether none of a range may be resident.
    pub fn is_clean(&self, first: usize, count: usize) -> bool {
        spans_of_words(first..first + count).all(|(word, mask)| self.word(word) & mask == 0)
    }

    /// The highest of the first `chunks` chunks with a page that may be resident.
    pub fn highest_chunk(&self, chunks: usize) -> Option<usize> {
        // SAFETY: one number per chunk.
        (0..chunks).rev().find(|&chunk| unsafe { *self.idle.add(chunk) } > 0)
    }

    /// The highest run of pages that may be resident, in a range within a chunk: first page and length.
    pub fn highest_run(&self, range: Range<usize>) -> Option<(usize, usize)> {
        debug_assert!(range.len() <= CHUNK_PAGES);
        let backed = |page: usize| self.word(page / 64) >> (page % 64) & 1 == 1;
        let (start, end) = (range.start, range.end);
        let last = (start..end).rev().find(|&page| backed(page))?;
        let first = (start..last).rev().find(|&page| !backed(page)).map_or(start, |page| page + 1);
        Some((first, last - first + 1))
    }
}
