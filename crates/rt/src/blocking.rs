//! The blocking pool: threads for what blocks in the kernel and has no readiness to wait for.
//!
//! Files, name look-ups, foreign libraries. Threads are made on demand up to [`MAX_THREADS`] and end
//! after [`KEEP_ALIVE`] without a job; jobs beyond that wait in a queue, which is bounded by the
//! number of goroutines and futures that wait for them. One pool for the process.

use crate::block_on::block_on_until;
use crate::context::{Context, ContextError};
use crate::m::CurrentM;
use crate::quiet::quietly;
use crate::wait::{FutureWait, Ticket, Until, WaitReason, Waiting};
use millpond_prim::sync::Lock;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::Result as ThreadResult;
use std::time::Duration;

/// No more threads than this.
const MAX_THREADS: usize = 512;
/// How long a thread waits for a job before it ends.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    state: Mutex<State>,
    /// Rung at each new job.
    bell: Condvar,
    /// Jobs that have not ended. Atomic.
    jobs: AtomicUsize,
}

struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: Pool = Pool {
    state: Mutex::new(State { queue: VecDeque::new(), threads: 0, idle: 0 }),
    bell: Condvar::new(),
    jobs: AtomicUsize::new(0),
};

/// Jobs that have not ended: each may wake somebody.
pub(crate) fn jobs() -> usize {
    POOL.jobs.load(Ordering::SeqCst)
}

/// Threads of the pool.
pub(crate) fn threads() -> usize {
    POOL.lock().threads
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    fn submit(&'static self, job: Job) {
        self.jobs.fetch_add(1, Ordering::SeqCst);
        let mut state = self.lock();
        state.queue.push_back(job);
        if state.idle >= state.queue.len() {
            drop(state);
            self.bell.notify_one();
        } else if state.threads < MAX_THREADS {
            state.threads += 1;
            drop(state);
            let thread = std::thread::Builder::new().name("millpond-blocking".into());
            if thread.spawn(move || self.work()).is_err() {
                self.could_not_start();
            }
        }
    }

    /// No thread to be had: those that exist will come to the job; if there is none, the caller
    /// does what is queued.
    fn could_not_start(&self) {
        let mut state = self.lock();
        state.threads -= 1;
        while state.threads == 0 {
            let Some(job) = state.queue.pop_front() else { return };
            drop(state);
            self.run(job);
            state = self.lock();
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                self.run(job);
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, timeout) = match self.bell.wait_timeout(state, KEEP_ALIVE) {
                Ok(result) => result,
                Err(poison) => poison.into_inner(),
            };
            state = woken;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    /// Jobs catch the panics of what they run; what may panic still is the drop of a result that
    /// nobody waits for any more.
    fn run(&self, job: Job) {
        quietly(job);
        self.jobs.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Where a job leaves its result.
struct Slot<T> {
    state: Lock<SlotState<T>>,
}

struct SlotState<T> {
    result: Option<ThreadResult<T>>,
    ticket: Option<Ticket>,
}

fn start<F, T>(f: F) -> Arc<Slot<T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let slot = Arc::new(Slot { state: Lock::new(SlotState { result: None, ticket: None }) });
    let job_slot = slot.clone();
    POOL.submit(Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(f));
        let mut state = job_slot.state.lock();
        state.result = Some(result);
        let ticket = state.ticket.take();
        drop(state);
        if let Some(ticket) = ticket {
            ticket.fire(0);
        }
    }));
    slot
}

/// Runs `f` on the blocking pool; the goroutine parks until it is done. On a plain thread `f`
/// simply runs.
///
/// # Panics
/// If `f` does, with its payload.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let text = millpond::blocking(|| std::fs::read_to_string("/proc/self/comm")).unwrap();
/// assert!(!text.is_empty());
/// # }).unwrap();
/// ```
pub fn blocking<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if !CurrentM::get().is_some_and(|m| m.is_running()) {
        return f();
    }
    let slot = start(f);
    let waiting = Waiting::begin();
    let mut state = slot.state.lock();
    if state.result.is_none() {
        state.ticket = Some(waiting.ticket());
        drop(state);
        waiting.park(WaitReason::Blocking, None);
        state = slot.state.lock();
    }
    let result = state.result.take().expect("the job has ended");
    drop(state);
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

/// As [`blocking`], until `ctx` is done: then `f` goes on to its end, and its result is dropped
/// there. Always on the pool, also for a plain thread.
///
/// # Errors
/// [`ContextError`] if the context is done first; if it is done already, `f` does not run.
///
/// # Panics
/// If `f` does, with its payload.
pub fn blocking_ctx<F, T>(ctx: &Context, f: F) -> Result<T, ContextError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    ctx.check()?;
    block_on_until(WaitReason::Blocking, Until::Done(ctx), blocking_async(f))
}

/// As [`blocking`], for futures. `f` runs to its end even if the future is dropped.
///
/// # Panics
/// If `f` does, with its payload.
pub async fn blocking_async<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let slot = start(f);
    let mut wait = FutureWait::new();
    let result = std::future::poll_fn(|cx| {
        let mut state = slot.state.lock();
        if let Some(result) = state.result.take() {
            return std::task::Poll::Ready(result);
        }
        if !wait.is_armed() {
            state.ticket = Some(wait.arm());
        }
        drop(state);
        // Ended between the two looks: the claim shows here, and the result is in the slot.
        wait.poll(cx).map(|_| slot.state.lock().result.take().expect("the job has ended"))
    })
    .await;
    result.unwrap_or_else(|payload| resume_unwind(payload))
}
