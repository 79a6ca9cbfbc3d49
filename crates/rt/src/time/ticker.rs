//! Ticks at regular intervals, as Go's `time.Ticker`, without a timer.
//!
//! A ticker is the point in time of its next tick. Who waits for it has that point as the limit of
//! its wait; whoever looks first after it takes the tick, which moves the point on. So a ticker
//! that nobody waits for costs nothing, and need not be stopped to be dropped.
//!
//! ```text
//!   period 10      next = 20                         next = 60
//!   ────┬────────────┬────────┬────────┬───────┼───────┬────▶
//!      10           20       30       40      now     60
//!                    due since 20; looked at late: the tick of 50 is taken, 20 to 40 are dropped
//! ```
//!
//! Ticks that nobody took are dropped but for one, as in Go, and the points stay where they were:
//! a late tick does not shift those after it.
//!
//! A reset or stop changes the point under those who wait for it, so they stand in a list of
//! waiters, are woken, and look again. An arm of `select!` does the same by hand: it enlists
//! *first* and reads the deadline *then*; a reset before that is seen, one after it claims.

use super::{Instant, Sleep};
use crate::context::{Context, ContextError, Registration};
use crate::coop;
use crate::wait::{FutureWait, Key, Outcome, Ticket, Until, WaitList, WaitReason, Waiting};
use millpond_prim::sync::Lock;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

/// Ticks at regular intervals. Each tick goes to one of those who wait. Share it by reference or
/// in an `Arc`.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use millpond::time::Ticker;
/// use std::time::Duration;
///
/// let period = Duration::from_millis(2);
/// let ticker = Ticker::new(period);
/// let (first, second) = (ticker.tick(), ticker.tick());
/// assert!(second - first >= period);
/// # }).unwrap();
/// ```
pub struct Ticker {
    state: Lock<State>,
}

/// Protected by the lock.
struct State {
    /// Never zero.
    period: Duration,
    /// The next tick; `None` while stopped, or if it lies beyond the clock's range.
    next: Option<Instant>,
    /// Who waits, with the outcome to be claimed with when `next` changes under it.
    waiters: WaitList<u16>,
}

impl State {
    /// Takes the tick that is due at `now`: the last one, if it was late.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        let late = now.checked_duration_since(self.next?)?;
        // Less than a period; and a time that has passed is no more than 584 years.
        let beyond_ns = late.as_nanos() % self.period.as_nanos();
        let tick = now - Duration::from_nanos(u64::try_from(beyond_ns).unwrap_or(0));
        self.next = tick.checked_add(self.period);
        Some(tick)
    }
}

impl Ticker {
    /// A ticker whose first tick comes one `period` from now.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn new(period: Duration) -> Self {
        let next = first_tick("Ticker::new", period);
        Self { state: Lock::new(State { period, next, waiters: WaitList::new() }) }
    }

    /// Waits for the next tick, and returns the point in time that it was due at. Parks the
    /// goroutine, or blocks the plain thread; while the ticker is stopped, until it is reset.
    pub fn tick(&self) -> Instant {
        self.tick_until(None).expect("without a context there is none that could be done")
    }

    /// As [`tick`](Self::tick), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done, also if a tick is due.
    pub fn tick_ctx(&self, ctx: &Context) -> Result<Instant, ContextError> {
        ctx.check()?;
        self.tick_until(Some(ctx))
    }

    /// As [`tick`](Self::tick), as a future for tasks. Dropping it takes no tick away.
    pub fn tick_async(&self) -> Tick<'_> {
        Tick { ticker: self, wait: FutureWait::new(), key: None, timer: None }
    }

    /// The tick that is due, if one is. Never parks.
    pub fn try_tick(&self) -> Option<Instant> {
        self.state.lock().take(Instant::now())
    }

    /// From now on ticks every `period`, for the first time one period from now; starts a stopped
    /// ticker again. A tick that was due and not taken is dropped. Those who wait wait for the new
    /// tick.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn reset(&self, period: Duration) {
        let next = first_tick("Ticker::reset", period);
        self.change(next, Some(period));
    }

    /// Ticks no more. Those who wait go on waiting, for a [`reset`](Self::reset). A tick that was
    /// due and not taken is dropped. Dropping a ticker needs no stop.
    pub fn stop(&self) {
        self.change(None, None);
    }

    fn change(&self, next: Option<Instant>, period: Option<Duration>) {
        let mut state = self.state.lock();
        state.period = period.unwrap_or(state.period);
        state.next = next;
        let fired = state.waiters.claim_all(|outcome| *outcome);
        drop(state);
        drop(fired);
    }

    fn tick_until(&self, ctx: Option<&Context>) -> Result<Instant, ContextError> {
        loop {
            let mut state = self.state.lock();
            if let Some(tick) = state.take(Instant::now()) {
                drop(state);
                coop::spend();
                return Ok(tick);
            }
            let waiting = Waiting::begin();
            let key = state.waiters.push_back(waiting.ticket(), 0);
            let until = Until::new(state.next, ctx);
            drop(state);
            let outcome = waiting.park_until(WaitReason::Sleep, until);
            self.leave(key);
            if let Outcome::Cancelled(error) = outcome {
                return Err(error);
            }
        }
    }

    fn leave(&self, key: Key) {
        self.state.lock().waiters.remove(key);
    }

    /// For an arm: takes the tick that is due.
    #[doc(hidden)]
    #[inline]
    pub fn due(&self) -> Option<Instant> {
        self.try_tick()
    }

    /// For an arm: when the next tick is due, as long as nobody takes it, resets or stops.
    #[doc(hidden)]
    pub fn deadline(&self) -> Option<Instant> {
        self.state.lock().next
    }

    /// For an arm: registers `ticket` to be claimed with `outcome` when the deadline is changed by
    /// a reset or stop. To be given back with [`delist`](Self::delist) before the wait is dropped.
    #[doc(hidden)]
    pub fn enlist(&self, ticket: &Ticket, outcome: u16) -> Option<Registration> {
        let key = self.state.lock().waiters.push_back(ticket.clone(), outcome);
        Some(Registration(Some(key)))
    }

    /// For an arm: takes a registration back.
    #[doc(hidden)]
    pub fn delist(&self, registration: Registration) {
        if let Registration(Some(key)) = registration {
            self.leave(key);
        }
    }
}

fn first_tick(operation: &str, period: Duration) -> Option<Instant> {
    assert!(!period.is_zero(), "{operation}: the period is zero; expected more than that");
    Instant::now().checked_add(period)
}

/// Waits for a tick of a [`Ticker`]. From [`Ticker::tick_async`].
#[must_use = "nothing is waited for until the future is awaited"]
pub struct Tick<'a> {
    ticker: &'a Ticker,
    wait: FutureWait,
    /// The entry in the list, while it waits.
    key: Option<Key>,
    /// For the tick that it waits for; `None` if the ticker is stopped.
    timer: Option<Sleep>,
}

impl Tick<'_> {
    /// Takes the tick that is due, or gets in line for a change of the next.
    fn look(&mut self) -> Option<Instant> {
        let mut state = self.ticker.state.lock();
        let tick = state.take(Instant::now());
        if tick.is_none() && self.key.is_none() {
            self.key = Some(state.waiters.push_back(self.wait.arm(), 0));
            self.timer = state.next.map(Sleep::until);
        }
        tick
    }

    /// Whether it should look again: the tick's time has come, or was changed.
    fn poll_look_again(&mut self, cx: &mut task::Context<'_>) -> bool {
        self.wait.poll(cx).is_ready()
            || self.timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready())
    }

    fn withdraw(&mut self) {
        self.timer = None;
        self.wait.cancel();
        if let Some(key) = self.key.take() {
            self.ticker.leave(key);
        }
    }
}

impl Future for Tick<'_> {
    type Output = Instant;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Instant> {
        let this = self.get_mut();
        loop {
            if let Some(tick) = this.look() {
                this.withdraw();
                coop::spend();
                return Poll::Ready(tick);
            }
            if !this.poll_look_again(cx) {
                return Poll::Pending;
            }
            this.withdraw();
        }
    }
}

impl Drop for Tick<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (period, next) = (state.period, state.next);
        // The formatter writes to whatever its user made: not under the lock.
        drop(state);
        f.debug_struct("Ticker").field("period", &period).field("next", &next).finish()
    }
}

impl fmt::Debug for Tick<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tick").field("ticker", self.ticker).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Waker;

    const FAR: Duration = Duration::from_secs(3600);

    fn state(period: Duration, next: Instant) -> State {
        State { period, next: Some(next), waiters: WaitList::new() }
    }

    #[test]
    fn ticks_keep_their_phase_and_missed_ones_are_dropped_but_one() {
        let (start, s) = (Instant::now(), Duration::from_secs(1));
        let mut state = state(10 * s, start + 20 * s);
        assert_eq!(state.take(start + 19 * s), None);
        assert_eq!(state.take(start + 20 * s), Some(start + 20 * s));
        assert_eq!(state.take(start + 29 * s), None);
        assert_eq!(state.take(start + 55 * s), Some(start + 50 * s));
        assert_eq!(state.next, Some(start + 60 * s));
    }

    #[test]
    fn a_period_beyond_the_clock_never_ticks_and_a_tiny_one_does_not_overflow() {
        let ticker = Ticker::new(Duration::MAX);
        assert_eq!((ticker.try_tick(), ticker.deadline()), (None, None));
        let start = Instant::now();
        let mut state = state(Duration::from_nanos(3), start);
        let late = start + Duration::from_secs(3_000_000_000);
        assert_eq!(state.take(late), Some(late));
    }

    #[test]
    fn a_period_of_zero_is_refused_and_says_so() {
        let ticker = Ticker::new(FAR);
        for refused in [
            std::panic::catch_unwind(|| drop(Ticker::new(Duration::ZERO))),
            std::panic::catch_unwind(|| ticker.reset(Duration::ZERO)),
        ] {
            let payload = refused.unwrap_err();
            let said = payload.downcast_ref::<String>().unwrap();
            assert!(said.contains("the period is zero"), "{said}");
        }
    }

    #[test]
    fn a_reset_reaches_a_thread_that_waits() {
        let ticker = Arc::new(Ticker::new(FAR));
        let waiter = {
            let ticker = ticker.clone();
            std::thread::spawn(move || ticker.tick())
        };
        // Whether it waits already or not: its tick is an hour away until the reset.
        ticker.stop();
        let before = Instant::now();
        ticker.reset(Duration::from_millis(1));
        assert!(waiter.join().unwrap() > before);
        assert_eq!(ticker.state.lock().waiters.footprint().0, 0);
    }

    #[test]
    fn a_context_ends_the_wait_for_a_tick() {
        let ticker = Ticker::new(FAR);
        let (ctx, cancel) = Context::background().with_cancel();
        let canceller = std::thread::spawn(move || cancel.cancel());
        assert_eq!(ticker.tick_ctx(&ctx), Err(ContextError::Cancelled));
        canceller.join().unwrap();
        assert_eq!(ticker.state.lock().waiters.footprint().0, 0);
    }

    #[test]
    fn a_future_that_is_dropped_leaves_no_entry_and_takes_no_tick() {
        let ticker = Ticker::new(Duration::from_millis(1));
        let mut cx = task::Context::from_waker(Waker::noop());
        let mut given_up = ticker.tick_async();
        let _ = Pin::new(&mut given_up).poll(&mut cx);
        drop(given_up);
        assert_eq!(ticker.state.lock().waiters.footprint().0, 0);
        ticker.tick();
    }

    #[test]
    fn an_arm_learns_of_a_reset_after_it_has_enlisted() {
        let ticker = Ticker::new(FAR);
        let mut wait = FutureWait::new();
        let registration = ticker.enlist(&wait.arm(), 5).unwrap();
        ticker.reset(FAR);
        assert_eq!(wait.cancel(), Some(5));
        ticker.delist(registration);
        assert_eq!(ticker.due(), None);
    }
}
