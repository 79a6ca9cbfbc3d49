//! Tasks: futures that the scheduler polls, free to move between Ms at each await.
//!
//! The task's memory and its wake-up protocol are `async-task`'s (smol's). What is ours is where a
//! task is queued when it becomes due (like a fresh goroutine: it has no home), and on what it is
//! polled: a *runner*, a goroutine of the runtime's own. A task that calls a blocking form parks
//! the runner that polls it, and the M takes another; so blocking forms work everywhere. A runner
//! goes on from task to task without a switch while tasks are next in the queue. A task that waits is
//! known to its runtime, which wakes it at its end ([`registry`]).

mod registry;

pub(crate) use registry::Registry;

use crate::g::{Spec, cell};
use crate::handle::{JoinError, JoinHandle};
use crate::m::CurrentM;
use crate::panics::short_backtrace;
use crate::quiet::{drop_quietly, quietly};
use crate::runtime;
use crate::sched::Sched;
use crate::wait::{Outcome, WaitReason, Waiting};
use crate::work::{Kind, Work};
use async_task::{FallibleTask, ScheduleInfo, WithInfo};
use millpond_prim::sync::Lock;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Polls in a row before a runner lets the scheduler look around.
const POLLS: u32 = 64;

/// Runners that an M keeps when they have nothing to poll.
const IDLE_RUNNERS: usize = 4;

const RESUME: u16 = 0;
const DISMISS: u16 = 1;

/// Starts a task: a future that the scheduler polls on any thread. Its memory is the future's size
/// plus a small header; it needs no stack while it waits.
///
/// From a plain thread it goes to the runtime of the process, as [`crate::go`] does. A panic ends
/// the task only; the handle reports it. Dropping the handle detaches.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let task = millpond::spawn(async { 6 * 7 });
/// assert_eq!(task.join().unwrap(), 42);
/// # }).unwrap();
/// ```
#[track_caller]
pub fn spawn<F, T>(future: F) -> JoinHandle<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let m = CurrentM::get();
    let sched = match m {
        Some(m) => m.sched().keep_alive(),
        None => runtime::of_process(),
    };
    let origin = Origin { sched, location: Location::caller() };
    let (due, task) = async_task::Builder::new()
        .metadata(origin)
        .spawn(|_| Caught { future, place: Place(None) }, WithInfo(schedule));
    queue(due, false);
    JoinHandle::task(TaskHandle { state: Lock::new(State::Running(task.fallible(), cancel::<T>)) })
}

/// What every task carries beside its future. Lives as long as the last handle or waker, and keeps
/// the runtime for so long.
pub(crate) struct Origin {
    sched: Arc<Sched>,
    /// Where it was spawned.
    location: &'static Location<'static>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spawned at {}", self.location)
    }
}

/// A task that is due for a poll.
pub(crate) type Runnable = async_task::Runnable<Origin>;

/// Called by a waker that has made the task due. Captures nothing: `async-task` would hold the task
/// with a further count while it calls a function that captures.
fn schedule(due: Runnable, info: ScheduleInfo) {
    queue(due, info.woken_while_running);
}

/// Queues on this M if it is one of the task's runtime, where it comes last if it yielded.
///
/// Once pushed, the task may run to its end on another thread and let go of its runtime. This M
/// keeps its own; a foreign thread takes a count.
fn queue(due: Runnable, yielded: bool) {
    let sched = &due.metadata().sched;
    if sched.is_stopping() {
        return drop_quietly(due);
    }
    match CurrentM::get() {
        Some(m) if std::ptr::eq(m.sched(), &**sched) => {
            if yielded {
                m.push_last(Work::Task(due));
            } else {
                m.push_fresh(Work::Task(due));
            }
        }
        _ => sched.clone().inject(Work::Task(due)),
    }
}

/// The task's place in the [`Registry`] of the M where it first waited; given back when its future
/// is dropped.
struct Place(Option<Entry>);

struct Entry {
    /// Counted, because the end of the future may come on a thread of no runtime or of another.
    sched: Arc<Sched>,
    /// The registry's [`Place`](registry::Place) in two, so that there is room for `m`.
    index: u32,
    kind: u16,
    /// There are 1,024 at most.
    m: u16,
}

// With a word more, an idle task would be in malloc's next size.
const _: () = assert!(size_of::<Place>() == 16);

impl Place {
    /// Before the task waits: makes sure that the end of the runtime will wake it. `false` if that
    /// has come, so that nobody will.
    fn secure(&mut self, waker: &Waker) -> bool {
        // Tasks are polled by Ms of their own runtime only.
        let Some(m) = CurrentM::get() else { return false };
        // A waker that is registered may have been used up by the end before this poll began. (If
        // it is used during the poll, the task comes to `queue` again.)
        if m.sched().is_stopping() {
            return false;
        }
        if self.0.is_some() {
            return true;
        }
        let waker = waker.clone();
        let inserted = m.tasks.lock().insert(waker);
        let Ok(place) = inserted else { return false };
        let registry::Place { index, kind } = place;
        let here = u16::try_from(m.index).expect("1,024 Ms at most");
        self.0 = Some(Entry { sched: m.sched().keep_alive(), index, kind, m: here });
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let place = registry::Place { index: self.index, kind: self.kind };
        let waker = self.sched.m(self.m.into()).tasks.lock().remove(place);
        // After the lock.
        drop(waker);
    }
}

pin_project_lite::pin_project! {
    /// A future whose panic is a result.
    struct Caught<F> {
        #[pin]
        future: F,
        place: Place,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let poll = || short_backtrace(|| this.future.poll(cx));
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) if this.place.secure(cx.waker()) => Poll::Pending,
            // Nobody may wake it again: it would never be dropped, nor the runtime that it keeps.
            Ok(Poll::Pending) => Poll::Ready(Err(JoinError::cancelled())),
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(JoinError::panicked(payload))),
        }
    }
}

type Output<T> = Result<T, JoinError>;
type Cancelling<T> = Pin<Box<dyn Future<Output = Option<Output<T>>> + Send>>;
type Fallible<T> = FallibleTask<Output<T>, Origin>;

enum State<T> {
    /// The second field makes the third state; it knows that `T` is `Send`, as this type does not.
    Running(Fallible<T>, fn(Fallible<T>) -> Cancelling<T>),
    /// `abort` is at work.
    Busy,
    /// Aborted: resolves once the future has been dropped, or with the result that came first.
    Aborting(Cancelling<T>),
    /// The result is here: of an `abort` that had an end at once, or put back by a select.
    Ended(Option<Output<T>>),
    Gone,
}

fn cancel<T: Send + 'static>(task: Fallible<T>) -> Cancelling<T> {
    Box::pin(task.cancel())
}

/// The handle's side of a task.
pub(crate) struct TaskHandle<T> {
    /// Behind a lock because `abort` takes `&self`.
    state: Lock<State<T>>,
}

impl<T> TaskHandle<T> {
    pub(crate) fn is_finished(&self) -> bool {
        match &*self.state.lock() {
            State::Running(task, _) => task.is_finished(),
            State::Aborting(_) | State::Busy => false,
            State::Ended(_) | State::Gone => true,
        }
    }

    /// The result that a poll gave is to be given again.
    pub(crate) fn put_back(&mut self, output: Output<T>) {
        *self.state.get_mut() = State::Ended(Some(output));
    }

    /// Leaves the task to itself.
    fn let_go(&mut self) {
        if let State::Running(task, _) = std::mem::replace(self.state.get_mut(), State::Gone) {
            task.detach();
        }
    }

    pub(crate) fn abort(&self) {
        let (task, cancel) = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Busy) {
                State::Running(task, cancel) if !task.is_finished() => (task, cancel),
                other => {
                    *state = other;
                    return;
                }
            }
        };
        let mut cancelling = cancel(task);
        // The first poll marks the task, so that it is dropped soon even if nobody joins; it may
        // drop the future, so it runs outside the lock. What it resolves to is for whoever joins.
        let mut cx = Context::from_waker(Waker::noop());
        let next = match cancelling.as_mut().poll(&mut cx) {
            Poll::Ready(output) => State::Ended(output),
            Poll::Pending => State::Aborting(cancelling),
        };
        *self.state.lock() = next;
    }
}

impl<T> Unpin for TaskHandle<T> {}

impl<T> Future for TaskHandle<T> {
    type Output = Output<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = self.state.get_mut();
        let output = match state {
            State::Running(task, _) => std::task::ready!(Pin::new(task).poll(cx))
                .unwrap_or_else(|| Err(JoinError::cancelled())),
            State::Aborting(cancelling) => std::task::ready!(cancelling.as_mut().poll(cx))
                .unwrap_or_else(|| Err(JoinError::cancelled())),
            State::Ended(output) => output.take().unwrap_or_else(|| Err(JoinError::cancelled())),
            State::Busy | State::Gone => {
                panic!("JoinHandle: asked again after it gave its result")
            }
        };
        self.let_go();
        Poll::Ready(output)
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Polls `task` on a runner of this M; called by its scheduler.
pub(crate) fn run_on_runner(m: &CurrentM, task: Runnable) {
    m.local().task.set(Some(task));
    let idle = m.local().runners.borrow_mut().pop();
    match idle.and_then(|ticket| ticket.claim(RESUME)).and_then(|fired| fired.into_goroutine()) {
        Some(runner) => m.execute(runner),
        None => {
            let spec = Spec {
                restable: false,
                name: Some("task runner".into()),
                location: Location::caller(),
                class: m.sched().stack_class,
                system: true,
            };
            let (runner, handle) = cell::make(m.next_id(), spec, run_tasks);
            drop(JoinHandle::<()>::goroutine(handle));
            m.execute(runner);
        }
    }
    // No stack for a runner: poll here. A blocking form then blocks the thread, as on any thread.
    if let Some(task) = m.local().task.take() {
        poll(m, task);
    }
}

/// The body of a runner.
fn run_tasks() {
    loop {
        let m = CurrentM::get().expect("a runner is a goroutine");
        let mut polls = 0;
        while let Some(task) = m.local().task.take().or_else(|| next_task(&m, &mut polls)) {
            poll(&m, task);
        }
        if m.local().runners.borrow().len() >= IDLE_RUNNERS {
            return;
        }
        let waiting = Waiting::begin();
        m.local().runners.borrow_mut().push(waiting.ticket());
        if waiting.park(WaitReason::IdleRunner, None) == Outcome::Fired(DISMISS) {
            return;
        }
    }
}

/// The next task in this M's queue, if it is a runner's turn to go on.
fn next_task(m: &CurrentM, polls: &mut u32) -> Option<Runnable> {
    *polls += 1;
    if *polls >= POLLS || !m.p.has_licence() || m.has_messages() || m.local().has_ready() {
        return None;
    }
    m.note_switch();
    // What comes next may be a goroutine: it stays where it is.
    let work = match m.p.peek_next() {
        0 => m.p.pop_of(Kind::TASK)?,
        _ => m.p.take_next_of(Kind::TASK)?,
    };
    let Work::Task(task) = work else { unreachable!("of the kind that was asked for") };
    Some(task)
}

/// One poll, or the drop of a future that was aborted. The future's own panics are caught inside;
/// this is for panics of its drop.
fn poll(m: &CurrentM, task: Runnable) {
    let _whose = Polling::begin(m, task.metadata().location);
    quietly(|| {
        task.run();
    });
}

/// While a task is polled: the runner knows for whom, so that a panic or an overflow names the task
/// and not the runner.
struct Polling<'a>(Option<&'a Cell<Option<&'static Location<'static>>>>);

impl<'a> Polling<'a> {
    fn begin(m: &'a CurrentM, location: &'static Location<'static>) -> Self {
        // Without a runner there is nobody to know it.
        let whose = m.task_of_running();
        if let Some(whose) = whose {
            whose.set(Some(location));
        }
        Self(whose)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        if let Some(whose) = self.0 {
            whose.set(None);
        }
    }
}

/// Ends the idle runners of an M that wants to retire.
pub(crate) fn dismiss_runners(m: &CurrentM) {
    loop {
        let Some(ticket) = m.local().runners.borrow_mut().pop() else { return };
        if let Some(runner) = ticket.claim(DISMISS).and_then(|fired| fired.into_goroutine()) {
            m.execute(runner);
        }
    }
}

#[cfg(test)]
mod tests;
