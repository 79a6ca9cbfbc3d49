//! The inbox of an M: what other threads make runnable for it.
//!
//! A goroutine that has started runs on one M only, so to ready it from elsewhere is to put it
//! into that M's inbox. Anyone pushes with one compare-and-swap on the top of a stack; the owner
//! takes the whole stack with one swap and turns it round, so that the first in is the first out.
//! There is no pop, and so no ABA. The link is inside the node: a wake-up never allocates.
//!
//! A node may be in at most one inbox at a time. The wait word sees to that: only the winner of a
//! claim readies, once a wait.

use core::ptr::{self, NonNull};
use millpond_prim::sync::atomic::{AtomicPtr, Ordering};

/// A thing that can be in an inbox.
///
/// # Safety
/// `link` always returns the same atomic, which nobody but the inbox uses while the node is in
/// one, and the node stays valid until it is taken out.
pub(crate) unsafe trait Linked: Sized {
    /// The link to the node below.
    fn link(&self) -> &AtomicPtr<Self>;
}

/// A stack that many push to and one empties.
#[derive(Debug)]
pub(crate) struct Inbox<N> {
    /// Last in. Atomic: pushed by compare-and-swap, emptied by swap.
    top: AtomicPtr<N>,
}

impl<N: Linked> Inbox<N> {
    pub(crate) fn new() -> Self {
        Self { top: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether nothing is waiting. A hint, unless fenced as [`super::idle`] does.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.top.load(Ordering::Acquire).is_null()
    }

    /// Anyone: puts a node in.
    ///
    /// # Safety
    /// The node is in no inbox, and stays valid until it is taken out.
    #[inline]
    pub(crate) unsafe fn push(&self, node: NonNull<N>) {
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            // SAFETY: valid by contract; nobody else has it, so the link is ours.
            unsafe { node.as_ref() }.link().store(top, Ordering::Relaxed);
            // Release: the node's content and link before it can be seen.
            match self.top.compare_exchange_weak(
                top,
                node.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(seen) => top = seen,
            }
        }
    }

    /// Owner: takes everything, in the order in which it came.
    #[inline]
    pub(crate) fn take(&self, mut each: impl FnMut(NonNull<N>)) {
        if self.top.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut node = self.top.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest: *mut N = ptr::null_mut();
        while let Some(at) = NonNull::new(node) {
            // SAFETY: pushed as valid, and since the swap nobody else has it.
            let link = unsafe { at.as_ref() }.link();
            node = link.load(Ordering::Relaxed);
            link.store(oldest, Ordering::Relaxed);
            oldest = at.as_ptr();
        }
        while let Some(at) = NonNull::new(oldest) {
            // SAFETY: as above. Read before `each`, which may push the node somewhere again.
            oldest = unsafe { at.as_ref() }.link().load(Ordering::Relaxed);
            each(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_prim::sync::Arc;
    use millpond_prim::thread;

    struct Node {
        link: AtomicPtr<Node>,
        number: usize,
    }

    // SAFETY: one field, used by nothing else; the tests leak their nodes until taken.
    unsafe impl Linked for Node {
        fn link(&self) -> &AtomicPtr<Node> {
            &self.link
        }
    }

    fn push(inbox: &Inbox<Node>, number: usize) {
        let node = Box::new(Node { link: AtomicPtr::new(ptr::null_mut()), number });
        // SAFETY: fresh, and leaked until taken.
        unsafe { inbox.push(NonNull::from(Box::leak(node))) };
    }

    fn take(inbox: &Inbox<Node>) -> Vec<usize> {
        let mut numbers = Vec::new();
        inbox.take(|node| {
            // SAFETY: each node was leaked by push and is taken once.
            numbers.push(unsafe { Box::from_raw(node.as_ptr()) }.number);
        });
        numbers
    }

    #[cfg(not(loom))]
    #[test]
    fn first_in_first_out() {
        let inbox = Inbox::new();
        (0..5).for_each(|number| push(&inbox, number));
        assert_eq!(take(&inbox), [0, 1, 2, 3, 4]);
        assert!(inbox.is_empty());
    }

    fn two_pushers() {
        let inbox = Arc::new(Inbox::new());
        let pushers: Vec<_> = [0usize, 10]
            .into_iter()
            .map(|base| {
                let inbox = inbox.clone();
                thread::spawn(move || (base..base + 2).for_each(|number| push(&inbox, number)))
            })
            .collect();
        // The owner is spawned last: loom forgets an early load once a pusher has loaded too.
        let owner = {
            let inbox = inbox.clone();
            thread::spawn(move || take(&inbox))
        };
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        let mut all = owner.join().unwrap();
        all.extend(take(&inbox));
        for base in [0, 10] {
            let of_one: Vec<_> = all.iter().filter(|n| **n / 10 == base / 10).collect();
            assert_eq!(of_one, [&base, &(base + 1)], "one pusher's order is kept");
        }
    }

    #[test]
    fn pushes_against_takes_lose_nothing() {
        #[cfg(loom)]
        loom::model(two_pushers);
        #[cfg(not(loom))]
        two_pushers();
    }
}
