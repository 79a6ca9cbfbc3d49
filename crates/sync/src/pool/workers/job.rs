//! One job and its handle: the result, who waits for it, and what came first.
//!
//! A small lock around the state, shared by the job (as a [`Promise`]) and its handle. The result
//! belongs to the handle once it is there; if the handle is gone, whoever made the result drops it,
//! after the lock. A promise that is dropped without having run (the workers were closed, or their
//! runtime has ended) answers "cancelled", so no handle waits for ever.
//!
//! Tickets are taken out of the state before they are dropped: the last reference to a future's
//! wait frees its waker, which is user code.

use millpond_prim::sync::Lock;
use millpond_rt::JoinError;
use millpond_rt::select::{JoinArm, Joins};
use millpond_rt::wait::{Fired, FutureWait, Ticket, WaitReason, Waiting};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A job in the queue. Its worker runs it quietly.
pub(super) struct Job {
    pub(super) run: Box<dyn FnOnce() + Send>,
    /// Who waits for it, to be told if its worker never goes on; `None` if nobody can.
    pub(super) answer: Option<Arc<dyn Cancels>>,
}

impl Job {
    /// Without a handle.
    pub(super) fn detached(run: impl FnOnce() + Send + 'static) -> Self {
        Self { run: Box::new(run), answer: None }
    }
}

/// A job that can be answered from outside.
pub(super) trait Cancels: Send + Sync {
    /// Answers "cancelled" unless it has been answered.
    fn cancel(&self);
}

impl<T: Send> Cancels for Cell<T> {
    fn cancel(&self) {
        drop(self.answer(Err(JoinError::cancelled())));
    }
}

type Answer<T> = Result<T, JoinError>;

/// Protected by the lock.
struct State<T> {
    phase: Phase<T>,
    /// Of the handle's wait, with the outcome that it wants.
    ticket: Option<(Ticket, u16)>,
    /// The handle is gone.
    detached: bool,
}

enum Phase<T> {
    Queued,
    Running,
    Done(Answer<T>),
    Taken,
}

struct Cell<T>(Lock<State<T>>);

/// The job's side. Dropping it without an answer cancels.
pub(super) struct Promise<T>(Arc<Cell<T>>);

/// The right to wait for a job and take its result. Also a `Future`. Dropping it detaches: the
/// job still runs.
pub struct JobHandle<T> {
    cell: Arc<Cell<T>>,
    /// Used when the handle is awaited.
    wait: FutureWait,
}

/// A promise and its handle.
pub(super) fn pair<T>() -> (Promise<T>, JobHandle<T>) {
    let state = State { phase: Phase::Queued, ticket: None, detached: false };
    let cell = Arc::new(Cell(Lock::new(state)));
    (Promise(cell.clone()), JobHandle { cell, wait: FutureWait::new() })
}

impl<T> Cell<T> {
    /// The first answer counts. The answer comes back if nobody wants it.
    fn answer(&self, answer: Answer<T>) -> Option<Answer<T>> {
        let mut state = self.0.lock();
        if matches!(state.phase, Phase::Done(_) | Phase::Taken) {
            return Some(answer);
        }
        let unwanted = if state.detached {
            state.phase = Phase::Taken;
            Some(answer)
        } else {
            state.phase = Phase::Done(answer);
            None
        };
        let ticket = state.ticket.take();
        let fired = ticket.as_ref().and_then(|(ticket, outcome)| ticket.claim(*outcome));
        drop(state);
        drop::<Option<Fired>>(fired);
        drop(ticket);
        unwanted
    }

    /// The job is about to run; `false` if it was aborted.
    fn begin(&self) -> bool {
        let mut state = self.0.lock();
        let queued = matches!(state.phase, Phase::Queued);
        if queued {
            state.phase = Phase::Running;
        }
        queued
    }

    /// The answer, or the place to wait for it.
    fn take_or_wait(&self, ticket: impl FnOnce() -> Ticket) -> Option<Answer<T>> {
        let mut state = self.0.lock();
        if let Phase::Done(_) | Phase::Taken = state.phase {
            let Phase::Done(answer) = std::mem::replace(&mut state.phase, Phase::Taken) else {
                drop(state);
                panic!("JobHandle: polled again after it gave its result");
            };
            return Some(answer);
        }
        let older = state.ticket.replace((ticket(), 0));
        drop(state);
        drop(older);
        None
    }
}

impl<T> Promise<T> {
    /// The job that runs `job` and answers.
    pub(super) fn into_job(self, job: impl FnOnce() -> T + Send + 'static) -> Job
    where
        T: Send + 'static,
    {
        let answer: Arc<dyn Cancels> = self.0.clone();
        Job { run: Box::new(move || self.run(job)), answer: Some(answer) }
    }

    /// Runs the job and answers.
    fn run(self, job: impl FnOnce() -> T) {
        if self.0.begin() {
            let result = catch_unwind(AssertUnwindSafe(job)).map_err(JoinError::panicked);
            drop(self.0.answer(result));
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        drop(self.0.answer(Err(JoinError::cancelled())));
    }
}

impl<T> JobHandle<T> {
    /// Waits for the end and takes the result. Parks the goroutine, or blocks the plain thread.
    ///
    /// What the job did happens before this returns.
    ///
    /// # Errors
    /// A [`JoinError`] if it panicked, was [aborted](Self::abort), was refused because the workers were
    /// closed, or if its worker's runtime ended.
    pub fn join(mut self) -> Result<T, JoinError> {
        self.wait.cancel();
        let mut waiting = None;
        if let Some(answer) = self.cell.take_or_wait(|| waiting.insert(Waiting::begin()).ticket()) {
            return answer;
        }
        waiting.expect("begun to leave a ticket").park(WaitReason::Join, None);
        self.cell.take_or_wait(|| unreachable!("woken by the answer")).expect("the answer is there")
    }

    /// Whether it has ended. Never waits.
    pub fn is_finished(&self) -> bool {
        matches!(self.cell.0.lock().phase, Phase::Done(_) | Phase::Taken)
    }

    /// Keeps a job that has not started from starting; its handle answers "cancelled" at once, and
    /// the closure is dropped when its turn comes. A job that runs goes on.
    pub fn abort(&self) {
        // Taken for running, so that it cannot start; then answered.
        if self.cell.begin() {
            let unwanted = self.cell.answer(Err(JoinError::cancelled()));
            debug_assert!(unwanted.is_none(), "it neither ran nor was its handle gone");
        }
    }
}

/// The arm `job.join()` of a select.
impl<T> JobHandle<T> {
    #[doc(hidden)]
    pub fn __select_join(&mut self) -> JoinArm<'_, Self> {
        JoinArm::new(self)
    }
}

impl<T> Joins for JobHandle<T> {
    type Output = Result<T, JoinError>;

    fn take_now(&mut self) -> Option<Self::Output> {
        let done = self.is_finished();
        done.then(|| self.cell.take_or_wait(|| unreachable!("it has ended")))?
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        self.wait.cancel();
        let mut state = self.cell.0.lock();
        if let Phase::Done(_) | Phase::Taken = state.phase {
            return false;
        }
        let older = state.ticket.replace((ticket.clone(), outcome));
        drop(state);
        drop(older);
        true
    }

    fn delist(&mut self) {
        let ticket = self.cell.0.lock().ticket.take();
        drop(ticket);
    }
}

impl<T> Unpin for JobHandle<T> {}

impl<T> Future for JobHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.wait.is_armed()
            && let Some(answer) = this.cell.take_or_wait(|| this.wait.arm())
        {
            return Poll::Ready(answer);
        }
        if this.wait.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let answer = this.cell.take_or_wait(|| unreachable!("woken by the answer"));
        Poll::Ready(answer.expect("the answer is there"))
    }
}

impl<T> Drop for JobHandle<T> {
    fn drop(&mut self) {
        let mut state = self.cell.0.lock();
        state.detached = true;
        let ticket = state.ticket.take();
        let answer = match state.phase {
            Phase::Done(_) => std::mem::replace(&mut state.phase, Phase::Taken),
            _ => Phase::Taken,
        };
        drop(state);
        drop((ticket, answer));
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("finished", &self.is_finished()).finish()
    }
}
