//! G: a goroutine, from `go` to the reading of its result.
//!
//! One block of memory holds everything ([`cell`]): this header, then the closure, and in its place
//! later the result. A [`GRef`] is a counted pointer to the header. Who holds references: the
//! handle; the queue in which the goroutine waits to run; its M while it runs for the first time,
//! and from its first suspension to its end the registry of the M; and every ticket of a wait of
//! its own.
//!
//! ```text
//!  go ─▶ FRESH ──first run: a stack is attached, the M becomes its own──▶ RUNNING ──▶ DONE
//!          │                                                    ▲   │ park, commit
//!          └─ abort, runtime ends: the closure is dropped       │   ▼
//!                                                   RUNNABLE ◀──┴─ WAITING
//! ```
//!
//! A FRESH goroutine is a closure without a stack: if it is `Send`, any P may run it. Once started
//! it belongs to one M for ever, because Rust cannot check what its stack refers to (thread-locals,
//! `Rc`, guards).
//!
//! What protects the fields: `refs`, `wait`, `join`, `status`, `reason`, `since_ns`, `abort` are
//! atomics with protocols of their own. `link` belongs to the inbox that the goroutine is in.
//! `exec` is touched by the thread of its M alone. The rest is written before the first reference
//! is shared.

pub(crate) mod cell;
pub(crate) mod exec;
pub(crate) mod join;
pub(crate) mod registry;
pub(crate) mod store;

use crate::m::{CurrentM, M};
use crate::queue::inbox::{Inbox, Linked};
use crate::wait::{Place, WaitReason, WaitWord};
use exec::{Away, Exec};
use join::JoinWord;
use millpond_stack::SizeClass;
use registry::Links;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Where a goroutine is in its life. For dumps: the truth is in the queues and the wait word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Not started: a closure without a stack.
    Fresh = 0,
    /// Started, and waiting for its M.
    Runnable = 1,
    /// On its M.
    Running = 2,
    /// Parked; the reason says why.
    Waiting = 3,
    /// Ended.
    Done = 4,
}

impl Status {
    fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Fresh,
            1 => Self::Runnable,
            2 => Self::Running,
            3 => Self::Waiting,
            _ => Self::Done,
        }
    }
}

/// What is decided about a goroutine before it starts.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: Option<Box<str>>,
    pub(crate) location: &'static Location<'static>,
    pub(crate) class: SizeClass,
    /// One of the runtime's own: polls tasks, is left out of dumps and counts.
    pub(crate) system: bool,
    /// Whether its stack may be put to rest.
    pub(crate) restable: bool,
}

/// The header of a goroutine. See the module documentation.
#[repr(C)]
pub(crate) struct G {
    refs: AtomicU32,
    status: AtomicU8,
    reason: AtomicU8,
    /// Set by `JoinHandle::abort`, looked at before the first run.
    abort: AtomicBool,
    /// Counted in `arriving` of the M that it was placed on. Written before it is queued there.
    pub(crate) placed: AtomicBool,
    wait: WaitWord,
    /// What is known of its stack's rest. Atomic: written by its M, read by dumps.
    pub(crate) rest: crate::rest::Note,
    /// Protected by the lock of the line that the goroutine waits in; else by being the one that runs.
    place: Place,
    link: AtomicPtr<G>,
    /// Null until the first run; then the M that it belongs to.
    m: AtomicPtr<M>,
    /// When it parked or became runnable, on the runtime's coarse clock.
    since_ns: AtomicU64,
    /// Touched by the thread of `m` alone.
    exec: Exec,
    vtable: &'static cell::VTable,
    pub(crate) join: JoinWord,
    /// Protected by the lock of the registry of `m`.
    links: Links,
    pub(crate) id: u64,
    pub(crate) spec: Spec,
}

// SAFETY: every shared field is an atomic or protected as the module documentation says; `exec` is
// reached through methods that demand the token of the M's own thread.
unsafe impl Sync for G {}
// SAFETY: as above.
unsafe impl Send for G {}

// SAFETY: `link` is private to this module and given out here alone; the inbox holds a reference.
unsafe impl Linked for G {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

impl G {
    #[inline(always)]
    fn new(vtable: &'static cell::VTable, id: u64, spec: Spec, refs: u32) -> Self {
        Self {
            refs: AtomicU32::new(refs),
            status: AtomicU8::new(Status::Fresh as u8),
            reason: AtomicU8::new(0),
            abort: AtomicBool::new(false),
            placed: AtomicBool::new(false),
            wait: WaitWord::new(),
            rest: crate::rest::Note::new(),
            place: Place::new(),
            link: AtomicPtr::new(ptr::null_mut()),
            m: AtomicPtr::new(ptr::null_mut()),
            since_ns: AtomicU64::new(0),
            exec: Exec::new(),
            vtable,
            join: JoinWord::new(),
            links: Links::new(),
            id,
            spec,
        }
    }

    pub(crate) fn status(&self) -> Status {
        Status::from_u8(self.status.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_status(&self, status: Status) {
        self.status.store(status as u8, Ordering::Relaxed);
    }

    pub(crate) fn reason(&self) -> WaitReason {
        WaitReason::from_u8(self.reason.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn set_reason(&self, reason: WaitReason) {
        self.reason.store(reason as u8, Ordering::Relaxed);
    }

    pub(crate) fn since_ns(&self) -> u64 {
        self.since_ns.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_since_ns(&self, now_ns: u64) {
        self.since_ns.store(now_ns, Ordering::Relaxed);
    }

    pub(crate) fn abort_requested(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    pub(crate) fn request_abort(&self) {
        self.abort.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn wait_word(&self) -> &WaitWord {
        &self.wait
    }

    #[inline]
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The M that the goroutine belongs to; null before its first run.
    #[inline]
    pub(crate) fn m(&self) -> *const M {
        self.m.load(Ordering::Acquire)
    }

    pub(crate) fn set_m(&self, m: *const M) {
        self.m.store(m.cast_mut(), Ordering::Release);
    }

    /// The part that only the goroutine's own thread may touch.
    #[inline]
    pub(crate) fn exec(&self, on: &CurrentM) -> &Exec {
        debug_assert!(
            self.m().is_null() || ptr::eq(self.m(), on.as_ptr()),
            "goroutine {} belongs to another M",
            self.id
        );
        &self.exec
    }

    /// The same, for another thread.
    ///
    /// # Safety
    /// The goroutine is suspended, with everything that its M did before visible here, and stays so while this is
    /// used; of what is in there only the coroutine and its yielder are looked at, which its M alone changes, by
    /// resuming it.
    #[cfg(feature = "frames")]
    pub(crate) unsafe fn exec_of_suspended(&self) -> &Exec {
        &self.exec
    }
}

impl G {
    /// On a stack from which `away` leads: runs the goroutine, to its end.
    ///
    /// # Safety
    /// `g` is fresh, made by [`cell::make`], and stays valid meanwhile; `on` is its M.
    #[inline]
    pub(crate) unsafe fn run_first(g: NonNull<Self>, on: &CurrentM, away: Away) {
        // SAFETY: valid by contract.
        let this = unsafe { g.as_ref() };
        this.exec(on).begin(away);
        // SAFETY: the table is that of its cell, and this is its one run.
        unsafe { (this.vtable.run)(g) };
    }
}

impl Drop for GRef {
    #[inline]
    fn drop(&mut self) {
        if self.refs.fetch_sub(1, Ordering::Release) == 1 {
            self.free();
        }
    }
}

/// A counted reference to a goroutine.
pub(crate) struct GRef(NonNull<G>);

// SAFETY: G is Sync, and the count is atomic. The cell behind the header may hold a closure or a
// result that is not Send; it is reached through the vtable alone, by those whom `join` or the
// home M allow (see `cell`).
unsafe impl Send for GRef {}
// SAFETY: as above.
unsafe impl Sync for GRef {}

impl std::ops::Deref for GRef {
    type Target = G;
    #[inline]
    fn deref(&self) -> &G {
        // SAFETY: counted by this reference.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for GRef {
    #[inline]
    fn clone(&self) -> Self {
        let before = self.refs.fetch_add(1, Ordering::Relaxed);
        if before > u32::MAX / 2 {
            crate::say::die("goroutine: more than 2^31 references; a leak of tickets?");
        }
        Self(self.0)
    }
}

impl std::fmt::Debug for GRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("G").field("id", &self.id).field("status", &self.status()).finish()
    }
}

impl GRef {
    /// Takes over one count.
    ///
    /// # Safety
    /// `g` is valid and one count of it is given away by the caller.
    #[inline]
    pub(crate) unsafe fn from_raw(g: NonNull<G>) -> Self {
        Self(g)
    }

    /// Gives the count away as a pointer.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<G> {
        std::mem::ManuallyDrop::new(self).0
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *const G {
        self.0.as_ptr()
    }

    #[inline]
    pub(crate) fn as_nonnull(&self) -> NonNull<G> {
        self.0
    }

    #[inline]
    pub(crate) fn vtable(&self) -> &'static cell::VTable {
        self.vtable
    }

    #[cold]
    fn free(&self) {
        std::sync::atomic::fence(Ordering::Acquire);
        // SAFETY: the last count is gone; nobody else has the pointer.
        unsafe { (self.vtable.free)(self.0) }
    }

    /// On the stack of this goroutine: switches to the scheduler.
    #[inline(always)]
    pub(crate) fn suspend(&self) {
        self.exec.suspend();
    }

    /// The running goroutine of this thread.
    #[inline]
    pub(crate) fn current() -> Option<Self> {
        CurrentM::get()?.running()
    }

    /// The M on which this goroutine runs, which it is that asks.
    #[inline]
    fn runs_on(&self) -> CurrentM {
        let here = CurrentM::get().filter(|m| ptr::eq(m.running_ptr(), self.as_ptr()));
        here.expect("Waiting::park: another goroutine began this wait")
    }

    /// Leaves the stack until wait `seq` of this goroutine is claimed, and finishes that wait.
    ///
    /// # Panics
    /// If the caller is not this goroutine.
    #[inline(always)]
    pub(crate) fn wait_for(&self, seq: u64, reason: WaitReason, deadline: Option<Instant>) -> u16 {
        let m = self.runs_on();
        if self.wait.outcome().is_none() {
            let timed = deadline.is_some();
            if let Some(at) = deadline {
                m.set_timer(self, seq, at);
            }
            m.park(self, seq, reason);
            if timed {
                m.unset_timer(self);
            }
        }
        self.wait.finish()
    }
}

/// The inbox of an M, for goroutines only.
pub(crate) struct GInbox(Inbox<G>);

impl GInbox {
    pub(crate) fn new() -> Self {
        Self(Inbox::new())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Anyone. The goroutine is made runnable by one party at a time: the winner of its wait, or
    /// whoever places it before its first run.
    #[inline]
    pub(crate) fn push(&self, g: GRef) {
        // SAFETY: the inbox takes over the count, so the node stays valid; and one party at a time
        // means that it is in no inbox.
        unsafe { self.0.push(g.into_raw()) };
    }

    /// Owner.
    #[inline]
    pub(crate) fn take(&self, mut each: impl FnMut(GRef)) {
        // SAFETY: the inbox owns one count of each.
        self.0.take(|g| each(unsafe { GRef::from_raw(g) }));
    }
}

/// Makes a goroutine runnable whose wait the caller has claimed while it was parked.
#[inline]
pub(crate) fn ready(g: GRef) {
    let home = g.m();
    debug_assert!(!home.is_null(), "ready: goroutine {} has not started", g.id);
    g.set_status(Status::Runnable);
    match CurrentM::get() {
        Some(m) if ptr::eq(m.as_ptr(), home) => m.push_ready(g),
        // SAFETY: the goroutine is parked on a stack of that M until the inbox has it, and an M
        // with a live stack, and the runtime that owns it, are not freed; from the push on `post`
        // keeps the record itself.
        _ => unsafe { &*home }.post(g),
    }
}
