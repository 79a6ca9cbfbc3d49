//! Holes of a span: pages of 4 KiB without a block in use, which the kernel can have without the rest.
//!
//! 1. [`Span::find_holes`] takes the blocks that begin in such pages out of the free list and notes them as not carved;
//! 2. the caller discards the pages, of many spans at once;
//! 3. [`Span::clean`] notes that they are not resident.
//!
//! All of it under the lock that protects the span, so no block of a hole is lent out in between. A page
//! that a block in use reaches into is no hole, whichever page the block begins in.
//!
//! Rejected: carrying on with the list as it is and skipping its blocks in holes when they are taken. Links lie in the
//! blocks, so the list would be lost with the pages.

use super::{END, LINK_LIMIT, OS_PAGE, Span, mask_of};
use crate::classes::MAX_BLOCKS;
use crate::misuse;
use std::sync::atomic::Ordering::Relaxed;

/// Pages of a span without a block in use, by bits; see [`Span::find_holes`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Holes {
    /// The pages.
    pub pages: u32,
    /// Pages that free blocks which stay in the list reach into.
    reached: u32,
}

impl Span {
    /// Finds the pages of this span that may be resident and in which no block is in use, and forgets
    /// the links in them: they are not carved from here on. The caller discards them and then says so by
    /// [`Self::clean`]. Holder only.
    pub fn find_holes(&self) -> Holes {
        let class = self.geometry();
        let size = class.size as usize;
        let mut free = [0u64; MAX_BLOCKS / 64];
        let mut at = self.free.get();
        while at != END {
            let index = at as usize / size;
            free[index / 64] |= 1 << (index % 64);
            let next = self.decode(self.word(at));
            if next >= LINK_LIMIT {
                misuse::corrupted(self, self.word(at) as usize);
            }
            at = next as u32;
        }
        let uncarved = self.uncarved.load(Relaxed);
        let is_free = |index: usize| {
            free[index / 64] >> (index % 64) & 1 == 1
                || uncarved >> (index * size / OS_PAGE) & 1 == 1
        };
        let mut live = 0;
        for index in (0..class.blocks as usize).filter(|&index| !is_free(index)) {
            live |= mask_of(index * size / OS_PAGE, (index * size + size - 1) / OS_PAGE);
        }
        let pages = self.dirty.load(Relaxed) & !live;
        if pages == 0 {
            return Holes { pages, reached: 0 };
        }
        // In the order of addresses, so that the low pages fill first.
        let keep = |index: &usize| {
            free[index / 64] >> (index % 64) & 1 == 1 && pages >> (index * size / OS_PAGE) & 1 == 0
        };
        let mut reached = 0;
        self.free.set(END);
        for index in (0..class.blocks as usize).rev().filter(keep) {
            let offset = index * size;
            self.link(self.word(offset as u32), self.free.get());
            self.free.set(offset as u32);
            reached |= mask_of(offset / OS_PAGE, (offset + size - 1) / OS_PAGE);
        }
        self.set_uncarved(uncarved | pages);
        Holes { pages, reached }
    }

    /// The kernel has the pages of holes now. A block that begins in a page that stays may be lent out,
    /// and written to, at any time: what it reaches into may be resident again. Holder only.
    pub fn clean(&self, holes: &Holes) {
        let dirty = self.dirty.load(Relaxed);
        self.set_dirty(dirty & !holes.pages | dirty & holes.reached);
    }

    /// The addresses of holes, by runs.
    pub fn addresses(&self, holes: &Holes) -> impl Iterator<Item = std::ops::Range<usize>> {
        let start = self.start.get();
        runs_of(holes.pages).map(move |(first, count)| {
            let at = start + first as usize * OS_PAGE;
            at..at + count as usize * OS_PAGE
        })
    }
}

/// The runs of ones of a mask, lowest first, as first bit and length.
fn runs_of(mut mask: u32) -> impl Iterator<Item = (u32, u32)> {
    std::iter::from_fn(move || {
        let first = mask.trailing_zeros();
        (first < 32).then(|| {
            let count = (mask >> first).trailing_ones();
            mask &= !mask_of(first as usize, (first + count - 1) as usize);
            (first, count)
        })
    })
}
