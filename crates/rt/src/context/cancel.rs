//! The right to cancel a context, apart from the context itself.
//!
//! Who is given a context can only observe it; who made it can end it. In Go a `cancel` that is
//! never called leaks; here nothing leaks, so dropping a [`Cancel`] does nothing, and `defer
//! cancel()` is said openly, with [`Cancel::on_drop`].

use super::scope::Scope;
use std::fmt;
use std::sync::Arc;

/// Cancels one context, and with it all that were made from it. From
/// [`Context::with_cancel`](super::Context::with_cancel) and its relatives. Clones cancel the same
/// context. Dropping it cancels nothing.
#[derive(Clone)]
#[must_use = "without it the context cannot be cancelled; `cancel.on_drop()` is Go's `defer cancel()`"]
pub struct Cancel {
    scope: Arc<Scope>,
}

impl Cancel {
    pub(super) fn new(scope: Arc<Scope>) -> Self {
        Self { scope }
    }

    /// Cancels the context and all that were made from it, and makes runnable who waits for them.
    /// When this returns, the context is done. Does nothing if it is done already. Never parks.
    ///
    /// What the caller did before happens before what an observer of the cancellation does after.
    pub fn cancel(&self) {
        self.scope.cancel();
    }

    /// A guard that cancels when it is dropped: Go's `defer cancel()`.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// let (ctx, cancel) = millpond::Context::background().with_cancel();
    /// {
    ///     let _guard = cancel.on_drop();
    ///     assert!(!ctx.is_done());
    /// }
    /// assert!(ctx.is_done());
    /// ```
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop { cancel: Some(self.clone()) }
    }
}

/// Cancels a context when it is dropped. From [`Cancel::on_drop`].
#[must_use = "dropped at once, it cancels at once: bind it to a name, `_guard` say"]
pub struct CancelOnDrop {
    /// `None` once disarmed.
    cancel: Option<Cancel>,
}

impl CancelOnDrop {
    /// Gives the guard up without cancelling.
    pub fn disarm(mut self) {
        self.cancel = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("error", &self.scope.error()).finish()
    }
}

impl fmt::Debug for CancelOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelOnDrop").finish_non_exhaustive()
    }
}
