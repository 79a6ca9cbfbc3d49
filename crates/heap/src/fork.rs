//! `fork`: the child gets a heap in one piece, and everything that other threads had cached.
//!
//! A copy of the process is taken in the middle of whatever other threads do. So before it is taken,
//! all is brought to rest, in the order of the locks ([`crate::lock`]): the scavenger between two
//! passes; every other thread's cache claimed, so that its owner is in no operation; then the locks.
//! Threads that allocate meanwhile wait for the length of the `fork`.
//!
//! ```text
//!  before ─► parent: caches back to their threads, locks let go
//!        └─► child:  threads are gone: their caches' spans go to the central lists
//! ```
//!
//! Blocks of threads that do not exist in the child are in use for ever there, as with any allocator.
//! Where caches cannot be claimed (no `membarrier`), the child leaves other threads' spans alone: a
//! leak in the child, nothing worse.
//!
//! The claims come before the inner locks, since an owner may wait for one of these in the middle of
//! its operation and has to be let finish it.

use crate::central;
use crate::checked;
use crate::pages;
use crate::scavenge;
use crate::threads;

/// In the thread that forks.
pub extern "C" fn before() {
    scavenge::hold();
    threads::hold();
    central::hold();
    pages::hold();
    checked::hold();
}

/// In the same thread, afterwards.
pub extern "C" fn in_parent() {
    // SAFETY: `before` ran in this thread, and nothing that it took is in use.
    unsafe { let_go(false) };
}

/// In its copy in the child.
pub extern "C" fn in_child() {
    // SAFETY: `before` ran in the thread that this one is a copy of.
    unsafe { let_go(true) };
}

/// # Safety
/// This thread, or the one that it is a copy of, must have called [`before`].
unsafe fn let_go(child: bool) {
    // SAFETY: the caller's promise, for each.
    unsafe {
        checked::let_go();
        pages::let_go();
        central::let_go();
        threads::let_go(child);
        scavenge::let_go(child);
    }
}
