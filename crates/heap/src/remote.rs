//! The remote half of a span: blocks that threads other than the owner freed, in one word.
//!
//! ```text
//!  63      62          48..61       0..47
//!  OWED  │ ARMED │     count     │  head + 1, as an offset into the span; 0 is none
//! ```
//!
//! A free from another thread is [`Remote::push`]: the block is linked to the head, and one
//! compare-and-swap makes it the head and counts it. The owner takes all at once
//! ([`Remote::collect`]), so there is no ABA: nobody ever takes *one*. The count travels with the
//! head because a span without an owner is given back by whoever brings its last block, and must
//! be given back by exactly one.
//!
//! An owner looks into the remote list of a span when it runs out of blocks, but it cannot look
//! into all the full ones all the time. So it *arms* a span when it sets it aside as full
//! ([`Remote::arm`], which fails if something has come meanwhile). The push that finds it armed
//! disarms it, takes on a *debt* (`OWED`) and must tell the owner, or the central list if there is
//! no owner. A span that has room again because its owner freed a block stays armed: a push may
//! then tell what nobody waits for, but the owner is spared two atomic instructions each time.
//! Until the debt is settled ([`Remote::settle`]) the span is not given back to the page heap,
//! whatever its counts say: the one who owes still holds its address.
//!
//! Memory orders: a push releases what the freeing thread did to the block, and its link; collect
//! acquires both. Who brings the last block of a span without an owner has to know that it is the last:
//! a push and then a look at the owner and the number of blocks in use, on one side, and the change of
//! these and then a look at the list, on the other, are sequentially consistent, so that at least one
//! of the two sees the other. Settling acquires and releases, since it stands between two holders of the span.
//!
//! Rejected: a list per cache instead of per span (mimalloc 1 had both). A block would have to be
//! sorted back into its span by its owner, one cache miss each.

use millpond_prim::sync::atomic::{AtomicU64, Ordering};

const OWED: u64 = 1 << 63;
const ARMED: u64 = 1 << 62;
const FLAGS: u64 = OWED | ARMED;
const COUNT_SHIFT: u32 = 48;
const COUNT_ONE: u64 = 1 << COUNT_SHIFT;
const HEAD: u64 = COUNT_ONE - 1;

/// The word. Atomic: any thread pushes, the holder of the span does the rest.
#[derive(Debug)]
pub struct Remote(AtomicU64);

/// What [`Remote::push`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Blocks in the list now.
    pub count: u32,
    /// The caller owes a message.
    pub owes: bool,
}

/// What [`Remote::collect`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Offset of the block that was pushed last; meaningless if `count` is 0.
    pub head: u32,
    /// Blocks in the list.
    pub count: u32,
}

fn count(word: u64) -> u32 {
    ((word & !FLAGS) >> COUNT_SHIFT) as u32
}

fn head(word: u64) -> Option<u32> {
    (word & HEAD).checked_sub(1).map(|offset| offset as u32)
}

impl Remote {
    /// An empty list, not armed.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// An empty list, not armed.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Frees a block from any thread. `link` writes the next block of the list (or none) into it.
    #[inline]
    pub fn push(&self, offset: u32, mut link: impl FnMut(Option<u32>)) -> Pushed {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            link(head(word));
            let owes = word & ARMED != 0;
            let flags = if owes { OWED } else { word & FLAGS };
            let counted = u64::from(count(word) + 1) << COUNT_SHIFT;
            let new = flags | counted | (u64::from(offset) + 1);
            match self.0.compare_exchange_weak(word, new, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    // Loom knows no such order of single operations.
                    #[cfg(loom)]
                    loom::sync::atomic::fence(Ordering::SeqCst);
                    return Pushed { count: count(new), owes };
                }
                Err(found) => word = found,
            }
        }
    }

    /// Takes the whole list. The holder of the span only.
    pub fn collect(&self) -> Collected {
        let word = self.0.fetch_and(FLAGS, Ordering::AcqRel);
        Collected { head: head(word).unwrap_or(0), count: count(word) }
    }

    /// Asks that the next push tells the holder, unless the list is not empty. A debt that is not
    /// settled will be looked at anyway, so a span with one is not armed.
    pub fn arm(&self) -> bool {
        // Still armed since the last time: nobody has pushed. That is what keeps a span that fills up
        // again and again, by frees of its owner, free of atomic instructions.
        if self.0.load(Ordering::Acquire) & ARMED != 0 {
            return true;
        }
        let armed = |word| match count(word) {
            0 if word & OWED == 0 => Some(word | ARMED),
            0 => Some(word),
            _ => None,
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, armed).is_ok()
    }

    /// Takes the request back: the span changes its holder.
    pub fn disarm(&self) {
        if self.0.load(Ordering::Acquire) & ARMED != 0 {
            self.0.fetch_and(!ARMED, Ordering::AcqRel);
        }
    }

    /// The message has arrived, or nobody is there to get it.
    pub fn settle(&self) {
        self.0.fetch_and(!OWED, Ordering::AcqRel);
    }

    /// Whether somebody still has to tell the holder.
    pub fn is_owed(&self) -> bool {
        self.0.load(Ordering::Acquire) & OWED != 0
    }

    /// Blocks in the list, at this moment.
    pub fn count(&self) -> u32 {
        count(self.0.load(Ordering::Acquire))
    }

    /// The block that was pushed last. For walks that explain a misuse.
    pub fn head(&self) -> Option<u32> {
        head(self.0.load(Ordering::Acquire))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_and_linked_in_the_order_of_a_stack() {
        let remote = Remote::new();
        let mut links = Vec::new();
        for offset in [0, 64, 8] {
            remote.push(offset, |next| links.push(next));
        }
        assert_eq!(links, [None, Some(0), Some(64)]);
        assert_eq!(remote.collect(), Collected { head: 8, count: 3 });
        assert_eq!(remote.collect().count, 0);
    }

    #[test]
    fn one_push_owes_a_message_after_the_list_was_armed() {
        let remote = Remote::new();
        assert!(remote.arm());
        assert_eq!(remote.push(0, |_| ()), Pushed { count: 1, owes: true });
        assert_eq!(remote.push(8, |_| ()), Pushed { count: 2, owes: false });
        assert!(remote.is_owed() && !remote.arm());
        remote.collect();
        assert!(remote.arm() && remote.is_owed(), "a debt is kept, and nobody owes a second one");
        assert!(!remote.push(0, |_| ()).owes);
        remote.settle();
        assert!(!remote.is_owed());
    }
}

#[cfg(all(test, loom))]
mod model;
