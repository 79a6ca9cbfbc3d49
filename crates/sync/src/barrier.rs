//! A barrier: nobody goes on before all have come.
//!
//! A count, a round number and a list of waiters under one small lock. The last to arrive begins
//! the next round and wakes the others; a waiter is through exactly if the round has changed since
//! it arrived:
//!
//! ```text
//!   arrive, not the last: arrived += 1; push; park     gives up, same round: arrived -= 1
//!   arrive, the last:     arrived  = 0; round += 1; wake all
//! ```
//!
//! Whether somebody who gives up had arrived is decided by the round, under the lock, and not by who
//! ended its wait: one whose limit passed but who was counted by an opening that came before it could
//! take its arrival back *is* through. So an opening always has as many as it says, whatever timers do
//! meanwhile. (A dropped future that was counted so was there when it was counted.)
//!
//! Rejected: an atomic count with the list's lock for waiting only (the two would have to agree on
//! the round; everybody but the last parks anyway, so the lock is the cheap part).

use crate::until::Until;
use crate::wait_list::{Key, WaitList};
use millpond_prim::sync::Lock;
use millpond_rt::context::{self, ContextError};
use millpond_rt::coop;
use millpond_rt::wait::{Fired, FutureWait, Ticket, WaitReason, Waiting};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Lets a number of goroutines, tasks and plain threads wait for each other, again and again. The
/// shape is that of [`std::sync::Barrier`].
///
/// What each did before it arrived happens before any of them goes on.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use millpond::sync::Barrier;
/// use std::sync::Arc;
///
/// let barrier = Arc::new(Barrier::new(3));
/// let workers: Vec<_> = (0..3)
///     .map(|_| {
///         let barrier = barrier.clone();
///         millpond::go(move || {
///             // phase one
///             let leads = barrier.wait().is_leader();
///             // phase two: all have ended phase one
///             leads
///         })
///     })
///     .collect();
/// assert_eq!(workers.into_iter().filter_map(|w| w.join().ok()).filter(|leads| *leads).count(), 1);
/// # }).unwrap();
/// ```
pub struct Barrier {
    /// So many open it; at least 1.
    size: usize,
    state: Lock<State>,
}

/// Protected by the barrier's lock.
struct State {
    /// How many have arrived in this round: below the size, and as many as have an entry of this
    /// round in `waiters`.
    arrived: usize,
    /// How often it has opened. Does not come round in a lifetime.
    round: u64,
    /// Who has arrived in this round. Entries of earlier rounds are off the list.
    waiters: WaitList<()>,
}

/// What a wait at a [`Barrier`] says to each.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller is the one of its round that was the last to arrive.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

const LEADER: BarrierWaitResult = BarrierWaitResult(true);
const FOLLOWER: BarrierWaitResult = BarrierWaitResult(false);

/// Somebody who has arrived and waits: its entry, and the round that it waits in.
#[derive(Debug)]
struct Place {
    key: Key,
    round: u64,
}

impl Barrier {
    /// A barrier that opens for each `n`; 0 acts as 1: nobody waits.
    #[cfg(not(loom))]
    pub const fn new(n: usize) -> Self {
        let size = if n == 0 { 1 } else { n };
        let state = State { arrived: 0, round: 0, waiters: WaitList::new() };
        Self { size, state: Lock::new(state) }
    }

    /// A barrier that opens for each `n`; 0 acts as 1: nobody waits.
    #[cfg(loom)]
    pub fn new(n: usize) -> Self {
        let state = State { arrived: 0, round: 0, waiters: WaitList::new() };
        Self { size: n.max(1), state: Lock::new(state) }
    }

    /// Arrives, and waits until as many have as the barrier is for. Parks the goroutine, or blocks
    /// the plain thread, unless it is the last: that one opens, leads, and does not park.
    pub fn wait(&self) -> BarrierWaitResult {
        self.wait_until(Until::Forever).expect("a wait without a time limit does not time out")
    }

    /// As [`wait`](Self::wait), for at most `limit`; `None` if that passed first. Then the arrival is
    /// taken back.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let barrier = millpond::sync::Barrier::new(2);
    /// assert!(barrier.wait_timeout(std::time::Duration::from_millis(1)).is_none());
    /// std::thread::scope(|s| {
    ///     s.spawn(|| barrier.wait());
    ///     barrier.wait();
    /// });
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> Option<BarrierWaitResult> {
        self.wait_until(Until::After(limit))
    }

    /// As [`wait`](Self::wait), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done before the barrier opens; then the arrival is taken
    /// back. If it is done already, even if this would have been the last: then there is none.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// use millpond::{Context, context::ContextError, sync::Barrier};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let barrier = Barrier::new(2);
    /// assert_eq!(barrier.wait_ctx(&ctx), Err(ContextError::DeadlineExceeded));
    /// std::thread::scope(|s| {
    ///     s.spawn(|| barrier.wait());
    ///     barrier.wait();
    /// });
    /// ```
    pub fn wait_ctx(&self, ctx: &context::Context) -> Result<BarrierWaitResult, ContextError> {
        ctx.check()?;
        self.wait_until(Until::Done(ctx)).ok_or_else(|| ctx.why())
    }

    /// As [`wait`](Self::wait), as a future for tasks. It arrives when it is first polled; dropping
    /// it before the barrier opens takes the arrival back.
    pub fn wait_async(&self) -> BarrierWaitFuture<'_> {
        BarrierWaitFuture { barrier: self, place: None, wait: FutureWait::new() }
    }

    fn wait_until(&self, until: Until) -> Option<BarrierWaitResult> {
        coop::spend();
        let waiting = Waiting::begin();
        let Err(place) = self.arrive(|| waiting.ticket()) else {
            return Some(LEADER);
        };
        waiting.park_until(WaitReason::Barrier, until);
        // Not the outcome: see the module documentation.
        self.leave(place).then_some(FOLLOWER)
    }

    /// Arrives: `Err` with a place to wait in unless this opens the barrier.
    fn arrive(&self, ticket: impl FnOnce() -> Ticket) -> Result<(), Place> {
        let mut state = self.state.lock();
        state.arrived += 1;
        if state.arrived < self.size {
            let key = state.waiters.push_back(ticket(), ());
            return Err(Place { key, round: state.round });
        }
        let fired = state.open();
        drop(state);
        drop(fired);
        Ok(())
    }

    /// Takes the place back; whether the barrier had opened. If not, the arrival goes too.
    fn leave(&self, place: Place) -> bool {
        let mut state = self.state.lock();
        state.waiters.remove(place.key);
        let opened = state.round != place.round;
        if !opened {
            state.arrived -= 1;
        }
        opened
    }
}

impl State {
    fn open(&mut self) -> Vec<Fired> {
        self.arrived = 0;
        self.round += 1;
        self.waiters.claim_all(|()| 0)
    }
}

/// Waits at a [`Barrier`]. From [`Barrier::wait_async`].
#[must_use = "it does not arrive until the future is awaited"]
pub struct BarrierWaitFuture<'a> {
    barrier: &'a Barrier,
    /// From when it arrives until it is through.
    place: Option<Place>,
    wait: FutureWait,
}

impl Future for BarrierWaitFuture<'_> {
    type Output = BarrierWaitResult;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BarrierWaitResult> {
        let this = self.get_mut();
        if this.place.is_none() {
            coop::spend();
            match this.barrier.arrive(|| this.wait.arm()) {
                Ok(()) => return Poll::Ready(LEADER),
                Err(place) => this.place = Some(place),
            }
        }
        if this.wait.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let place = this.place.take().expect("arrived in this poll or an earlier one");
        let opened = this.barrier.leave(place);
        debug_assert!(opened, "barrier: woken by something else than an opening");
        Poll::Ready(FOLLOWER)
    }
}

impl Drop for BarrierWaitFuture<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.wait.cancel();
            self.barrier.leave(place);
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrived = self.state.lock().arrived;
        f.debug_struct("Barrier").field("size", &self.size).field("arrived", &arrived).finish()
    }
}

impl fmt::Debug for BarrierWaitFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitFuture").field("barrier", self.barrier).finish()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    /// Two rounds: in each, both see what the other did before it, and one of them leads.
    #[test]
    fn each_round_orders_what_was_before_it() {
        loom::model(|| {
            let shared =
                Arc::new((Barrier::new(2), [UnsafeCell::new(0u32), UnsafeCell::new(0u32)]));
            let run = |me: usize| {
                let shared = shared.clone();
                move || {
                    let (barrier, cells) = &*shared;
                    let mut led = Vec::new();
                    // SAFETY: between two openings a cell is written by its owner or read by the
                    // other, never both.
                    cells[me].with_mut(|cell| unsafe { *cell = 1 });
                    led.push(barrier.wait());
                    // SAFETY: as above.
                    assert_eq!(cells[1 - me].with(|cell| unsafe { *cell }), 1);
                    led.push(if me == 0 { barrier.wait() } else { block_on(barrier.wait_async()) });
                    // SAFETY: as above.
                    cells[me].with_mut(|cell| unsafe { *cell = 2 });
                    led
                }
            };
            let other = thread::spawn(run(1));
            let mine = run(0)();
            for (one, other) in mine.iter().zip(other.join().unwrap()) {
                assert!(one.is_leader() != other.is_leader());
            }
        });
    }

    /// One that has arrived gives up while two others come: either these open the barrier together,
    /// or it was counted, and then one of them has opened it with it and the other waits.
    #[test]
    fn who_gives_up_takes_its_arrival_back_or_was_counted() {
        loom::model(|| {
            let barrier = Arc::new(Barrier::new(2));
            let mut wait = FutureWait::new();
            let Err(place) = barrier.arrive(|| wait.arm()) else { panic!("it opened for one") };
            let others: Vec<_> = (0..2)
                .map(|_| {
                    let barrier = barrier.clone();
                    thread::spawn(move || {
                        let mut wait = FutureWait::new();
                        (barrier.arrive(|| wait.arm()), wait)
                    })
                })
                .collect();
            wait.cancel();
            let counted = barrier.leave(place);
            let others: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
            assert_eq!(others.iter().filter(|(arrived, _)| arrived.is_ok()).count(), 1);
            assert_eq!(barrier.state.lock().arrived, usize::from(counted));
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::tests::poll_once;

    #[test]
    fn the_last_to_arrive_leads_and_the_barrier_is_as_new() {
        let barrier = Barrier::new(3);
        for _ in 0..3 {
            let (mut first, mut second) = (barrier.wait_async(), barrier.wait_async());
            assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
            assert!(barrier.wait().is_leader());
            assert_eq!(poll_once(&mut second), Poll::Ready(FOLLOWER));
            assert_eq!(poll_once(&mut first), Poll::Ready(FOLLOWER));
        }
        assert_eq!(barrier.state.lock().waiters.footprint().0, 0);
    }

    #[test]
    fn arrivals_are_taken_back() {
        let barrier = Barrier::new(2);
        for _ in 0..100 {
            assert!(barrier.wait_timeout(Duration::ZERO).is_none());
            assert!(poll_once(&mut barrier.wait_async()).is_pending());
        }
        assert_eq!(format!("{barrier:?}"), "Barrier { size: 2, arrived: 0 }");
        let mut through = barrier.wait_async();
        assert!(poll_once(&mut through).is_pending());
        assert!(barrier.wait().is_leader());
        let mut next = barrier.wait_async();
        assert!(poll_once(&mut next).is_pending());
        // It was counted in the round before: this one is not touched.
        drop(through);
        assert!(barrier.wait().is_leader());
        assert!(poll_once(&mut next).is_ready());
    }

    /// Its limit passed, and before it could take its arrival back the barrier opened with it.
    #[test]
    fn one_that_was_counted_is_through_although_its_time_is_up() {
        let barrier = Barrier::new(2);
        let waiting = Waiting::begin();
        let Err(place) = barrier.arrive(|| waiting.ticket()) else { panic!("it opened for one") };
        assert_eq!(waiting.cancel(), None);
        assert!(barrier.wait().is_leader());
        assert!(barrier.leave(place));
        assert_eq!(barrier.state.lock().arrived, 0);
    }

    #[test]
    fn nobody_waits_at_a_barrier_for_none_or_one() {
        for n in [0, 1] {
            let barrier = Barrier::new(n);
            assert!(barrier.wait().is_leader() && barrier.wait().is_leader());
            assert!(barrier.wait_timeout(Duration::ZERO).is_some_and(|result| result.is_leader()));
        }
    }

    #[test]
    fn barriers_and_futures_travel() {
        fn travels<T: Send + Sync>() {}
        travels::<Barrier>();
        travels::<BarrierWaitFuture<'static>>();
    }
}
