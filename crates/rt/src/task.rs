//! Tasks: futures that the scheduler polls, free to move between Ms at each await.
//!
//! The task's memory and its wake-up protocol are `async-task`'s (smol's). What is ours is where a
//! task is queued when it becomes due (like a fresh goroutine: it has no home), and on what it is
//! polled: a *runner*, a goroutine of the runtime's own. A task that calls a blocking form parks
//! the runner that polls it, and the M takes another; so blocking forms work everywhere. A runner
//! goes on from task to task without a switch while tasks are next in the queue.

use crate::g::{Spec, cell};
use crate::handle::{JoinError, JoinHandle};
use crate::m::CurrentM;
use crate::panics::short_backtrace;
use crate::quiet::{drop_quietly, quietly};
use crate::runtime;
use crate::sched::Sched;
use crate::wait::{Outcome, WaitReason, Waiting};
use crate::work::Work;
use async_task::{FallibleTask, Runnable, ScheduleInfo, WithInfo};
use millpond_prim::sync::Lock;
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
    let sched = match CurrentM::get() {
        Some(m) => m.sched().keep_alive(),
        None => runtime::of_process(),
    };
    let m = CurrentM::get().map_or(0, |m| m.index);
    let guard = Registered {
        sched: sched.clone(),
        m,
        slot: vacant_slot(&sched, m),
        location: Location::caller(),
    };
    let slot = guard.slot;
    let home = sched.clone();
    let schedule = move |task: Runnable, info: ScheduleInfo| schedule(&sched, task, info);
    let (runnable, task) = async_task::spawn(Caught { future, guard }, WithInfo(schedule));
    register(&home, m, slot, runnable.waker());
    runnable.schedule();
    let task = task.fallible();
    JoinHandle::task(TaskHandle { state: Lock::new(State::Running(task, cancel::<T>)) })
}

/// The task's place in the registry that the end of the runtime wakes; given back when its future
/// is dropped.
struct Registered {
    sched: Arc<Sched>,
    m: u32,
    slot: u32,
    /// Where it was spawned.
    location: &'static Location<'static>,
}

/// While a future is polled: the runner knows for whom, so that a panic or an overflow names the
/// task and not the runner.
struct Polling(Option<&'static Location<'static>>);

impl Polling {
    fn begin(location: &'static Location<'static>) -> Self {
        Self(Self::set(Some(location)))
    }

    /// Returns what was set before: a task may be polled inside another's poll, by `block_on`.
    fn set(location: Option<&'static Location<'static>>) -> Option<&'static Location<'static>> {
        CurrentM::get()?.task_of_running()?.replace(location)
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        Self::set(self.0);
    }
}

/// A place for a waker that does not exist yet.
fn vacant_slot(sched: &Sched, m: u32) -> u32 {
    sched.m(m).tasks.lock().insert(None) as u32
}

/// Puts the waker in. If the runtime has ended meanwhile, nobody will look there again.
fn register(sched: &Sched, m: u32, slot: u32, waker: Waker) {
    if let Some(place) = sched.m(m).tasks.lock().get_mut(slot as usize) {
        *place = Some(waker);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // `None` if the end of the runtime took all of them. Dropped after the lock.
        let waker = self.sched.m(self.m).tasks.lock().try_remove(self.slot as usize);
        drop(waker);
    }
}

fn schedule(sched: &Arc<Sched>, task: Runnable, info: ScheduleInfo) {
    if sched.is_stopping() {
        return drop_quietly(task);
    }
    match CurrentM::get() {
        Some(m) if std::ptr::eq(m.sched(), &**sched) => {
            if info.woken_while_running {
                m.push_last(Work::Task(task));
            } else {
                m.push_fresh(Work::Task(task));
            }
        }
        _ => sched.inject(Work::Task(task)),
    }
}

pin_project_lite::pin_project! {
    /// A future whose panic is a result.
    struct Caught<F> {
        #[pin]
        future: F,
        guard: Registered,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _whose = Polling::begin(this.guard.location);
        let poll = || short_backtrace(|| this.future.poll(cx));
        match catch_unwind(AssertUnwindSafe(poll)) {
            // The end of the runtime may have used up the waker in the registry before this poll
            // began. Nobody may have another; the future would never be dropped, nor the runtime
            // that its guard holds. (A wake during the poll brings the task to `schedule` again.)
            Ok(Poll::Pending) if this.guard.sched.is_stopping() => {
                Poll::Ready(Err(JoinError::cancelled()))
            }
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(JoinError::panicked(payload))),
        }
    }
}

type Output<T> = Result<T, JoinError>;
type Cancelling<T> = Pin<Box<dyn Future<Output = Option<Output<T>>> + Send>>;
type Fallible<T> = FallibleTask<Output<T>>;

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
        *state = State::Gone;
        Poll::Ready(output)
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        if let State::Running(task, _) = std::mem::replace(self.state.get_mut(), State::Gone) {
            task.detach();
        }
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
        poll(task);
    }
}

/// The body of a runner.
fn run_tasks() {
    loop {
        let m = CurrentM::get().expect("a runner is a goroutine");
        let mut polls = 0;
        while let Some(task) = m.local().task.take().or_else(|| next_task(&m, &mut polls)) {
            poll(task);
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
    match m.p.take_next().or_else(|| m.p.pop())? {
        Work::Task(task) => Some(task),
        goroutine => {
            m.local().stash.set(Some(goroutine));
            None
        }
    }
}

/// One poll. The future's own panics are caught inside; this is for panics of its drop.
fn poll(task: Runnable) {
    quietly(|| {
        task.run();
    });
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
