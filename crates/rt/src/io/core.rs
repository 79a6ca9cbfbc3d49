//! What a source is without its type: readiness, registration, limits, and the three ways to wait.
//!
//! | caller | registered with | leaves by |
//! |---|---|---|
//! | goroutine | the poller of its M | parking with a ticket in line |
//! | future | the poller of the M that polls it; on a plain thread, of some live M | `Pending` |
//! | plain thread | nothing | poll(2) on the descriptor and the thread's bell |
//!
//! A descriptor is registered at its first wait, and stays there until it is dropped: an M that goes
//! away hands its poller on. Registration makes the kernel report the present readiness as a first
//! edge, so nothing that came before it is missed. It is for reading, and for writing too from the
//! first wait to write on: most sockets never have one, and each edge would tell of room to write,
//! which costs the poller as much again as the data that it came for.
//!
//! Each way stands in line first and reads the deadline after: see `limit`.

use super::host;
use super::limit::{Limit, Patience, timed_out};
use super::poller::Poller;
use super::readiness::{Direction, Readiness, Seen};
use super::thread::{Alarm, thread_bell};
use super::waiters::{Enqueued, Waiter};
use crate::context::Context;
use crate::wait::{Outcome, Until, WaitReason, Waiting};
use millpond_prim::sync::Lock;
use millpond_sys::epoll::{Side, wait_one};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Core {
    /// Shared with the registry of the poller.
    readiness: Arc<Readiness>,
    /// Written once, under `registering`.
    registration: OnceLock<Registration>,
    /// Held while registering, so that two first waits do not both do it.
    registering: Lock<()>,
    /// Atomic each.
    read_limit: Limit,
    write_limit: Limit,
}

/// Where a source is registered.
#[derive(Debug)]
pub(super) struct Registration {
    poller: Arc<Poller>,
    key: u64,
    /// Whether the poller is told when the descriptor can be written. Set under `registering`, after
    /// the kernel has been asked to.
    writes: AtomicBool,
}

impl Core {
    pub(super) fn new() -> Self {
        Self {
            readiness: Arc::new(Readiness::new()),
            registration: OnceLock::new(),
            registering: Lock::new(()),
            read_limit: Limit::default(),
            write_limit: Limit::default(),
        }
    }

    #[inline]
    pub(super) fn direction(&self, side: Side) -> &Direction {
        match side {
            Side::Read => &self.readiness.read,
            Side::Write => &self.readiness.write,
        }
    }

    #[inline]
    pub(super) fn limit(&self, side: Side) -> &Limit {
        match side {
            Side::Read => &self.read_limit,
            Side::Write => &self.write_limit,
        }
    }

    /// What is known before an operation is tried; an error if it must not be.
    #[inline]
    pub(super) fn admit(&self, side: Side) -> io::Result<Seen> {
        let seen = self.direction(side).seen();
        if seen.is_closed() {
            return Err(closed());
        }
        // As in Go: once the deadline has passed, an operation fails even if it could succeed.
        match self.limit(side).deadline() {
            Some(deadline) if deadline <= Instant::now() => Err(timed_out()),
            _ => Ok(seen),
        }
    }

    /// Waits in the blocking form: parks the goroutine, or blocks the plain thread. Returns when
    /// the operation should be tried again.
    pub(super) fn wait(
        &self,
        fd: BorrowedFd<'_>,
        side: Side,
        reason: WaitReason,
        patience: &mut Patience<'_>,
    ) -> io::Result<()> {
        if host::in_goroutine() {
            self.park(fd, side, reason, patience)
        } else {
            self.block_thread(fd, side, patience)
        }
    }

    fn park(
        &self,
        fd: BorrowedFd<'_>,
        side: Side,
        reason: WaitReason,
        patience: &mut Patience<'_>,
    ) -> io::Result<()> {
        let at = self.registered(fd, side)?;
        let waiting = Waiting::begin();
        let ticket = waiting.ticket();
        if !self.line_up(at, side, Waiter::Ticket(ticket.clone())) {
            return Ok(());
        }
        let until = Until::new(patience.limit(self.limit(side)), patience.context());
        let outcome = waiting.park_until(reason, until);
        if outcome.is_fired() {
            return Ok(());
        }
        self.leave(side, &Waiter::Ticket(ticket));
        match outcome {
            Outcome::Cancelled(error) => Err(error.into()),
            _ => self.still_time(side, patience),
        }
    }

    fn block_thread(
        &self,
        fd: BorrowedFd<'_>,
        side: Side,
        patience: &mut Patience<'_>,
    ) -> io::Result<()> {
        let (bell, waker) = thread_bell()?;
        let ctx = patience.context();
        let _alarm = ctx.map(|ctx| Alarm::set(ctx, &waker)).transpose()?;
        let me = Waiter::Thread(waker);
        if matches!(self.direction(side).enqueue(me.duplicate()), Enqueued::Refused) {
            return Ok(());
        }
        let ctx_ends = ctx.and_then(Context::deadline);
        let limit = [patience.limit(self.limit(side)), ctx_ends].into_iter().flatten().min();
        let left = limit.map(|at| at.saturating_duration_since(Instant::now()));
        // No time left: not even a look, or a descriptor that is always "ready" would go on for
        // ever with operations that would block.
        let ready = match left {
            Some(Duration::ZERO) => Ok(false),
            _ => wait_one(fd, side, bell.notifier(), left),
        };
        self.direction(side).withdraw(&me);
        match ready {
            Ok(true) => Ok(()),
            Ok(false) => {
                ctx.map_or(Ok(()), Context::check)?;
                self.still_time(side, patience)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// After a wait that ended without an event: `TimedOut` if the limit, which may have been
    /// changed meanwhile, has passed.
    pub(super) fn still_time(&self, side: Side, patience: &mut Patience<'_>) -> io::Result<()> {
        match patience.limit(self.limit(side)) {
            Some(at) if at <= Instant::now() => Err(timed_out()),
            _ => Ok(()),
        }
    }

    /// Waits in the `poll_*` form: `Ready` means that the operation should be tried again.
    pub(super) fn poll_wait(
        &self,
        fd: BorrowedFd<'_>,
        side: Side,
        cx: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        let at = match self.registered(fd, side) {
            Ok(at) => at,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if self.line_up(at, side, Waiter::Task(cx.waker().clone())) {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    /// Where the source is registered for `side`; registers it if this is its first wait.
    #[inline]
    pub(super) fn registered(&self, fd: BorrowedFd<'_>, side: Side) -> io::Result<&Registration> {
        match self.registration.get() {
            Some(at) if side == Side::Read || at.writes.load(Ordering::Acquire) => Ok(at),
            _ => self.register(fd, side),
        }
    }

    #[cold]
    fn register(&self, fd: BorrowedFd<'_>, side: Side) -> io::Result<&Registration> {
        let _one = self.registering.lock();
        if let Some(at) = self.registration.get() {
            if side == Side::Write && !at.writes.load(Ordering::Relaxed) {
                at.poller.watch_writes(fd, at.key)?;
                at.writes.store(true, Ordering::Release);
            }
            return Ok(at);
        }
        let poller = host::poller()?;
        let key = poller.register(fd, &self.readiness, side)?;
        let writes = AtomicBool::new(side == Side::Write);
        Ok(self.registration.get_or_init(|| Registration { poller, key, writes }))
    }

    /// Puts `waiter` in line and on the poller's count; `false` if it should try again instead.
    pub(super) fn line_up(&self, at: &Registration, side: Side, waiter: Waiter) -> bool {
        at.poller.begin_wait();
        match self.direction(side).enqueue(waiter) {
            Enqueued::Added => return true,
            Enqueued::Displaced(oldest) => oldest.wake(),
            Enqueued::Already => {}
            Enqueued::Refused => {
                at.poller.end_waits(1);
                return false;
            }
        }
        at.poller.end_waits(1);
        true
    }

    /// Takes `waiter` out of the line, if no event has.
    pub(super) fn leave(&self, side: Side, waiter: &Waiter) {
        if self.direction(side).withdraw(waiter)
            && let Some(at) = self.registration.get()
        {
            at.poller.end_waits(1);
        }
    }

    /// Makes everybody who waits in this direction look again.
    pub(super) fn kick(&self, side: Side) {
        let mut woken = Vec::new();
        self.direction(side).kick(&mut woken);
        self.wake(woken);
    }

    /// Something has changed that the kernel may not tell as an edge: everybody tries again.
    pub(super) fn touch(&self) {
        let mut woken = Vec::new();
        self.readiness.read.event(true, &mut woken);
        self.readiness.write.event(true, &mut woken);
        self.wake(woken);
    }

    /// Fails every operation from now on, also those that wait.
    pub(super) fn close(&self) {
        let mut woken = Vec::new();
        self.readiness.close(&mut woken);
        self.wake(woken);
    }

    fn wake(&self, mut woken: Vec<Waiter>) {
        match self.registration.get() {
            Some(at) => drop(at.poller.wake(&mut woken)),
            // Plain threads only: they are on no poller's count.
            None => woken.into_iter().for_each(Waiter::wake),
        }
    }

    /// The descriptor leaves its source: nobody can wait for it any more.
    pub(super) fn deregister(&mut self, fd: BorrowedFd<'_>) {
        if let Some(at) = self.registration.take() {
            at.poller.deregister(fd, at.key);
            // Only wakers of dropped futures can be left: a wait holds a reference to its source.
            let mut left = Vec::new();
            self.readiness.close(&mut left);
            at.poller.wake(&mut left);
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, super::Closed)
}
