//! The most memory that the process had while it was watched.
//!
//! Resident pages and page tables together, which the kernel keeps no maximum of: `VmHWM` knows pages
//! alone, and a burst of stacks has both. So a thread reads them over and over; what lasts for less than
//! its pause may be missed, and a burst of a million lasts for seconds. Rejected: a goroutine with a
//! ticker, which the burst itself would keep from its M.

use millpond_sys::task::memory;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(10);

/// Watches until it is dropped.
pub(super) struct Peak(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Atomic: written by the thread.
    bytes: AtomicU64,
    over: AtomicBool,
}

impl Peak {
    pub(super) fn watch() -> Self {
        let shared = Arc::new(Shared::default());
        let watcher = shared.clone();
        // Without the thread there is no peak to report, and everything else is as it was.
        drop(thread::Builder::new().name("peak".into()).spawn(move || {
            while !watcher.over.load(Ordering::Relaxed) {
                watcher.look();
                thread::sleep(PAUSE);
            }
        }));
        Self(shared)
    }

    /// The peak so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0.look();
        self.0.bytes.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn look(&self) {
        if let Ok(now) = memory() {
            self.bytes.fetch_max(now.total_bytes(), Ordering::Relaxed);
        }
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}
