//! Contexts: how a request tells all that works for it to stop, as in Go.
//!
//! A started goroutine cannot be stopped from outside. It stops itself: it is handed a
//! [`Context`], hands it on to what it calls and starts, and gives it to what it waits with
//! (`recv_ctx`, `lock_ctx`, `stream.with_ctx`). When the context is done, those waits end.
//!
//! ```text
//!   Context ─┬─▶ Scope ──▶ Scope ──▶ ..     what can end: state, deadline, waiters, children
//!            └─▶ Link ───▶ Link ───▶ ..     values, by the type of their key
//! ```
//!
//! A context is two references. Making one with a value prepends a link and leaves the scope as it
//! is; making one that can be cancelled begins a scope and leaves the values. So a cancellation
//! never walks over values, and a look-up never over scopes; the background has neither and costs
//! nothing. (Go has one chain of both.)
//!
//! - `scope`: the tree of cancellation, its protocol; `models` is what loom explores of it;
//! - `cancel`: the right to cancel; `done`: the wait for the end; `run`: a future under a
//!   context; `values`; `error`.
//!
//! # For those who wait
//! [`Context::enlist`] registers a ticket that is claimed when the context is *cancelled*. Its
//! deadline claims nothing: it is the limit of the wait ([`Waiting::park_until`] does both).
//!
//! [`Waiting::park_until`]: crate::wait::Waiting::park_until

mod cancel;
mod done;
mod error;
#[cfg(not(loom))]
mod run;
mod scope;
mod values;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use cancel::{Cancel, CancelOnDrop};
pub use done::Done;
pub use error::ContextError;
#[cfg(not(loom))]
pub use run::RunUntilDone;
pub use values::Key;

use crate::wait::{self, Ticket};
use scope::Scope;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use values::Values;

/// Carries a deadline, a cancellation, and values of one request to all that works for it: across
/// calls, goroutines and tasks. Go's `context.Context`.
///
/// Cheap to clone. Pass it by reference, as the first argument, and clone it into what you start.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use millpond::{Context, context::ContextError, go};
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// let worker = {
///     let ctx = ctx.clone();
///     go(move || ctx.done().wait())
/// };
/// cancel.cancel();
/// assert_eq!(worker.join().unwrap(), ContextError::Cancelled);
/// # }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Context {
    /// What ends it; `None` if nothing does.
    scope: Option<Arc<Scope>>,
    values: Values,
}

impl Context {
    /// The root: never done, no values. Does not allocate.
    pub const fn background() -> Self {
        Self { scope: None, values: Values::none() }
    }

    /// A context that is done when the [`Cancel`] says so, or when this one is.
    pub fn with_cancel(&self) -> (Self, Cancel) {
        self.with_scope(None)
    }

    /// A context that is done at `deadline`, when the [`Cancel`] says so, or when this one is. A
    /// deadline that lies behind this context's own changes nothing.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// use millpond::{Context, context::ContextError};
    ///
    /// let (ctx, _cancel) = Context::background().with_deadline(std::time::Instant::now());
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// ```
    pub fn with_deadline(&self, deadline: Instant) -> (Self, Cancel) {
        self.with_scope(Some(deadline))
    }

    /// As [`with_deadline`](Self::with_deadline), so long from now. A time beyond the clock's
    /// range is none.
    pub fn with_timeout(&self, timeout: Duration) -> (Self, Cancel) {
        self.with_scope(Instant::now().checked_add(timeout))
    }

    /// A context with one value more. It hides an older one of the same key. Looking up takes time
    /// in proportion to the number of values: carry what belongs to the request, not what are
    /// parameters.
    pub fn with_value<K: Key>(&self, value: K::Value) -> Self {
        Self { scope: self.scope.clone(), values: self.values.with::<K>(value) }
    }

    /// A context with the values of this one that nothing ends: for work that outlives the
    /// request.
    pub fn without_cancel(&self) -> Self {
        Self { scope: None, values: self.values.clone() }
    }

    /// The value of this key, if this context or one that it was made from has one.
    pub fn value<K: Key>(&self) -> Option<&K::Value> {
        self.values.get::<K>()
    }

    /// Why it is done; `None` while it is not. The reason never changes.
    #[inline]
    pub fn err(&self) -> Option<ContextError> {
        self.scope.as_ref()?.error()
    }

    /// Whether it is done: cancelled, or past its deadline. `true` stays true.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.err().is_some()
    }

    /// For `ctx.check()?`: in a computation, at the beginning of a step.
    ///
    /// # Errors
    /// [`ContextError`] if it is done.
    #[inline]
    pub fn check(&self) -> Result<(), ContextError> {
        self.err().map_or(Ok(()), Err)
    }

    /// When it is done at the latest: the earliest deadline of this context and those that it was
    /// made from.
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.scope.as_ref()?.deadline()
    }

    /// Waits for it to be done: [`Done::wait`] parks, `done().await` is for tasks, and `_ =
    /// ctx.done() => ..` is an arm of `select!`. All give the [`ContextError`].
    pub fn done(&self) -> Done<'_> {
        Done::new(self)
    }

    fn with_scope(&self, deadline: Option<Instant>) -> (Self, Cancel) {
        let scope = Scope::new(self.scope.as_ref(), deadline);
        let cancel = Cancel::new(scope.clone());
        (Self { scope: Some(scope), values: self.values.clone() }, cancel)
    }

    /// Registers `ticket` to be claimed with `outcome` when the context is cancelled; `None` if it
    /// is done already. At its deadline nobody claims: make [`deadline`](Self::deadline) a limit of
    /// the wait.
    ///
    /// Give the registration back with [`delist`](Self::delist) on the same context, before the
    /// wait that the ticket is for is dropped.
    ///
    /// # Panics
    /// If `outcome` is reserved: see [`Ticket::claim`].
    #[doc(hidden)]
    #[must_use = "a registration is given back with `delist`"]
    pub fn enlist(&self, ticket: &Ticket, outcome: u16) -> Option<Registration> {
        assert!(outcome < wait::CANCELLED, "Context::enlist: outcome {outcome} is reserved");
        self.enlist_as(ticket.clone(), outcome).ok()
    }

    /// As [`enlist`](Self::enlist), also with the reserved outcome.
    pub(crate) fn enlist_as(
        &self,
        ticket: Ticket,
        outcome: u16,
    ) -> Result<Registration, ContextError> {
        match &self.scope {
            None => Ok(Registration(None)),
            Some(scope) => scope.enlist(ticket, outcome).map(|key| Registration(Some(key))),
        }
    }

    /// Takes a registration back, whether its ticket was claimed or not.
    #[doc(hidden)]
    pub fn delist(&self, registration: Registration) {
        if let (Some(scope), Registration(Some(key))) = (&self.scope, registration) {
            scope.delist(key);
        }
    }

    /// How many waits are registered with it: in line wherever they wait, and about to leave or gone.
    /// For tests, which wait for that instead of for time.
    #[doc(hidden)]
    pub fn waiters(&self) -> usize {
        self.scope.as_ref().map_or(0, |scope| scope.waiters())
    }

    /// Waiters and children of its scope, and room for how many children. For tests.
    #[cfg(test)]
    pub(crate) fn footprint(&self) -> (usize, usize, usize) {
        self.scope.as_ref().map_or((0, 0, 0), |scope| scope.footprint())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (deadline, err) = (self.deadline(), self.err());
        f.debug_struct("Context").field("deadline", &deadline).field("err", &err).finish()
    }
}

/// A ticket that is registered with a context, or with a [`Ticker`](crate::time::Ticker).
#[doc(hidden)]
#[derive(Debug)]
#[must_use = "a registration is given back with `delist`"]
pub struct Registration(pub(crate) Option<wait::Key>);
