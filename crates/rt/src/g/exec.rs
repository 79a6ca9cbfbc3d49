//! The stack side of a goroutine: its coroutine, and the way back to the scheduler.
//!
//! Everything here is touched by one thread, the goroutine's M; [`super::G::exec`] asks for that
//! thread's token. The coroutine sits in `ManuallyDrop`, because dropping a suspended one would
//! unwind its stack from outside: a goroutine that never ends keeps its stack for ever instead
//! (something may be pinned there).

use crate::poll_stack::Ground;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use millpond_stack::{SlotInfo, Stack};
use std::cell::{Cell, UnsafeCell};
use std::mem::{ManuallyDrop, size_of};
use std::panic::Location;
use std::ptr;
use std::sync::OnceLock;

/// The lines of a stack that a goroutine touches as it goes on: its own frame and that of a send or receive.
const PREFETCH: usize = 4;

type Co = Coroutine<(), (), (), Stack>;

/// Coroutine and yielder of one goroutine. See the module documentation.
pub(crate) struct Exec {
    /// `None` before the first run and after the end.
    co: UnsafeCell<Option<ManuallyDrop<Co>>>,
    /// Where its stack was left last: a hint for the cache.
    top: Cell<*const u8>,
    /// Points into the goroutine's own stack; valid from its first run to its end.
    yielder: Cell<*const Yielder<(), ()>>,
    /// In the registry of its M.
    pub(crate) registered: Cell<bool>,
    /// Of a runner: where the task that it polls was spawned.
    pub(crate) task: Cell<Option<&'static Location<'static>>>,
    /// The last park was an accept: what this goroutine starts is spread.
    pub(crate) accepted: Cell<bool>,
    /// When the timer of its park is due, on the coarse clock; 0 without one.
    pub(crate) wakes_ns: Cell<u64>,
    /// The stack is at rest, and has to be woken before it is resumed.
    pub(crate) at_rest: Cell<bool>,
    /// Reasons to keep the stack warm that are in force (`crate::rest::Pin`).
    pub(crate) pins: Cell<u16>,
    /// For which park the pages below the stack pointer were given back.
    pub(crate) shrunk: Cell<u16>,
    /// On whose stack it is.
    pub(crate) ground: Cell<Ground>,
}

/// Where a suspended coroutine keeps its stack pointer, in words from its start.
static SAVED_AT: OnceLock<Option<usize>> = OnceLock::new();

const CO_WORDS: usize = size_of::<Co>() / size_of::<usize>();

impl Exec {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            co: UnsafeCell::new(None),
            top: Cell::new(ptr::null()),
            yielder: Cell::new(ptr::null()),
            registered: Cell::new(false),
            task: Cell::new(None),
            accepted: Cell::new(false),
            wakes_ns: Cell::new(0),
            at_rest: Cell::new(false),
            pins: Cell::new(0),
            shrunk: Cell::new(0),
            ground: Cell::new(Ground::Own),
        }
    }

    /// On the stack of its first run, from which `away` leads back.
    #[inline]
    pub(super) fn begin(&self, away: Away) {
        self.yielder.set(away.0);
    }

    /// After its first suspension: the stack is its own.
    #[inline]
    pub(crate) fn settle(&self, fresh: Fresh) {
        // SAFETY: this thread alone touches `co`, and nothing is resumed before it is set.
        unsafe { *self.co.get() = Some(fresh.0) };
    }

    /// Switches to the goroutine. `Some(stack)` when it has ended, `None` when it has suspended.
    #[inline]
    pub(crate) fn resume(&self) -> Option<Stack> {
        // SAFETY: this thread alone touches `co`, and the running goroutine does not (it uses the
        // yielder), so the exclusive borrow is the only one while it runs.
        let slot = unsafe { &mut *self.co.get() };
        let co = slot.as_mut().expect("resume: the goroutine has no stack");
        match co.resume(()) {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(()) => {
                let co = slot.take().expect("present a line above");
                self.yielder.set(ptr::null());
                Some(ManuallyDrop::into_inner(co).into_stack())
            }
        }
    }

    /// It will run soon: has the top of its stack brought nearer.
    #[inline]
    pub(crate) fn warm(&self) {
        let top = self.top.get();
        for line in 0..PREFETCH {
            let line = top.wrapping_add(line * 64).cast();
            // SAFETY: a prefetch of whatever address does nothing that a program could see.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line)
            };
            #[cfg(not(target_arch = "x86_64"))]
            let _: *const i8 = line;
        }
    }

    /// On the goroutine's stack: switches to the scheduler, and returns when resumed. Part of its
    /// caller: see [`crate::m::park`](super::super::m) on returns that the processor can predict.
    #[inline(always)]
    pub(crate) fn suspend(&self) {
        debug_assert!(!self.yielder.get().is_null());
        let here = 0u8;
        self.top.set(&raw const here);
        // SAFETY: set at the first run, and the caller is that run.
        unsafe { &*self.yielder.get() }.suspend(());
    }

    /// Whether [`Self::saved_sp`] knows where to look. Asks a coroutine of its own on the stack that
    /// `take` gives, the first time: the coroutine does not tell its stack pointer, but the one word of it
    /// that changes between its start and its first suspension is that.
    pub(crate) fn knows_saved_sp(take: impl FnOnce() -> Option<Stack>) -> bool {
        let found = SAVED_AT.get_or_init(|| {
            let stack = take()?;
            let inside = stack.limit_addr()..stack.base_addr();
            // SAFETY: `away` leads from the very stack on which this runs.
            let mut fresh = Fresh::new(stack, |away| unsafe { &*away.0 }.suspend(()));
            let before = words(&fresh.0);
            let suspended = matches!(fresh.0.resume(()), CoroutineResult::Yield(()));
            let after = words(&fresh.0);
            let ended = suspended && fresh.run().is_ok();
            if !ended {
                return None;
            }
            let mut changed = (0..CO_WORDS).filter(|&word| before[word] != after[word]);
            let at = changed.next().filter(|&word| inside.contains(&after[word]))?;
            changed.next().is_none().then_some(at)
        });
        found.is_some()
    }

    /// The stack pointer of the suspended goroutine, below which nothing is live; `None` if it is not
    /// on its own stack, or has none.
    pub(crate) fn saved_sp(&self) -> Option<usize> {
        let (sp, own) = self.suspended_at()?;
        (own.limit..own.base).contains(&sp).then_some(sp)
    }

    /// The stack pointer of the suspended goroutine, wherever that is, and its own stack.
    pub(crate) fn suspended_at(&self) -> Option<(usize, SlotInfo)> {
        // SAFETY: nobody else touches `co`: this is its thread, or one that keeps it from being resumed; and it
        // does not run, since the caller is not on its stack.
        let co = unsafe { &*self.co.get() }.as_ref()?;
        let sp = words(co)[(*SAVED_AT.get()?)?];
        // The yielder is at the base of its own stack.
        Some((sp, millpond_stack::lookup(self.yielder.get() as usize)?))
    }

    /// On the goroutine's stack: runs `f` on the M's own, which has room for anything.
    pub(crate) fn on_thread_stack<R>(&self, f: impl FnOnce() -> R) -> R {
        // The whole wrapper is captured, not its field: that is what carries the `Send`.
        let f = SameThread(f);
        // SAFETY: as in `suspend`.
        unsafe { &*self.yielder.get() }.on_parent_stack(move || f.call())
    }
}

/// The way from a stack back to the scheduler.
#[derive(Clone, Copy)]
pub(crate) struct Away(*const Yielder<(), ()>);

impl Away {
    /// On that stack, between two goroutines, or in what is called there: runs `f` on the M's own, which has room
    /// for anything. No goroutine runs, so nothing in `f` can park one.
    ///
    /// # Safety
    /// The body of [`Fresh::new`] that was given this has not returned, and has not suspended.
    pub(crate) unsafe fn on_thread_stack<R>(self, f: impl FnOnce() -> R) -> R {
        let f = SameThread(f);
        // SAFETY: the yielder lives while the body runs, and the M's own stack waits for it.
        unsafe { &*self.0 }.on_parent_stack(move || f.call())
    }
}

/// A stack for first runs. It becomes the stack of the first goroutine that suspends on it.
pub(crate) struct Fresh(ManuallyDrop<Co>);

impl Fresh {
    /// `body` runs on the stack at [`resume`](Self::resume) and must not unwind.
    #[inline]
    pub(crate) fn new(stack: Stack, body: impl FnOnce(Away) + 'static) -> Self {
        let co = Co::with_stack(stack, move |yielder, ()| body(Away(yielder)));
        Self(ManuallyDrop::new(co))
    }

    /// Switches to the stack. The stack if `body` has come to its end; else a goroutine has
    /// suspended, and what is returned is to [settle](Exec::settle) with it.
    #[inline]
    pub(crate) fn run(mut self) -> Result<Stack, Self> {
        match self.0.resume(()) {
            CoroutineResult::Yield(()) => Err(self),
            CoroutineResult::Return(()) => Ok(ManuallyDrop::into_inner(self.0).into_stack()),
        }
    }
}

/// A coroutine as words.
fn words(co: &Co) -> [usize; CO_WORDS] {
    // SAFETY: a coroutine is words, of pointers and numbers, without padding between them.
    unsafe { ptr::from_ref(co).cast::<[usize; CO_WORDS]>().read() }
}

/// corosensei asks for `Send` so that no yielder reaches the parent's stack, where suspending would
/// be wrong. Ours is private to this file, and `CurrentM::on_thread_stack` hides the goroutine
/// while `f` runs, so nothing in `f` can park it.
struct SameThread<F>(F);

// SAFETY: the parent stack is this same thread's, since a started goroutine never leaves its M; and
// no yielder can be reached from `F`, as said above.
unsafe impl<F> Send for SameThread<F> {}

impl<R, F: FnOnce() -> R> SameThread<F> {
    fn call(self) -> R {
        (self.0)()
    }
}
