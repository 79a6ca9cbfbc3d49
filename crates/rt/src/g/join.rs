//! How the end of a goroutine meets the handle that waits for it.
//!
//! One byte decides who owns the result and who owns the slot for the joiner's ticket. There is
//! one handle, so at most one joiner at a time.
//!
//! ```text
//!            wait (ticket written before)         complete (takes the ticket, fires it)
//!    ALONE ─────────────────────────────▶ WAITED ──────────────────────────▶ DONE
//!      ▲ ◀───────────withdraw──────────────┘                                   ▲
//!      ├──────────────── complete ─────────────────────────────────────────────┘
//!      └── detach ──▶ DETACHED ── complete: the goroutine's thread drops the result
//! ```
//!
//! | state | the ticket slot belongs to | the result belongs to |
//! |---|---|---|
//! | ALONE | the handle | the goroutine |
//! | WAITED | whoever leaves the state | the goroutine |
//! | DONE | the goroutine's end, for a moment | the handle |
//! | DETACHED | nobody | the goroutine |
//!
//! So a result is dropped by the thread that made it or by the holder of the handle, never by
//! whoever happens to hold the last reference: a result that is not `Send` (`go_local`) stays home.

use crate::wait::Ticket;
use millpond_prim::cell::UnsafeCell;
use millpond_prim::sync::atomic::{AtomicU8, Ordering};

const ALONE: u8 = 0;
const WAITED: u8 = 1;
const DONE: u8 = 2;
const DETACHED: u8 = 3;

/// The meeting point. See the module documentation.
#[derive(Debug)]
pub(crate) struct JoinWord {
    /// Atomic: the states above.
    state: AtomicU8,
    /// The joiner's ticket and the outcome that it wants. Protected by `state`: the table above.
    ticket: UnsafeCell<Option<(Ticket, u16)>>,
}

// SAFETY: the ticket is `Send`, and `state` says at each moment which one thread may touch it.
unsafe impl Sync for JoinWord {}
// SAFETY: as above.
unsafe impl Send for JoinWord {}

/// What the goroutine's end found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The handle has the result now.
    HandleOwns,
    /// The handle is gone: drop the result here.
    NobodyWants,
}

impl JoinWord {
    pub(crate) fn new() -> Self {
        Self { state: AtomicU8::new(ALONE), ticket: UnsafeCell::new(None) }
    }

    /// Anyone: whether the goroutine has ended and its result is with the handle.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// The goroutine, before its end: whether the handle is gone already. "No" may be old.
    pub(crate) fn is_detached(&self) -> bool {
        self.state.load(Ordering::Acquire) == DETACHED
    }

    /// The goroutine's end, once: the result is in place.
    #[inline]
    pub(crate) fn complete(&self) -> Ended {
        // Release: the result. Acquire: the ticket that a joiner wrote.
        match self.state.swap(DONE, Ordering::AcqRel) {
            WAITED => {
                // SAFETY: we left WAITED, so the slot is ours; the joiner's withdraw now fails.
                let ticket = self.ticket.with_mut(|slot| unsafe { (*slot).take() });
                if let Some((ticket, outcome)) = ticket {
                    ticket.fire(outcome);
                }
                Ended::HandleOwns
            }
            DETACHED => Ended::NobodyWants,
            _ => Ended::HandleOwns,
        }
    }

    /// Handle: leaves a ticket, to be fired with `outcome`. `false` if the goroutine has ended.
    ///
    /// # Safety
    /// Called through the one handle, with no wait of it under way: after [`withdraw`](Self::withdraw),
    /// unless it is the first. (A future may have been forgotten, and its ticket be there still.)
    pub(crate) unsafe fn wait(&self, ticket: Ticket, outcome: u16) -> bool {
        if self.is_done() {
            return false;
        }
        // SAFETY: ALONE or DONE, and in ALONE the slot is the handle's. In DONE nobody else looks
        // at it any more: complete takes a ticket only when it left WAITED.
        self.ticket.with_mut(|slot| unsafe { *slot = Some((ticket, outcome)) });
        self.state.compare_exchange(ALONE, WAITED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Handle: takes its ticket back (a time-out, a dropped future). `false` if the goroutine has
    /// ended.
    pub(crate) fn withdraw(&self) -> bool {
        match self.state.compare_exchange(WAITED, ALONE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                // SAFETY: back in ALONE the slot is the handle's, and this is the handle.
                self.ticket.with_mut(|slot| unsafe { *slot = None });
                true
            }
            Err(state) => state != DONE,
        }
    }

    /// Handle, for the last time. `true` if the goroutine has ended, and the result is the
    /// handle's to drop.
    pub(crate) fn detach(&self) -> bool {
        self.withdraw();
        self.state.compare_exchange(ALONE, DETACHED, Ordering::AcqRel, Ordering::Acquire).is_err()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::wait::{FutureWait, WaitReason, Waiting};
    use loom::sync::Arc;
    use loom::thread;

    struct Shared {
        join: JoinWord,
        result: UnsafeCell<u32>,
    }

    fn start() -> (Arc<Shared>, thread::JoinHandle<Ended>) {
        let shared = Arc::new(Shared { join: JoinWord::new(), result: UnsafeCell::new(0) });
        let goroutine = {
            let shared = shared.clone();
            thread::spawn(move || {
                // SAFETY: before complete the result is the goroutine's.
                shared.result.with_mut(|p| unsafe { *p = 42 });
                shared.join.complete()
            })
        };
        (shared, goroutine)
    }

    fn read(shared: &Shared) -> u32 {
        // SAFETY: called once DONE, when the result is the handle's.
        shared.result.with(|p| unsafe { *p })
    }

    #[test]
    fn a_joiner_is_woken_and_sees_the_result() {
        loom::model(|| {
            let (shared, goroutine) = start();
            let waiting = Waiting::begin();
            // SAFETY: the only handle, no wait under way.
            if unsafe { shared.join.wait(waiting.ticket(), 0) } {
                waiting.park(WaitReason::Join, None);
            } else {
                drop(waiting);
            }
            assert_eq!(read(&shared), 42);
            assert_eq!(goroutine.join().unwrap(), Ended::HandleOwns);
        });
    }

    #[test]
    fn withdraw_then_detach_gives_the_result_exactly_one_owner() {
        loom::model(|| {
            let (shared, goroutine) = start();
            let mut wait = FutureWait::new();
            // SAFETY: the only handle, no wait under way.
            if unsafe { shared.join.wait(wait.arm(), 0) } {
                shared.join.withdraw();
            }
            wait.cancel();
            let ours = shared.join.detach();
            if ours {
                assert_eq!(read(&shared), 42);
            }
            let ended = goroutine.join().unwrap();
            assert_eq!(ended == Ended::NobodyWants, !ours);
        });
    }

    /// A future that waited was forgotten; the handle waits anew, while the goroutine ends.
    #[test]
    fn a_wait_after_a_forgotten_one_is_woken() {
        loom::model(|| {
            let (shared, goroutine) = start();
            let mut forgotten = FutureWait::new();
            // SAFETY: the only handle, no wait under way.
            if unsafe { shared.join.wait(forgotten.arm(), 7) } {
                shared.join.withdraw();
                let waiting = Waiting::begin();
                // SAFETY: the earlier wait is withdrawn.
                if unsafe { shared.join.wait(waiting.ticket(), 0) } {
                    waiting.park(WaitReason::Join, None);
                } else {
                    drop(waiting);
                }
            }
            assert_eq!(read(&shared), 42);
            assert_eq!(goroutine.join().unwrap(), Ended::HandleOwns);
        });
    }
}
