//! The handle that users hold, its settings, and the goroutines behind it.
//!
//! Workers hold what is shared; handles hold an *owner* of it, whose drop closes the queue. So the
//! last handle may go at any time, in a job too, and what is queued is still worked off.
//!
//! A worker that its runtime's end has frozen retires nowhere: its goroutine's handle answers instead, and wakes the
//! worker's [`Post`], which counts it off and answers for the job that it was running.

use super::future::{SubmitFuture, WorkersFuture};
use super::job::{self, Cancels, Job, JobHandle};
use super::queue::{Hand, Queue, Refused, Then};
use crate::pool::quiet::quietly;
use crate::until::Until;
use millpond_prim::sync::Lock;
use millpond_rt::context::{Context, ContextError};
use millpond_rt::{GoBuilder, JoinHandle, coop, place};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// How long an idle worker stays unless told.
const IDLE_FOR: Duration = Duration::from_secs(10);

/// Runs jobs on a bounded number of goroutines, with a bounded queue before them.
///
/// A handle is a reference; a clone is the same. When the last one is dropped the queue is closed:
/// what is queued still runs, detached. To wait for that, call [`shutdown`](Self::shutdown).
///
/// Workers start in the runtime of the goroutine or task that submits, and from a plain thread in
/// the runtime of the process. When that ends, its workers are not resumed, as no goroutine is, and do not count any
/// more: a job that one of them was running answers "cancelled", and so does what is queued, if no worker of another
/// runtime is left to take it. So a `static` one serves one runtime after the other.
///
/// A job that submits to the workers that run it may wait for ever when all of them do so with a
/// full queue; use [`try_submit`](Self::try_submit) there.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use millpond::pool::Workers;
///
/// let workers = Workers::new(4);
/// let squares: Vec<_> = (0..10).map(|i| workers.submit(move || i * i)).collect();
/// let sum: i32 = squares.into_iter().map(|job| job.join().unwrap()).sum();
/// assert_eq!(sum, 285);
/// workers.shutdown();
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Workers {
    owner: Arc<Owner>,
}

struct Owner(Arc<Shared>);

/// What handles and workers share.
pub(super) struct Shared {
    pub(super) queue: Queue<Job>,
    limit: usize,
    name: Box<str>,
    stack_bytes: Option<usize>,
    idle_for: Duration,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

impl Workers {
    /// Up to `limit` workers, and a queue of as many jobs. None is started before there is a job.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub fn new(limit: usize) -> Self {
        Self::builder(limit).build()
    }

    /// Up to `limit` workers, with settings.
    pub fn builder(limit: usize) -> WorkersBuilder {
        WorkersBuilder {
            limit,
            queue: limit,
            name: "worker".into(),
            stack_bytes: None,
            idle_for: IDLE_FOR,
        }
    }

    /// Queues a job. Parks the goroutine, or blocks the plain thread, while the queue is full.
    /// Jobs start in the order in which they were queued.
    ///
    /// A panic ends the job only; its handle reports it. If the workers are closed, or close while
    /// this waits, the job is dropped and its handle answers "cancelled".
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// let workers = millpond::pool::Workers::new(1);
    /// assert_eq!(workers.submit(|| 6 * 7).join().unwrap(), 42);
    /// workers.close();
    /// assert!(workers.submit(|| 6 * 7).join().unwrap_err().is_cancelled());
    /// # }).unwrap();
    /// ```
    pub fn submit<F, T>(&self, job: F) -> JobHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        coop::spend();
        let (promise, handle) = job::pair();
        match self.shared().queue.push(promise.into_job(job), Until::Forever) {
            Ok(then) => self.shared().follow(then),
            Err(refused) => drop(refused),
        }
        handle
    }

    /// As [`submit`](Self::submit), until `ctx` is done; with it, the job is dropped. A job that has
    /// been queued is no longer under the context: give it a clone of it.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done before the job is queued, or is done already, even if
    /// the queue has room.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::{Context, context::ContextError};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let workers = millpond::pool::Workers::new(1);
    /// assert_eq!(workers.submit_ctx(&ctx, || 6 * 7).unwrap().join().unwrap(), 42);
    /// cancel.cancel();
    /// assert_eq!(workers.submit_ctx(&ctx, || 6 * 7).unwrap_err(), ContextError::Cancelled);
    /// # }).unwrap();
    /// ```
    pub fn submit_ctx<F, T>(&self, ctx: &Context, job: F) -> Result<JobHandle<T>, ContextError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        coop::spend();
        ctx.check()?;
        let (promise, handle) = job::pair();
        match self.shared().queue.push(promise.into_job(job), Until::Done(ctx)) {
            Ok(then) => self.shared().follow(then),
            Err(refused) => {
                drop(refused);
                // The two ways to be refused; of closed workers the handle tells.
                if !self.is_closed() {
                    return Err(ctx.why());
                }
            }
        }
        Ok(handle)
    }

    /// As [`submit`](Self::submit), without a handle: nothing is kept of the result, and a panic
    /// is reported like any goroutine's, by its message.
    ///
    /// # Errors
    /// [`Closed`] if the workers are closed, or close while this waits. The job is dropped.
    pub fn execute<F, T>(&self, job: F) -> Result<(), Closed>
    where
        F: FnOnce() -> T + Send + 'static,
    {
        coop::spend();
        match self.shared().queue.push(Job::detached(move || drop(job())), Until::Forever) {
            Ok(then) => {
                self.shared().follow(then);
                Ok(())
            }
            Err(refused) => {
                drop(refused);
                Err(Closed)
            }
        }
    }

    /// Queues a job if that is possible without waiting.
    ///
    /// # Errors
    /// [`TrySubmitError`] with the job.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::pool::{TrySubmitError, Workers};
    ///
    /// let workers = Workers::builder(1).queue(1).build();
    /// let queued = workers.try_submit(|| 1).unwrap(); // its worker has not begun
    /// let Err(TrySubmitError::Full(job)) = workers.try_submit(|| 2) else { panic!() };
    /// assert_eq!((job(), queued.join().unwrap()), (2, 1));
    /// # }).unwrap();
    /// ```
    pub fn try_submit<F, T>(&self, job: F) -> Result<JobHandle<T>, TrySubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        coop::spend();
        let (promise, handle) = job::pair();
        let (mut promise, mut job) = (Some(promise), Some(job));
        let pushed = self.shared().queue.try_push(|| {
            let (promise, job) = promise.take().zip(job.take()).expect("called once");
            promise.into_job(job)
        });
        match (pushed, job) {
            (Ok(then), _) => {
                self.shared().follow(then);
                Ok(handle)
            }
            (Err(Refused::Full), Some(job)) => Err(TrySubmitError::Full(job)),
            (Err(_), job) => Err(TrySubmitError::Closed(job.expect("refused before it was moved"))),
        }
    }

    /// As [`submit`](Self::submit), as a future for tasks. Dropping it while it waits drops the
    /// job; the future's output is the job's handle.
    pub fn submit_async<F, T>(&self, job: F) -> SubmitFuture<'_, T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (promise, handle) = job::pair();
        SubmitFuture::new(self, promise.into_job(job), handle)
    }

    /// Takes no more jobs. What is queued is still run, then the workers retire. Closing again does
    /// nothing.
    pub fn close(&self) {
        self.shared().queue.close();
    }

    /// Waits until the workers are closed, by whomever, and have run what was queued. Parks the
    /// goroutine, or blocks the plain thread. In a job of these workers it would wait for itself.
    ///
    /// What the jobs did happens before this returns.
    pub fn join(&self) {
        self.shared().queue.join(Until::Forever);
    }

    /// As [`join`](Self::join), until `ctx` is done.
    ///
    /// # Errors
    /// [`ContextError`] if the context is done first, or is done already. The workers go on.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::{Context, context::ContextError};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
    /// let workers = millpond::pool::Workers::new(1);
    /// // Nobody closes them.
    /// assert_eq!(workers.join_ctx(&ctx), Err(ContextError::DeadlineExceeded));
    /// # }).unwrap();
    /// ```
    pub fn join_ctx(&self, ctx: &Context) -> Result<(), ContextError> {
        ctx.check()?;
        if self.shared().queue.join(Until::Done(ctx)) { Ok(()) } else { Err(ctx.why()) }
    }

    /// As [`join`](Self::join), as a future for tasks.
    pub fn join_async(&self) -> WorkersFuture<'_> {
        WorkersFuture::new(self)
    }

    /// [`close`](Self::close), then [`join`](Self::join).
    pub fn shutdown(&self) {
        self.close();
        self.join();
    }

    /// As [`shutdown`](Self::shutdown), for tasks. Closes when it is called, not when it is polled.
    pub fn shutdown_async(&self) -> WorkersFuture<'_> {
        self.close();
        self.join_async()
    }

    /// Whether the workers are closed.
    pub fn is_closed(&self) -> bool {
        self.shared().queue.numbers().closed
    }

    /// How many jobs are queued and have not started. Those of submits that wait do not count.
    pub fn queued(&self) -> usize {
        self.shared().queue.numbers().queued
    }

    /// How many workers there are now, busy and idle.
    pub fn workers(&self) -> usize {
        self.shared().queue.numbers().workers
    }

    /// How many workers there can be.
    pub fn limit(&self) -> usize {
        self.shared().limit
    }

    #[inline]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.owner.0
    }
}

impl Shared {
    /// Does what a step asked for.
    pub(super) fn follow(self: &Arc<Self>, then: Then) {
        if then.start {
            self.start();
        }
        drop(then.fired);
    }

    #[cold]
    fn start(self: &Arc<Self>) {
        let post = Arc::new(Post {
            shared: self.clone(),
            hand: Hand::new(),
            running: Lock::new(None),
            goroutine: Lock::new(None),
        });
        let worker = Worker { post: Some(post.clone()) };
        let mut builder = GoBuilder::new().name(&*self.name);
        if let Some(bytes) = self.stack_bytes {
            builder = builder.stack_size(bytes);
        }
        post.watch(builder.go(move || worker.run()));
    }
}

/// What is known outside of a worker's stack of what it does.
struct Post {
    shared: Arc<Shared>,
    hand: Arc<Hand<Job>>,
    /// Who waits for the job that it runs. Protected by its lock, which is taken alone.
    running: Lock<Option<Arc<dyn Cancels>>>,
    /// The worker's handle, until it answers. Protected by its lock, which is taken alone.
    goroutine: Lock<Option<JoinHandle<()>>>,
}

impl Post {
    /// Has the post woken when the worker has ended.
    fn watch(self: Arc<Self>, mut goroutine: JoinHandle<()>) {
        let waker = Waker::from(self.clone());
        match Pin::new(&mut goroutine).poll(&mut task::Context::from_waker(&waker)) {
            Poll::Ready(_) => self.close(),
            // If it has ended since, the handle goes with the post.
            Poll::Pending => *self.goroutine.lock() = Some(goroutine),
        }
    }

    fn work(&self) {
        let (queue, hand) = (&self.shared.queue, &self.hand);
        // Once started, a goroutine stays on its M.
        let mut turn = queue.begin(place::current_m().unwrap_or_default(), hand);
        while let Some((job, then)) = turn {
            self.shared.follow(then);
            *self.running.lock() = job.answer;
            quietly(job.run);
            let answered = self.running.lock().take();
            drop(answered);
            queue.rest(hand, coop::spend);
            turn = queue.next(hand, || Instant::now().checked_add(self.shared.idle_for));
        }
    }

    /// The worker has ended, or will never begin or go on.
    fn close(&self) {
        let running = self.running.lock().take();
        if let Some(answer) = running {
            answer.cancel();
        }
        for orphan in self.shared.queue.abandon(&self.hand) {
            quietly(|| drop(orphan));
        }
    }
}

impl Wake for Post {
    fn wake(self: Arc<Self>) {
        let goroutine = self.goroutine.lock().take();
        drop(goroutine);
        self.close();
    }
}

/// A worker that has been counted and not begun.
struct Worker {
    post: Option<Arc<Post>>,
}

impl Worker {
    fn run(mut self) {
        if let Some(post) = self.post.take() {
            post.work();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(post) = self.post.take() {
            post.close();
        }
    }
}

/// Settings of [`Workers`]. From [`Workers::builder`].
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{chan, pool}; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let workers = millpond::pool::Workers::builder(50)
///     .name("resize")
///     .queue(200)
///     .stack_size(16 << 10)
///     .build();
/// # workers.shutdown();
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct WorkersBuilder {
    limit: usize,
    queue: usize,
    name: Box<str>,
    stack_bytes: Option<usize>,
    idle_for: Duration,
}

impl WorkersBuilder {
    /// The name of the workers, for dumps, reports and panics. Default: `worker`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into().into_boxed_str();
        self
    }

    /// How many jobs may wait for a worker before a submit waits. Default: as many as workers.
    ///
    /// # Panics
    /// If it is 0: a job waits at least until its worker has started.
    pub fn queue(mut self, jobs: usize) -> Self {
        assert!(jobs > 0, "Workers: a queue of 0 jobs; expected at least 1");
        self.queue = jobs;
        self
    }

    /// At least so many bytes of stack for each worker, as
    /// [`GoBuilder::stack_size`](millpond_rt::GoBuilder::stack_size). Default: the runtime's.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// How long a worker without a job stays. Default: 10 seconds.
    pub fn idle_for(mut self, limit: Duration) -> Self {
        self.idle_for = limit;
        self
    }

    /// Makes the workers; none is started yet.
    ///
    /// # Panics
    /// If the limit is 0.
    pub fn build(self) -> Workers {
        assert!(self.limit > 0, "Workers: a limit of 0 workers; expected at least 1");
        let shared = Shared {
            queue: Queue::new(self.limit, self.queue),
            limit: self.limit,
            name: self.name,
            stack_bytes: self.stack_bytes,
            idle_for: self.idle_for,
        };
        Workers { owner: Arc::new(Owner(Arc::new(shared))) }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.shared().queue.numbers();
        f.debug_struct("Workers")
            .field("limit", &self.limit())
            .field("workers", &numbers.workers)
            .field("queued", &numbers.queued)
            .field("closed", &numbers.closed)
            .finish()
    }
}

/// The workers are closed and take no more jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("submitting a job to workers that are closed")
    }
}

impl std::error::Error for Closed {}

/// Why a job could not be queued at once. It is given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySubmitError<F> {
    /// The queue is full, and no worker is idle.
    Full(F),
    /// The workers are closed.
    Closed(F),
}

impl<F> TrySubmitError<F> {
    /// The job that was not queued.
    pub fn into_inner(self) -> F {
        match self {
            Self::Full(job) | Self::Closed(job) => job,
        }
    }
}

impl<F> fmt::Debug for TrySubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<F> fmt::Display for TrySubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("submitting a job to workers whose queue is full"),
            Self::Closed(_) => Closed.fmt(f),
        }
    }
}

impl<F> std::error::Error for TrySubmitError<F> {}
