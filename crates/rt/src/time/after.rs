//! One point in time that can be waited for: `after`.
//!
//! What Go's `time.After` is without its channel and without its timer: a number. It is due or it
//! is not, so asking for it takes nothing away, and one that nobody waits for costs nothing. Only
//! as a future does it set a timer, that of the [`Sleep`] inside.

use super::{Instant, Sleep, far_away, sleep_until};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A point in time to wait for. From [`after`]: `after(d).wait()` parks, `after(d).await` is for
/// tasks, and `_ = after(d) => ..` is an arm of `select!`. Once due it stays due.
#[derive(Debug)]
#[must_use = "waits for nothing until it is awaited, or `wait` is called"]
pub struct After(Sleep);

/// So long from now. A time beyond the clock's range is never reached.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// use millpond::time::{Instant, after};
///
/// let due = after(std::time::Duration::from_millis(1)).wait();
/// assert!(due <= Instant::now());
/// ```
pub fn after(duration: Duration) -> After {
    After(Sleep::until(Instant::now().checked_add(duration).unwrap_or_else(far_away)))
}

impl After {
    /// Waits for the point in time, and returns it. Parks the goroutine, or blocks the plain
    /// thread.
    pub fn wait(&self) -> Instant {
        sleep_until(self.deadline());
        self.deadline()
    }

    /// The point in time.
    pub fn deadline(&self) -> Instant {
        self.0.deadline()
    }

    /// For an arm: the point in time, if it has been reached.
    #[doc(hidden)]
    #[inline]
    pub fn due(&self) -> Option<Instant> {
        (self.deadline() <= Instant::now()).then(|| self.deadline())
    }
}

impl Future for After {
    type Output = Instant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        let this = self.get_mut();
        Pin::new(&mut this.0).poll(cx).map(|()| this.0.deadline())
    }
}
