//! The queue of jobs and who works on it, under one lock.
//!
//! ```text
//!   submit ──▶ an idle worker ─┐            ┌─▶ job ─▶ rest ─▶ next ─┐
//!     │ none is                ├─▶ worker ──┤                        │ nothing queued
//!     ├─▶ queue ───────────────┘   ▲        └───◀── handed a job ◀── idle ── too long, closed ─▶ retire
//!     │ is full                    │ starts
//!     └─▶ in line                  submit, or a worker that leaves jobs behind in the queue
//! ```
//!
//! *Workers start one at a time*, and only on evidence: something is queued, none is idle, and the
//! one that was started last has begun. A worker that takes a job and leaves others behind starts the
//! next, so while jobs park the workers become as many as are allowed. Jobs that compute hold
//! their M, and a second worker there would only cost a stack: a worker that begins on an M where
//! another is *runnable between two jobs* (it has yielded, or was idle and has been handed a job)
//! retires at once. That one will look at the queue, and start another if that is wanted.
//!
//! Invariants between two steps, while something is queued:
//! - no worker is idle ("idle" means linked and still claimable);
//! - if more workers are allowed, one is starting, or one is runnable between two jobs.
//!
//! And somebody is in line only while the queue is full.
//!
//! *A runtime may end* under workers of several. What a worker has of the queue's is noted in its [`Hand`], and is
//! taken back when its goroutine is known to have ended without having retired ([`Queue::abandon`]).
//!
//! Idle workers are used newest first, so those that are too many stay idle and retire.
//! Rejected: a channel as the queue (a worker that retires on a time-out and a submit that saw it
//! idle would have to agree under a lock of their own anyway).

use crate::until::Until;
use crate::wait_list::{Key, WaitList};
use millpond_prim::sync::atomic::{AtomicUsize, Ordering};
use millpond_prim::sync::{Guard, Lock};
use millpond_rt::wait::{Fired, Ticket, WaitReason, Waiting};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Instant;

/// Ms are told apart up to this many; two that share a number may start a worker later.
const PLACES: usize = 16;

type Between = [AtomicUsize; PLACES];

/// See the module documentation.
pub(super) struct Queue<J> {
    state: Lock<State<J>>,
    /// Atomic: per M, how many workers are runnable between two jobs. Read by workers that begin
    /// there; raised by their M, and under the lock by who hands a job over.
    between: Between,
}

/// What one worker has of the queue's. Its atomics are written by its thread or under the queue's lock, and read under
/// that lock by who knows that the worker will not go on: no order of their own is needed.
pub(super) struct Hand<J> {
    /// On which M it has begun.
    m: AtomicU32,
    begun: AtomicBool,
    /// Counted in `between`.
    between: AtomicBool,
    /// Counted off.
    gone: AtomicBool,
    /// What it was handed and has not taken. Taken and filled under the queue's lock.
    job: Lock<Option<J>>,
}

impl<J> Hand<J> {
    /// Of a worker that has been counted.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            m: AtomicU32::new(0),
            begun: AtomicBool::new(false),
            between: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            job: Lock::new(None),
        })
    }

    fn m(&self) -> usize {
        self.m.load(Ordering::Relaxed) as usize % PLACES
    }
}

/// Protected by the lock.
struct State<J> {
    jobs: VecDeque<J>,
    capacity: usize,
    /// Workers that were started and have not ended; those that begin are counted.
    workers: usize,
    limit: usize,
    /// A worker was started and has not looked yet.
    starting: bool,
    closed: bool,
    /// Workers without a job. Of one that never went on the entry stays.
    idle: WaitList<Arc<Hand<J>>>,
    /// A submitter's slot is emptied by who takes its job into the queue.
    submitters: WaitList<Option<J>>,
    /// Who waits for the last worker of a closed queue.
    joiners: WaitList<()>,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

/// What a step asks the caller to do after it has unlocked.
#[must_use]
#[derive(Default)]
pub(super) struct Then {
    /// To be resumed.
    pub(super) fired: Option<Fired>,
    /// A worker is to be started: it is counted already.
    pub(super) start: bool,
}

/// Numbers of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) queued: usize,
    pub(super) workers: usize,
    pub(super) closed: bool,
}

impl<J> State<J> {
    fn push(&mut self, job: impl FnOnce() -> J, between: &Between) -> Result<Then, Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if let Some((hand, fired)) = self.claim_idle() {
            hand.take_over(job(), between);
            return Ok(Then { fired: Some(fired), start: false });
        }
        if self.jobs.len() >= self.capacity {
            return Err(Refused::Full);
        }
        self.jobs.push_back(job());
        Ok(Then { fired: None, start: self.start_one() })
    }

    fn claim_idle(&mut self) -> Option<(Arc<Hand<J>>, Fired)> {
        self.idle.claim_front(|_| 0).map(|(hand, fired)| (hand.clone(), fired))
    }

    /// Takes the oldest job; the longest in line then moves up.
    fn pick(&mut self) -> Option<(J, Then)> {
        let job = self.jobs.pop_front()?;
        let fired = self.submitters.claim_front(|_| 0).map(|(slot, fired)| {
            self.jobs.push_back(slot.take().expect("who is in line has its job there"));
            fired
        });
        Some((job, Then { fired, start: self.start_one() }))
    }

    /// Counts a worker that is to be started, if one is wanted.
    fn start_one(&mut self) -> bool {
        let wanted = !self.jobs.is_empty() && self.workers < self.limit && !self.starting;
        self.workers += usize::from(wanted);
        self.starting |= wanted;
        wanted
    }

    /// Counts a worker off; the last one of a closed queue ends the waits for that.
    fn end_one(&mut self) -> Vec<Fired> {
        self.workers -= 1;
        if self.is_done() { self.joiners.claim_all(|()| 0) } else { Vec::new() }
    }

    fn is_done(&self) -> bool {
        self.closed && self.workers == 0 && self.jobs.is_empty()
    }
}

impl<J> Hand<J> {
    /// Its wait was ended, with this job for it.
    fn take_over(&self, job: J, between: &Between) {
        *self.job.lock() = Some(job);
        self.between.store(true, Ordering::Relaxed);
        between[self.m()].fetch_add(1, Ordering::Relaxed);
    }

    fn leave_between(&self, between: &Between) {
        if self.between.swap(false, Ordering::Relaxed) {
            between[self.m()].fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<J> Queue<J> {
    pub(super) fn new(limit: usize, capacity: usize) -> Self {
        let state = State {
            jobs: VecDeque::new(),
            capacity,
            workers: 0,
            limit,
            starting: false,
            closed: false,
            idle: WaitList::new(),
            submitters: WaitList::new(),
            joiners: WaitList::new(),
        };
        Self { state: Lock::new(state), between: std::array::from_fn(|_| AtomicUsize::new(0)) }
    }

    /// Takes the job that `job` makes if that is possible without waiting; otherwise does not call
    /// it. `job` runs under the lock and moves values only.
    pub(super) fn try_push(&self, job: impl FnOnce() -> J) -> Result<Then, Refused> {
        self.state.lock().push(job, &self.between)
    }

    /// As [`try_push`](Self::try_push), or gets in line.
    pub(super) fn push_or_enlist(
        &self,
        job: J,
        ticket: impl FnOnce() -> Ticket,
    ) -> Result<Then, Enlisted<J>> {
        let mut job = Some(job);
        let mut state = self.state.lock();
        match state.push(|| job.take().expect("called once"), &self.between) {
            Ok(then) => Ok(then),
            Err(Refused::Closed) => Err(Enlisted::Closed(job)),
            Err(Refused::Full) => Err(Enlisted::Waits(state.submitters.push_back(ticket(), job))),
        }
    }

    /// Takes `job`, waiting while the queue is full, up to `until`. Parks or blocks. Gives it back if
    /// the queue is closed, or `until` came first.
    pub(super) fn push(&self, job: J, until: Until<'_>) -> Result<Then, Option<J>> {
        let mut waiting = None;
        match self.push_or_enlist(job, || waiting.insert(Waiting::begin()).ticket()) {
            Ok(then) => Ok(then),
            Err(Enlisted::Closed(job)) => Err(job),
            Err(Enlisted::Waits(key)) => {
                let waiting = waiting.expect("begun to get in line");
                waiting.park_until(WaitReason::Pool, until);
                self.leave_line(key)
            }
        }
    }

    /// The wait in line is over: whether the job was taken into the queue.
    pub(super) fn leave_line(&self, key: Key) -> Result<Then, Option<J>> {
        match self.state.lock().submitters.remove(key) {
            None => Ok(Then::default()),
            job => Err(job),
        }
    }

    /// Worker, between two jobs: `yields` lets others run.
    pub(super) fn rest(&self, hand: &Hand<J>, yields: impl FnOnce()) {
        // Relaxed: whoever must see it is on the same thread.
        hand.between.store(true, Ordering::Relaxed);
        self.between[hand.m()].fetch_add(1, Ordering::Relaxed);
        yields();
        hand.leave_between(&self.between);
    }

    /// Worker on M `m`: what it is to do first. `None`: it is not needed, and counted off.
    pub(super) fn begin(&self, m: u32, hand: &Hand<J>) -> Option<(J, Then)> {
        let mut state = self.state.lock();
        state.starting = false;
        hand.begun.store(true, Ordering::Relaxed);
        hand.m.store(m, Ordering::Relaxed);
        let needed = self.between[hand.m()].load(Ordering::Relaxed) == 0;
        match needed.then(|| state.pick()).flatten() {
            Some(picked) => Some(picked),
            None => self.retire(state, hand),
        }
    }

    /// Worker: what it is to do next, after waiting up to `idle_until()` for it. Parks or
    /// blocks. `None`: it retires, and is counted off.
    pub(super) fn next(
        &self,
        hand: &Arc<Hand<J>>,
        idle_until: impl FnOnce() -> Option<Instant>,
    ) -> Option<(J, Then)> {
        let mut state = self.state.lock();
        if let Some(picked) = state.pick() {
            return Some(picked);
        }
        if state.closed {
            return self.retire(state, hand);
        }
        let waiting = Waiting::begin();
        let key = state.idle.push_front(waiting.ticket(), hand.clone());
        drop(state);
        waiting.park(WaitReason::Pool, idle_until());
        let mut state = self.state.lock();
        state.idle.remove(key);
        if let Some(job) = hand.job.lock().take() {
            hand.leave_between(&self.between);
            return Some((job, Then { fired: None, start: state.start_one() }));
        }
        // Too long, or closed. Something may have been queued since, by one who saw us leave.
        match state.pick() {
            Some(picked) => Some(picked),
            None => self.retire(state, hand),
        }
    }

    fn retire(&self, mut state: Guard<'_, State<J>>, hand: &Hand<J>) -> Option<(J, Then)> {
        hand.gone.store(true, Ordering::Relaxed);
        let fired = state.end_one();
        drop(state);
        drop(fired);
        None
    }

    /// A worker that was started will not begin, or not go on: it got no stack, or its runtime has ended. What it
    /// was handed is for another. If it was the only one, nobody would come for that, nor for what is queued and in
    /// line: it is returned, to be dropped. Nothing happens for one that has been counted off.
    pub(super) fn abandon(&self, hand: &Hand<J>) -> Vec<J> {
        let mut state = self.state.lock();
        let mut orphans = Vec::new();
        let mut fired = Vec::new();
        if hand.gone.swap(true, Ordering::Relaxed) {
            return orphans;
        }
        if !hand.begun.load(Ordering::Relaxed) {
            state.starting = false;
        }
        hand.leave_between(&self.between);
        let handed = hand.job.lock().take();
        if let Some(job) = handed {
            match state.claim_idle() {
                Some((other, waiter)) => {
                    other.take_over(job, &self.between);
                    fired.push(waiter);
                }
                None => state.jobs.push_front(job),
            }
        }
        if state.workers == 1 {
            orphans.extend(state.jobs.drain(..));
            while let Some((slot, waiter)) = state.submitters.claim_front(|_| 0) {
                orphans.extend(slot.take());
                fired.push(waiter);
            }
        }
        fired.extend(state.end_one());
        drop(state);
        drop(fired);
        orphans
    }

    /// Refuses further jobs; who is in line gets its job back. What is queued is worked off.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let mut fired = state.idle.claim_all(|_| 0);
        fired.extend(state.submitters.claim_all(|_| 0));
        if state.is_done() {
            fired.extend(state.joiners.claim_all(|()| 0));
        }
        drop(state);
        drop(fired);
    }

    /// Waits until the queue is closed, empty, and without workers; `false` if `until` came first.
    /// Parks or blocks.
    pub(super) fn join(&self, until: Until<'_>) -> bool {
        let waiting = Waiting::begin();
        let Some(key) = self.enlist_joiner(|| waiting.ticket()) else { return true };
        let outcome = waiting.park_until(WaitReason::Join, until);
        self.leave_joiners(key);
        outcome.is_fired()
    }

    /// Gets in line for the end, unless it has come.
    pub(super) fn enlist_joiner(&self, ticket: impl FnOnce() -> Ticket) -> Option<Key> {
        let mut state = self.state.lock();
        (!state.is_done()).then(|| state.joiners.push_back(ticket(), ()))
    }

    pub(super) fn leave_joiners(&self, key: Key) {
        self.state.lock().joiners.remove(key);
    }

    pub(super) fn numbers(&self) -> Numbers {
        let state = self.state.lock();
        Numbers { queued: state.jobs.len(), workers: state.workers, closed: state.closed }
    }
}

/// What came of a push that could not be done at once.
pub(super) enum Enlisted<J> {
    /// In line; the job is there.
    Waits(Key),
    /// Closed: the job is back.
    Closed(Option<J>),
}
