//! A pool that lives as long as a context: a scope's, a request's, a server's.
//!
//! The end of the context closes the pool, as [`Pool::close`](super::Pool::close) does. Nobody is told of
//! the end; it is *noticed*, by the next who touches the pool: a get before it looks, a give after
//! it has given, a put, a step of shrinking. So:
//!
//! - from the first touch on that began after the end, nothing is idle and nothing is kept; gets
//!   make, within the bound, and gives drop;
//! - what was idle at the end stays until then, for [`shrink_all`](super::shrink_all) or the drop of the
//!   last handle at the latest.
//!
//! The drops run quietly in the caller that happened to come.
//!
//! What a touch costs is one load more, and the clock if the context has a deadline that has not
//! passed yet.
//!
//! Rejected: a goroutine per pool that waits for the end (a stack, for what hardly ever happens); a
//! waker in the context's list that closes the pool (it would run the drops of users' values inside
//! `Cancel::cancel`, which promises not to park, and at a deadline nobody would run it); ending the
//! waits for a value (values go on coming back, so those waits end as others do, and who wants to
//! give up with the context says `get_ctx`).

use super::core::Core;
use super::quiet::quietly;
use super::shards::{Idle, Weigh};
use millpond_rt::Context;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module documentation.
pub(super) struct Life {
    ctx: Context,
    /// Atomic: somebody has noticed the end and closes the pool.
    noticed: AtomicBool,
}

impl Life {
    pub(super) fn new(ctx: Context) -> Self {
        Self { ctx, noticed: AtomicBool::new(false) }
    }

    /// Whether the context is done.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        // Relaxed: what must be ordered is under the locks of the shards.
        self.noticed.load(Ordering::Relaxed) || self.ctx.is_done()
    }

    /// Somebody comes to the pool of `core`; what was dropped because of it.
    #[inline]
    pub(super) fn touch<T: Weigh>(&self, core: &Core<T>) -> Idle {
        if self.noticed.load(Ordering::Relaxed) || !self.ctx.is_done() {
            return Idle::default();
        }
        self.notice(core)
    }

    #[cold]
    fn notice<T: Weigh>(&self, core: &Core<T>) -> Idle {
        let mut dropped = Idle::default();
        if !self.noticed.swap(true, Ordering::Relaxed) {
            quietly(|| dropped = core.close());
        }
        dropped
    }
}
