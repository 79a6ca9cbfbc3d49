//! M: a thread of the scheduler.
//!
//! An M owns what must not be shared to be fast: the goroutines that were started on it and are
//! runnable, a cache of stacks, the coroutine that runs right now. It shares what others need to
//! reach it: an inbox, a bell, a poller, timers, a registry for dumps.
//!
//! ```text
//!            others                               this thread (run.rs)
//!   ready ──▶ inbox ──▶┐                    ┌───────────────┐
//!   work  ◀── ring  ◀──┼── Local: ready ──▶ │ pick, execute │ ──▶ goroutine on its stack
//!   event ──▶ poller ─▶┘          next      └──────┬────────┘      │ suspend: Request
//!   timer ──▶ timers                               └◀──────────────┘ commit, requeue, end
//!                                            nothing to do: search.rs, then sleep.rs
//! ```
//!
//! [`CurrentM`] is the proof that the code runs on the M's thread. It is not `Send`, it can only
//! be had from the thread-local, and it alone opens [`Local`], so safe code cannot touch another
//! M's queues.
//!
//! Ms are made once and live as long as their runtime. A *retired* M has no thread; its record is
//! used for the next thread that is needed.

pub(crate) mod close;
mod first;
mod local;
mod offer;
mod park;
mod place;
mod run;
mod search;
mod sleep;

pub(crate) use local::Local;
pub(crate) use place::Placement;
pub(crate) use run::thread_main;
pub(crate) use search::RIPE_NS;

use crate::first_run::{FirstRun, Seen};
use crate::g::exec::Away;
use crate::g::registry::Registry;
use crate::g::{G, GInbox, GRef};
use crate::io::Poller;
use crate::p::P;
use crate::poll_stack::Ground;
use crate::queue::idle::SleepWord;
use crate::sched::Sched;
use crate::timers::Timers;
use millpond_prim::sync::Lock;
use millpond_stack::SizeClass;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

thread_local! {
    /// The M of this thread; null on threads that are not the scheduler's.
    static CURRENT: Cell<*const M> = const { Cell::new(ptr::null()) };
}

/// Numbers of goroutines that an M takes at a time.
const ID_BLOCK: u32 = 64;

/// One thread of the scheduler. See the module documentation.
pub(crate) struct M {
    pub(crate) index: u32,
    /// The runtime that owns this record.
    sched: *const Sched,
    pub(crate) p: P,
    pub(crate) poller: Arc<Poller>,
    pub(crate) timers: Timers,
    inbox: GInbox,
    /// Threads inside [`M::post`]. Atomic: the record is not freed before it is 0.
    posting: AtomicUsize,
    pub(crate) bell: SleepWord,
    /// Goroutines that were started here and have not ended. Written by this thread, read by all.
    pub(crate) live: AtomicUsize,
    /// Goroutines placed here that have not started. Atomic.
    pub(crate) arriving: AtomicUsize,
    /// The live ones themselves, from their first suspension on. Protected by its lock.
    pub(crate) registry: Registry,
    /// The live one that has not suspended yet. Written by this thread, read by all.
    pub(crate) first_run: FirstRun,
    /// When its parked goroutines are to be looked at again, on the coarse clock; `NEVER`: nothing is left to do.
    /// Written by this thread before it enters the idle list, read by sysmon, which wakes it then.
    pub(crate) rest_due_ns: AtomicU64,
    /// What `local.cells` holds. Written by this thread, read by all.
    pub(crate) spare_cell_bytes: AtomicUsize,
    /// Odd while a goroutine runs; changes at each switch. Written by this thread, read by sysmon.
    pub(crate) switches: AtomicU64,
    /// Operations on channels and locks that goroutines here finished, or began to wait for; counted
    /// when they leave their stacks. Written by this thread, read by thieves.
    pub(crate) talks: AtomicU64,
    /// The running goroutine, or null. Written by this thread; others may compare, not follow.
    running: AtomicPtr<G>,
    /// sysmon: the running goroutine should yield at its next chance.
    pub(crate) yield_requested: AtomicBool,
    /// When sysmon last saw one goroutine keep this M from all others, on the coarse clock; 0 for
    /// never. Written by sysmon.
    pub(crate) hogged_ns: AtomicU64,
    /// The tasks that first waited here and have not ended, for the end of the runtime.
    pub(crate) tasks: Lock<crate::task::Registry>,
    /// The kernel's number of this thread; 0 when retired. Written by this thread.
    pub(crate) tid: AtomicI32,
    /// The M that polls this one's epoll while this one is stuck or retired. Protected by the lock.
    pub(crate) adopted_by: Lock<Option<u32>>,
    /// Pollers of others that this M's poller contains. Atomic.
    pub(crate) adoptees: AtomicUsize,
    /// Whether `adopted_by` is set, to be asked without the lock. Written under it.
    pub(crate) is_adopted: AtomicBool,
    /// What dumps ask of this M.
    #[cfg(feature = "frames")]
    pub(crate) survey: crate::trace::Survey,
    /// Touched by this M's thread alone, through [`CurrentM`].
    local: Local,
}

// SAFETY: everything but `local` is atomic or locked; `local` is reached through CurrentM alone,
// which exists on one thread. `sched` points to the owner of this record.
unsafe impl Sync for M {}
// SAFETY: as above.
unsafe impl Send for M {}

impl M {
    pub(crate) fn new(index: u32, sched: *const Sched) -> std::io::Result<Self> {
        Ok(Self {
            index,
            sched,
            p: P::new(),
            poller: Poller::new()?,
            timers: Timers::new(),
            inbox: GInbox::new(),
            posting: AtomicUsize::new(0),
            bell: SleepWord::new(),
            live: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            registry: Registry::new(),
            first_run: FirstRun::new(),
            rest_due_ns: AtomicU64::new(crate::timers::NEVER),
            spare_cell_bytes: AtomicUsize::new(0),
            switches: AtomicU64::new(0),
            talks: AtomicU64::new(0),
            running: AtomicPtr::new(ptr::null_mut()),
            yield_requested: AtomicBool::new(false),
            hogged_ns: AtomicU64::new(0),
            tasks: Lock::default(),
            tid: AtomicI32::new(0),
            adopted_by: Lock::new(None),
            adoptees: AtomicUsize::new(0),
            is_adopted: AtomicBool::new(false),
            #[cfg(feature = "frames")]
            survey: crate::trace::Survey::new(),
            local: Local::new(),
        })
    }

    /// The runtime that this M belongs to.
    #[inline]
    pub(crate) fn sched(&self) -> &Sched {
        // SAFETY: the runtime owns this record and is not freed before it.
        unsafe { &*self.sched }
    }

    /// Anyone: a goroutine of this M has become runnable.
    ///
    /// Until the push the goroutine keeps the M alive: it is parked there. After it the M may run
    /// it to its end, and with it the runtime, while we are still about to ring. `posting` keeps
    /// the record for so long; leaving is the last access to it.
    pub(crate) fn post(&self, g: GRef) {
        self.posting.fetch_add(1, Ordering::Relaxed);
        self.inbox.push(g);
        if self.bell.ring() {
            self.poller.notify();
        }
        self.posting.fetch_sub(1, Ordering::Release);
    }

    /// A goroutine is about to be queued here for its first run.
    fn count_in(&self, g: &GRef) {
        g.placed.store(true, Ordering::Relaxed);
        self.arriving.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until nobody is inside [`M::post`]: the record is about to be freed.
    pub(crate) fn wait_for_posters(&self) {
        while self.posting.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
    }

    /// Takes what is in the inbox. Its own thread does this, and when the runtime has ended anyone.
    pub(crate) fn empty_inbox(&self, each: impl FnMut(GRef)) {
        self.inbox.take(each);
    }

    /// Anyone: makes this M look at everything again before it sleeps.
    pub(crate) fn rouse(&self) {
        if self.bell.ring_surely() {
            self.poller.notify();
        }
    }

    /// sysmon: wakes this M if it sleeps. If it does not, it looks at everything before it does.
    pub(crate) fn nudge(&self) {
        if self.bell.ring() {
            self.poller.notify();
        }
    }

    /// Whether something waits for this M's own turn.
    pub(crate) fn has_messages(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether a goroutine runs on this M right now. A hint.
    pub(crate) fn is_inside(&self) -> bool {
        !self.switches.load(Ordering::Acquire).is_multiple_of(2)
    }

    /// The running goroutine, to be compared with, never followed.
    #[inline]
    pub(crate) fn running_ptr(&self) -> *const G {
        self.running.load(Ordering::Relaxed)
    }
}

/// The M of the calling thread. See the module documentation.
#[derive(Clone, Copy)]
pub(crate) struct CurrentM {
    m: NonNull<M>,
    /// Not `Send`, not `Sync`: this is the proof of being on that thread.
    here: PhantomData<*const ()>,
}

impl std::ops::Deref for CurrentM {
    type Target = M;
    #[inline]
    fn deref(&self) -> &M {
        // SAFETY: the thread holds its runtime alive while CURRENT is set (see `run::thread_main`).
        unsafe { self.m.as_ref() }
    }
}

impl CurrentM {
    /// The M of this thread, if it is one.
    #[inline]
    pub(crate) fn get() -> Option<Self> {
        let m = NonNull::new(CURRENT.get().cast_mut())?;
        Some(Self { m, here: PhantomData })
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *const M {
        self.m.as_ptr()
    }

    /// What this thread alone may touch.
    #[inline]
    pub(crate) fn local(&self) -> &Local {
        &self.m_ref().local
    }

    #[inline]
    fn m_ref(&self) -> &M {
        // SAFETY: as in `deref`.
        unsafe { self.m.as_ref() }
    }

    /// The goroutine that runs on this thread, if the code is on its stack.
    #[inline]
    pub(crate) fn running(&self) -> Option<GRef> {
        self.this().map(|g| GRef::clone(&g))
    }

    /// As [`running`](Self::running), without a count of its own: for the goroutine itself, on its stack.
    #[inline]
    pub(crate) fn this(&self) -> Option<ManuallyDrop<GRef>> {
        let g = NonNull::new(self.running.load(Ordering::Relaxed))?;
        // SAFETY: `execute` or the registry holds a reference while it runs, and this is its thread.
        // Never dropped, so it need not be counted.
        Some(ManuallyDrop::new(unsafe { GRef::from_raw(g) }))
    }

    /// Tells sysmon that this M makes progress although the same goroutine runs (a runner that
    /// goes from task to task). Keeps the parity.
    pub(crate) fn note_switch(&self) {
        self.switches.store(self.switches.load(Ordering::Relaxed) + 2, Ordering::Release);
    }

    /// A number for a new goroutine. Taken from a block, so that Ms do not meet at a counter.
    pub(crate) fn next_id(&self) -> u64 {
        let (id, left) = match self.local().ids.get() {
            (_, 0) => (crate::spawn::take_ids(ID_BLOCK), ID_BLOCK),
            block => block,
        };
        self.local().ids.set((id + 1, left - 1));
        id
    }

    /// A goroutine is about to run here for the first time: from now on dumps see it.
    #[inline]
    fn enlist(&self, g: &GRef) {
        if g.spec.name.is_some() {
            return self.register(g);
        }
        self.first_run.announce(Seen {
            id: g.id,
            location: g.spec.location,
            stack_bytes: g.spec.class.usable_bytes(),
        });
    }

    /// A goroutine of this M is about to leave its stack: from now on the registry keeps it.
    #[inline]
    fn keep(&self, g: &GRef) {
        if !g.exec(self).registered.get() {
            self.register(g);
        }
    }

    #[cold]
    fn register(&self, g: &GRef) {
        debug_assert!(!g.exec(self).registered.get());
        let mut registered = self.registry.lock();
        // SAFETY: `registered`, which this thread alone touches, says that it is in none.
        unsafe { registered.insert(g.clone()) };
        self.first_run.forget();
        drop(registered);
        g.exec(self).registered.set(true);
    }

    /// A goroutine of this M has ended: dumps do not see it any more.
    #[inline]
    fn dismiss(&self, g: &GRef) {
        if g.exec(self).registered.get() {
            g.exec(self).registered.set(false);
            let mut registered = self.registry.lock();
            // SAFETY: `registered` was set by `register`, and `exec` is of goroutines of this M.
            let held = unsafe { registered.remove(g) };
            drop(registered);
            drop(held);
        } else {
            self.first_run.forget();
        }
    }

    /// Where the task that is polled by the running goroutine was spawned, to be read and set.
    pub(crate) fn task_of_running(&self) -> Option<&Cell<Option<&'static Location<'static>>>> {
        let g = NonNull::new(self.running.load(Ordering::Relaxed))?;
        // SAFETY: a reference is held while it runs, as above, and the caller, who is this very
        // goroutine, is done with the cell before it ends.
        Some(&unsafe { g.as_ref() }.exec(self).task)
    }

    /// The reasons to keep the running goroutine's stack warm, and what is noted of them.
    pub(crate) fn pins_of_running(&self) -> Option<(&Cell<u16>, &crate::rest::Note)> {
        let g = NonNull::new(self.running.load(Ordering::Relaxed))?;
        // SAFETY: as above: the caller is this very goroutine, and done with them before it ends.
        let g = unsafe { g.as_ref() };
        Some((&g.exec(self).pins, &g.rest))
    }

    /// On the running goroutine's stack: switches to the scheduler, and returns when resumed. Nothing
    /// happens when no goroutine runs.
    #[inline(always)]
    fn suspend_running(&self) {
        if let Some(g) = NonNull::new(self.running.load(Ordering::Relaxed)) {
            // SAFETY: while it is suspended the registry of this M refers to it, which the callers
            // have seen to (`keep`); before and after, whoever runs it does.
            unsafe { g.as_ref() }.exec(self).suspend();
        }
    }

    /// A goroutine is about to have its first run, and its count is kept with `running`.
    #[inline]
    fn keep_running(&self, g: GRef) {
        self.running.store(g.into_raw().as_ptr(), Ordering::Relaxed);
    }

    /// The count that [`keep_running`](Self::keep_running) gave away. Once for each.
    #[inline]
    fn take_running(&self) -> GRef {
        let g = NonNull::new(self.running.load(Ordering::Relaxed));
        let g = g.expect("a first run is of somebody");
        // SAFETY: given away with this pointer, and the caller, on this thread, takes it once: what
        // has ended or suspended is not `running` any more.
        unsafe { GRef::from_raw(g) }
    }

    /// On a stack from which `away` leads: the first run of the goroutine that is kept with `running`, to
    /// its end.
    #[inline]
    fn run_running(&self, away: Away) {
        let Some(g) = NonNull::new(self.running.load(Ordering::Relaxed)) else { return };
        // SAFETY: fresh and of this M, and counted: by `running`, and from its first suspension until
        // after the last instruction of the run by the registry.
        unsafe { G::run_first(g, self, away) };
    }

    /// On whose stack the running goroutine is, to be read and set, and the size of its own.
    #[inline]
    pub(crate) fn ground_of_running(&self) -> Option<(&Cell<Ground>, SizeClass)> {
        let g = NonNull::new(self.running.load(Ordering::Relaxed))?;
        // SAFETY: as in `task_of_running`.
        let g = unsafe { g.as_ref() };
        Some((&g.exec(self).ground, g.spec.class))
    }

    /// Whether the code is on a goroutine's stack.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        !self.running.load(Ordering::Relaxed).is_null()
    }

    /// Runs `f` on the thread's own stack, as a plain thread would: `f` sees no goroutine, so what
    /// blocks in it blocks the thread.
    pub(crate) fn on_thread_stack<R>(&self, f: impl FnOnce() -> R) -> R {
        let Some(g) = self.running() else { return self.leave_between(f) };
        let _back = RunningAgain { m: *self, g: g.as_ptr().cast_mut() };
        self.running.store(ptr::null_mut(), Ordering::Relaxed);
        g.exec(self).on_thread_stack(f)
    }
}

impl CurrentM {
    /// As [`on_thread_stack`](Self::on_thread_stack) where no goroutine runs: the code may be on the stack of one that
    /// has ended.
    fn leave_between<R>(&self, f: impl FnOnce() -> R) -> R {
        // Taken: `f` is not between any more.
        let Some(away) = self.local().between.take() else { return f() };
        let _back = BetweenAgain { m: *self, away };
        // SAFETY: `first_runs` lends it while it runs on that stack, and there is nobody who could suspend.
        unsafe { away.on_thread_stack(f) }
    }
}

/// Puts the way back again, also when `f` unwinds.
struct BetweenAgain {
    m: CurrentM,
    away: Away,
}

impl Drop for BetweenAgain {
    fn drop(&mut self) {
        self.m.local().between.set(Some(self.away));
    }
}

/// Puts the running goroutine back, also when `f` unwinds.
struct RunningAgain {
    m: CurrentM,
    g: *mut G,
}

impl Drop for RunningAgain {
    fn drop(&mut self) {
        self.m.running.store(self.g, Ordering::Relaxed);
    }
}
