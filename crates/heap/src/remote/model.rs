//! loom: blocks that come from several threads are neither lost nor taken twice, and one of them owes a message.
//!
//! Links are plain cells, so a walk that is not ordered after the push is a race that loom reports. What comes of a
//! message, and of a span's last block, is in the models of `central`, whose code they run.
//!
//! Fails when: a push is relaxed, or leaves the list armed; a list is collected with a relaxed operation, or by a
//! load and a store; a list is armed by a load and a store.

use super::Remote;
use loom::sync::Arc;
use millpond_prim::cell::UnsafeCell;

struct Span {
    remote: Remote,
    links: [UnsafeCell<Option<u32>>; 2],
}

// SAFETY: what the models are there to show.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    fn new() -> Self {
        Self { remote: Remote::new(), links: [(); 2].map(|()| UnsafeCell::new(None)) }
    }

    /// A free by a thread that is not the owner; whether it owes a message.
    fn free(&self, block: u32) -> bool {
        let link = |next| {
            // SAFETY: a block belongs to the thread that frees it until it is pushed.
            self.links[block as usize].with_mut(|link| unsafe { *link = next });
        };
        self.remote.push(block, link).owes
    }

    /// What the owner does: takes the list and walks through it.
    fn walk(&self) -> u32 {
        let taken = self.remote.collect();
        let mut next = (taken.count > 0).then_some(taken.head);
        let mut seen = 0;
        while let Some(block) = next {
            seen += 1;
            // SAFETY: taken from the list, hence ours.
            next = self.links[block as usize].with(|link| unsafe { *link });
        }
        assert_eq!(seen, taken.count);
        seen
    }
}

#[test]
fn blocks_pushed_while_the_owner_collects_are_all_seen_once() {
    loom::model(|| {
        let span = Arc::new(Span::new());
        let threads: Vec<_> = (0..2)
            .map(|block| {
                let span = span.clone();
                loom::thread::spawn(move || span.free(block))
            })
            .collect();
        let mut seen = span.walk();
        threads.into_iter().for_each(|thread| {
            thread.join().unwrap();
        });
        seen += span.walk();
        assert_eq!(seen, 2);
    });
}

#[test]
fn an_armed_list_is_told_of_once() {
    loom::model(|| {
        let span = Arc::new(Span::new());
        let other = span.clone();
        let thread = loom::thread::spawn(move || other.free(0));
        let armed = span.remote.arm();
        let mine = span.free(1);
        let theirs = thread.join().unwrap();
        // Not armed means that the other block was there already, and the owner has seen it.
        assert_eq!(u32::from(mine) + u32::from(theirs), u32::from(armed));
        assert_eq!(span.walk(), 2);
    });
}
