//! Time: sleeping, a point in time to wait for, ticks, and a limit on a future.
//!
//! A goroutine that sleeps is a wait that nobody but its timer ends. A future that sleeps sets its
//! timer on the M that first polls it; if it is later polled elsewhere only its waker changes.

mod after;
mod ticker;

pub use after::{After, after};
pub use ticker::{Tick, Ticker};

use crate::context::{Context, ContextError};
use crate::m::CurrentM;
use crate::runtime;
use crate::sched::Sched;
use crate::wait::{FutureWait, Outcome, Until, WaitReason, Waiting};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

pub use std::time::Instant;

/// Sleeps for at least `duration`. Parks the goroutine, or blocks the plain thread.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use millpond::time::{Instant, sleep};
/// use std::time::Duration;
/// let began = Instant::now();
/// sleep(Duration::from_millis(2));
/// assert!(began.elapsed() >= Duration::from_millis(2));
/// # }).unwrap();
/// ```
pub fn sleep(duration: Duration) {
    match Instant::now().checked_add(duration) {
        Some(at) => sleep_until(at),
        // Longer than the clock can tell: nobody will see the end of it.
        None => loop {
            sleep(Duration::from_secs(1 << 32));
        },
    }
}

/// Sleeps until `at`, as [`sleep`]; a time that has passed only yields.
pub fn sleep_until(at: Instant) {
    if at <= Instant::now() {
        crate::coop::yield_now();
        return;
    }
    Waiting::begin().park(WaitReason::Sleep, Some(at));
}

/// As [`sleep`], until `ctx` is done.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// use millpond::{Context, time::sleep_ctx};
/// use std::time::Duration;
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// assert!(sleep_ctx(&ctx, Duration::from_millis(1)).is_ok());
/// cancel.cancel();
/// assert!(sleep_ctx(&ctx, Duration::from_secs(3600)).is_err());
/// ```
///
/// # Errors
/// [`ContextError`] if the context is done, before or meanwhile.
pub fn sleep_ctx(ctx: &Context, duration: Duration) -> Result<(), ContextError> {
    ctx.check()?;
    if duration.is_zero() {
        crate::coop::yield_now();
        return Ok(());
    }
    let until = Until::new(Instant::now().checked_add(duration), Some(ctx));
    match Waiting::begin().park_until(WaitReason::Sleep, until) {
        Outcome::Cancelled(error) => Err(error),
        _ => Ok(()),
    }
}

/// As [`sleep`], for futures.
pub fn sleep_async(duration: Duration) -> Sleep {
    Sleep::until(Instant::now().checked_add(duration).unwrap_or_else(far_away))
}

/// Thirty years from now, where no addition overflows.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(30 * 365 * 24 * 3600)
}

/// A future that is ready at a point in time.
#[derive(Debug)]
#[must_use = "a future does nothing unless polled"]
pub struct Sleep {
    at: Instant,
    wait: FutureWait,
    /// Where the timer is, while one is set.
    home: Option<Home>,
}

/// An M, held by its runtime.
struct Home {
    sched: Arc<Sched>,
    m: u32,
}

impl std::fmt::Debug for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "M{}", self.m)
    }
}

impl Sleep {
    /// Ready at `at`.
    pub fn until(at: Instant) -> Self {
        Self { at, wait: FutureWait::new(), home: None }
    }

    /// The point in time.
    pub fn deadline(&self) -> Instant {
        self.at
    }

    /// Moves the point in time, also after it was reached.
    pub fn reset(&mut self, at: Instant) {
        self.forsake();
        self.at = at;
    }

    fn forsake(&mut self) {
        self.wait.cancel();
        if let Some(home) = self.home.take() {
            home.sched.m(home.m).timers.forsake();
        }
    }

    fn set_timer(&mut self) {
        // An M that is not running a goroutine may be closing, or blocked until this fires.
        let usable = |m: &CurrentM| m.is_running() && !m.sched().is_stopping();
        let (home, here) = match CurrentM::get().filter(usable) {
            Some(m) => (Home { sched: m.sched().keep_alive(), m: m.index }, true),
            None => (Home { sched: runtime::of_process(), m: 0 }, false),
        };
        let m = home.sched.m(home.m);
        let earliest = m.timers.insert(crate::clock::ns_of(self.at), self.wait.arm());
        if earliest && !here {
            m.rouse();
        }
        if home.sched.is_stopping() {
            // That M may have ended its timers before this one came.
            m.timers.end();
        }
        self.home = Some(home);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        loop {
            if self.home.is_none() {
                if Instant::now() >= self.at {
                    return Poll::Ready(());
                }
                self.set_timer();
            }
            std::task::ready!(self.wait.poll(cx));
            // Too early if the runtime of the timer has ended: then it is set again, elsewhere.
            self.home = None;
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forsake();
    }
}

/// A limit ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time limit has passed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

pin_project_lite::pin_project! {
    /// The future of [`timeout`].
    #[must_use = "a future does nothing unless polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F> std::fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timeout").field("deadline", &self.sleep.at).finish_non_exhaustive()
    }
}

/// `future`, but no longer than `limit`; then it is dropped with the result. Blocking calls have
/// time-outs of their own (`recv_timeout`, deadlines of sockets): a started goroutine cannot be
/// stopped from outside.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// use millpond::time::{Elapsed, timeout};
/// use std::{future::pending, time::Duration};
/// let limit = Duration::from_millis(1);
/// # millpond_rt::Builder::new().procs(1).run(move || {
/// assert_eq!(millpond::block_on(timeout(limit, pending::<()>())), Err(Elapsed));
/// # }).unwrap();
/// ```
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_async(limit) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}
