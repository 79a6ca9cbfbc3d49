//! What descriptors ask of the scheduler: whose poller, and the cooperative budget.
//!
//! The one file of `io` that knows of Ms and runtimes; everything else in it works on pollers and
//! wait words, which is why it can be tested without a scheduler.

use super::poller::Poller;
use crate::m::CurrentM;
use std::io;
use std::sync::Arc;

/// Whether the caller is a goroutine.
pub(super) fn in_goroutine() -> bool {
    CurrentM::get().is_some_and(|m| m.is_running())
}

/// The poller to register with: that of the goroutine's M, or, for a future on a plain thread, of
/// the first M of the process's runtime.
pub(super) fn poller() -> io::Result<Arc<Poller>> {
    Ok(match CurrentM::get() {
        Some(m) => m.poller.clone(),
        None => crate::runtime::of_process().m(0).poller.clone(),
    })
}

/// Charges one operation that succeeded to the caller's budget; may yield.
pub(super) fn spend() {
    crate::coop::spend();
}

/// What an accepted connection costs beyond one operation: each is a goroutine to start, so a burst of them
/// keeps the others of this M from their turn for longer than as many reads do.
const ACCEPT_UNITS: u32 = 7;

/// Charges what an accept costs more than other operations.
pub(super) fn charge_accept() {
    if let Some(m) = CurrentM::get() {
        m.charge(ACCEPT_UNITS);
    }
}
