//! Handles: waiting for a goroutine or a task, from wherever the caller is.
//!
//! A handle is the one joiner that the join word ([`crate::g::join`]) speaks of. It owns the
//! result from the end of the goroutine on; dropping the handle detaches.

use crate::context::{Context, ContextError};
use crate::g::GRef;
use crate::task::TaskHandle;
use crate::wait::{FutureWait, Outcome, Ticket, Until, WaitReason, Waiting};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{self, Poll, Waker};

/// Why a goroutine or a task gave no result.
pub struct JoinError(Cause);

enum Cause {
    Panic(Box<dyn Any + Send + 'static>),
    Cancelled,
    NoStack(String),
}

impl JoinError {
    /// It panicked with `payload`. For executors that answer as goroutines do.
    pub fn panicked(payload: Box<dyn Any + Send + 'static>) -> Self {
        Self(Cause::Panic(payload))
    }

    /// It was dropped before it had run. For executors that answer as goroutines do.
    pub fn cancelled() -> Self {
        Self(Cause::Cancelled)
    }

    pub(crate) fn no_stack(why: String) -> Self {
        Self(Cause::NoStack(why))
    }

    /// It panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Cause::Panic(_))
    }

    /// It was aborted, could not be given a stack, or its runtime ended first.
    pub fn is_cancelled(&self) -> bool {
        !self.is_panic()
    }

    /// The panic's payload, for [`std::panic::resume_unwind`].
    ///
    /// # Panics
    /// If it did not panic.
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        match self.0 {
            Cause::Panic(payload) => payload,
            other => panic!("JoinError::into_panic: it did not panic: {}", Self(other)),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Cancelled => f.write_str("cancelled"),
            Cause::NoStack(why) => write!(f, "not started: {why}"),
            Cause::Panic(payload) => match crate::panics::message(&**payload) {
                Some(message) => write!(f, "panicked: {message}"),
                None => f.write_str("panicked"),
            },
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}

/// The right to wait for a goroutine or task and take its result. Also a `Future`. Dropping it
/// detaches: what it stood for goes on.
///
/// `Send` exactly if `T` is.
pub struct JoinHandle<T>(Inner<T>);

enum Inner<T> {
    Goroutine(Goroutine<T>),
    Task(TaskHandle<T>),
}

impl<T> JoinHandle<T> {
    pub(crate) fn goroutine(g: GRef) -> Self {
        let wait = FutureWait::new();
        Self(Inner::Goroutine(Goroutine { g, wait, taken: false, result: PhantomData }))
    }

    pub(crate) fn task(task: TaskHandle<T>) -> Self {
        Self(Inner::Task(task))
    }

    /// Waits for the end and takes the result. Parks the goroutine, or blocks the plain thread.
    ///
    /// # Errors
    /// A [`JoinError`] if it panicked or was cancelled.
    pub fn join(mut self) -> Result<T, JoinError> {
        self.join_until(Until::Forever).expect("without a context there is none that could be done")
    }

    /// As [`join`](Self::join), until `ctx` is done. Then what is waited for goes on, and the
    /// handle may be used again.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// use millpond::{Context, go};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let mut handle = go(|| 42);
    /// cancel.cancel();
    /// assert!(handle.join_ctx(&ctx).is_err());
    /// assert_eq!(handle.join().unwrap(), 42);
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// The outer one: a [`ContextError`] if the context is done, before or meanwhile. The inner
    /// one: as [`join`](Self::join).
    ///
    /// # Panics
    /// If the handle has given its result already.
    pub fn join_ctx(&mut self, ctx: &Context) -> Result<Result<T, JoinError>, ContextError> {
        ctx.check()?;
        self.join_until(Until::Done(ctx))
    }

    fn join_until(&mut self, until: Until<'_>) -> Result<Result<T, JoinError>, ContextError> {
        match &mut self.0 {
            Inner::Goroutine(goroutine) => goroutine.join(until),
            Inner::Task(task) => crate::block_on::block_on_until(WaitReason::Join, until, task),
        }
    }

    /// Whether it has ended. Never waits.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Inner::Goroutine(goroutine) => goroutine.g.join.is_done(),
            Inner::Task(task) => task.is_finished(),
        }
    }

    /// Drops a task at its next await; keeps a goroutine that has not started from starting. A
    /// started goroutine cannot be stopped from outside and goes on. The handle is still to be
    /// joined: it answers what came first.
    pub fn abort(&self) {
        match &self.0 {
            Inner::Goroutine(goroutine) => goroutine.g.request_abort(),
            Inner::Task(task) => task.abort(),
        }
    }
}

/// What an arm of a select asks of a handle ([`crate::select`]).
impl<T> JoinHandle<T> {
    /// The result, if it has ended.
    pub(crate) fn take_if_ended(&mut self) -> Option<Result<T, JoinError>> {
        match &mut self.0 {
            Inner::Goroutine(goroutine) => goroutine.g.join.is_done().then(|| goroutine.take()),
            Inner::Task(task) => {
                match Pin::new(task).poll(&mut task::Context::from_waker(Waker::noop())) {
                    Poll::Ready(result) => Some(result),
                    Poll::Pending => None,
                }
            }
        }
    }

    /// Leaves `ticket`, to be claimed with `outcome` at the end; `false` if that has come.
    pub(crate) fn leave_ticket(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        match &mut self.0 {
            Inner::Goroutine(goroutine) => goroutine.enlist(ticket.clone(), outcome),
            Inner::Task(task) => {
                let waker = crate::select::waker(ticket.clone(), outcome);
                match Pin::new(&mut *task).poll(&mut task::Context::from_waker(&waker)) {
                    Poll::Pending => true,
                    Poll::Ready(result) => {
                        task.put_back(result);
                        false
                    }
                }
            }
        }
    }

    /// Takes the ticket back. (A task keeps a stale one, whose claim fails, to its end.)
    pub(crate) fn withdraw(&mut self) {
        if let Inner::Goroutine(goroutine) = &mut self.0 {
            goroutine.withdraw();
        }
    }
}

impl<T> Unpin for JoinHandle<T> {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Goroutine(goroutine) => goroutine.poll(cx),
            Inner::Task(task) => Pin::new(task).poll(cx),
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Goroutine(goroutine) => f.debug_tuple("JoinHandle").field(&goroutine.g).finish(),
            Inner::Task(task) => f
                .debug_struct("JoinHandle")
                .field("task", &"..")
                .field("finished", &task.is_finished())
                .finish(),
        }
    }
}

/// The handle of a goroutine.
struct Goroutine<T> {
    g: GRef,
    /// Used when the handle is awaited.
    wait: FutureWait,
    taken: bool,
    /// The result is ours to drop, so the handle is `Send` and `Sync` as the result is.
    result: PhantomData<T>,
}

impl<T> Goroutine<T> {
    fn join(&mut self, until: Until<'_>) -> Result<Result<T, JoinError>, ContextError> {
        self.withdraw();
        if !self.g.join.is_done() {
            let waiting = Waiting::begin();
            // SAFETY: this is the one handle (`&mut`), and its earlier wait is withdrawn.
            if unsafe { self.g.join.wait(waiting.ticket(), 0) }
                && let Outcome::Cancelled(error) = waiting.park_until(WaitReason::Join, until)
            {
                self.g.join.withdraw();
                return Err(error);
            }
        }
        Ok(self.take())
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<T, JoinError>> {
        if !self.wait.is_armed() {
            // A select that was forgotten while it waited has left a ticket.
            self.withdraw();
            let ticket = self.wait.arm();
            // SAFETY: this is the one handle (`&mut`), and its earlier wait is withdrawn.
            if !unsafe { self.g.join.wait(ticket, 0) } {
                self.wait.cancel();
                return Poll::Ready(self.take());
            }
        }
        self.wait.poll(cx).map(|_| self.take())
    }

    /// For a select: leaves `ticket`; `false` if the goroutine has ended.
    fn enlist(&mut self, ticket: Ticket, outcome: u16) -> bool {
        self.withdraw();
        // SAFETY: this is the one handle (`&mut`), and its earlier wait is withdrawn.
        unsafe { self.g.join.wait(ticket, outcome) }
    }

    /// Takes back the ticket of an earlier poll or select, if any: there is one slot.
    fn withdraw(&mut self) {
        self.g.join.withdraw();
        self.wait.cancel();
    }

    fn take(&mut self) -> Result<T, JoinError> {
        assert!(!self.taken, "JoinHandle: asked again after it gave its result");
        assert!(self.g.join.is_done(), "JoinHandle: woken before the end");
        self.taken = true;
        let mut output = MaybeUninit::<Result<T, JoinError>>::uninit();
        // SAFETY: DONE, so the result is the handle's; `taken` makes it once. The cell was made
        // with this T, for `goroutine` is called with what `make` returned.
        unsafe {
            (self.g.vtable().take_output)(self.g.as_nonnull(), output.as_mut_ptr().cast());
            output.assume_init()
        }
    }
}

impl<T> Drop for Goroutine<T> {
    fn drop(&mut self) {
        if !self.taken && self.g.join.detach() {
            // SAFETY: it has ended and nobody took the result: it is ours to drop.
            unsafe { (self.g.vtable().drop_output)(self.g.as_nonnull()) };
        }
    }
}

/// The handle of a goroutine started with `go_local`: as [`JoinHandle`], but tied to its thread,
/// because the closure and the result may be.
#[derive(Debug)]
pub struct LocalJoinHandle<T> {
    handle: JoinHandle<T>,
    not_send: PhantomData<*const ()>,
}

impl<T> LocalJoinHandle<T> {
    pub(crate) fn new(handle: JoinHandle<T>) -> Self {
        Self { handle, not_send: PhantomData }
    }

    /// As [`JoinHandle::join`].
    ///
    /// # Errors
    /// As there.
    pub fn join(self) -> Result<T, JoinError> {
        self.handle.join()
    }

    /// As [`JoinHandle::join_ctx`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn join_ctx(&mut self, ctx: &Context) -> Result<Result<T, JoinError>, ContextError> {
        self.handle.join_ctx(ctx)
    }

    /// As [`JoinHandle::is_finished`].
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// As [`JoinHandle::abort`].
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> LocalJoinHandle<T> {
    /// The handle below. Whoever gets it is on the same thread, for `self` is.
    pub(crate) fn handle_mut(&mut self) -> &mut JoinHandle<T> {
        &mut self.handle
    }
}

impl<T> Future for LocalJoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx)
    }
}
