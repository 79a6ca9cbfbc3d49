//! What descriptors ask of the scheduler: whose poller, and the cooperative budget.

use super::poller::Poller;
use std::io;
use std::sync::{Arc, OnceLock};

/// Whether the caller is a goroutine.
pub(super) fn in_goroutine() -> bool {
    false
}

/// The poller to register with: that of the goroutine's M, or, for a future on a plain thread, of
/// some live M.
pub(super) fn poller() -> io::Result<Arc<Poller>> {
    static POLLER: OnceLock<Arc<Poller>> = OnceLock::new();
    let start = || {
        let poller = Poller::new().expect("the poller of plain threads");
        let polled = poller.clone();
        std::thread::spawn(move || while polled.wait(None).is_ok() {});
        poller
    };
    Ok(POLLER.get_or_init(start).clone())
}

/// Charges one operation that succeeded to the caller's budget; may yield.
pub(super) fn spend() {}
