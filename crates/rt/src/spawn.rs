//! Starting goroutines: `go`, `go_local`, and the builder for names, stacks and placement.
//!
//! One way in ([`start`]), whoever calls: the M of the calling goroutine places what it makes
//! (`m::place` says where); a plain thread hands it to the runtime of the process. The caller's
//! place in the source is noted, because dumps and reports name a goroutine by where it was
//! started.

use crate::g::{Spec, cell};
use crate::handle::{JoinHandle, LocalJoinHandle};
use crate::m::{CurrentM, Placement};
use crate::runtime;
use crate::sched::Sched;
use millpond_stack::{SizeClass, class_for};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Takes `count` numbers; returns the first.
pub(crate) fn take_ids(count: u32) -> u64 {
    NEXT_ID.fetch_add(u64::from(count), Ordering::Relaxed)
}

/// Starts a goroutine. It runs `f` as soon as an M has time for it, on a stack of its own that is
/// attached when it first runs.
///
/// From a plain thread it goes to the process's runtime: the one that [`crate::Builder::run`]
/// runs, or else one that is started in the background for the rest of the process.
///
/// A panic in `f` ends this goroutine only; the handle reports it. Dropping the handle detaches.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let answer = millpond::go(|| 6 * 7);
/// assert_eq!(answer.join().unwrap(), 42);
/// # }).unwrap();
/// ```
#[track_caller]
#[inline]
pub fn go<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    start(None, Placement::Auto, None, Location::caller(), true, f)
}

/// Starts a goroutine on the caller's thread. `f` and its result need not be `Send`, and the
/// handle is not.
///
/// # Panics
/// Outside a goroutine: there is no scheduler on that thread.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use std::rc::Rc;
/// let shared = Rc::new(5);
/// let other = shared.clone();
/// assert_eq!(*millpond::go_local(move || other).join().unwrap(), 5);
/// # }).unwrap();
/// ```
#[track_caller]
pub fn go_local<F, T>(f: F) -> LocalJoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    demand_goroutine("go_local");
    LocalJoinHandle::new(start(None, Placement::Local, None, Location::caller(), true, f))
}

#[track_caller]
fn demand_goroutine(what: &str) {
    assert!(
        CurrentM::get().is_some_and(|m| m.is_running()),
        "{what}: called outside a goroutine, where there is no scheduler on this thread; \
         use go, or call it from a goroutine"
    );
}

/// The one way in. `f` is `Send` unless `placement` is `Local` and the caller is a goroutine.
#[inline]
fn start<F, T>(
    name: Option<Box<str>>,
    placement: Placement,
    class: Option<SizeClass>,
    location: &'static Location<'static>,
    restable: bool,
    f: F,
) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let spec = |class| Spec { name, location, class, system: false, restable };
    match CurrentM::get() {
        Some(m) => {
            let spec = spec(class.unwrap_or(m.sched().stack_class));
            let (queued, handle) = cell::make(m.next_id(), spec, f);
            m.place(queued, placement);
            JoinHandle::goroutine(handle)
        }
        None => {
            let sched = runtime::of_process();
            let spec = spec(class.unwrap_or(sched.stack_class));
            let (queued, handle) = cell::make(take_ids(1), spec, f);
            sched.submit(queued, Placement::Auto);
            JoinHandle::goroutine(handle)
        }
    }
}

/// Starts goroutines with a name, another stack, or a say in where they run.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let deep = millpond::Builder::new().name("parser").stack_size(1 << 20);
/// deep.go(|| { /* recursion */ }).join().unwrap();
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct GoBuilder {
    name: Option<Box<str>>,
    stack_bytes: Option<usize>,
    placement: Placement,
    kept_warm: bool,
}

impl GoBuilder {
    /// As `go` would start it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A name, for dumps, reports and panics.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// At least so many bytes of stack: the next size class is taken (16 KiB to 8 MiB).
    ///
    /// # Panics
    /// `go` and `go_local` panic if no size class is that large.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Whether the stack may be put to rest while the goroutine is parked for long. Default: yes. Say
    /// `false` where other threads keep references into it and use them while it waits: each use
    /// would wake it.
    pub fn restable(mut self, restable: bool) -> Self {
        self.kept_warm = !restable;
        self
    }

    /// On the M with the fewest live goroutines.
    pub fn spread(mut self) -> Self {
        self.placement = Placement::Spread;
        self
    }

    /// On the caller's M, if the caller is a goroutine.
    pub fn local(mut self) -> Self {
        self.placement = Placement::Local;
        self
    }

    /// As [`go`].
    ///
    /// # Panics
    /// If the stack size is larger than any class.
    #[track_caller]
    pub fn go<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (class, location) = (self.class(), Location::caller());
        start(self.name.clone(), self.placement, class, location, !self.kept_warm, f)
    }

    /// As [`go_local`].
    ///
    /// # Panics
    /// Outside a goroutine, and if the stack size is larger than any class.
    #[track_caller]
    pub fn go_local<F, T>(&self, f: F) -> LocalJoinHandle<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        demand_goroutine("Builder::go_local");
        let (class, location) = (self.class(), Location::caller());
        let (name, restable) = (self.name.clone(), !self.kept_warm);
        LocalJoinHandle::new(start(name, Placement::Local, class, location, restable, f))
    }

    /// Starts a goroutine on a runtime of which the caller is not a part.
    #[track_caller]
    pub(crate) fn go_on<F, T>(&self, sched: &Sched, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let location = Location::caller();
        let class = self.class().unwrap_or(sched.stack_class);
        let restable = !self.kept_warm;
        let spec = Spec { name: self.name.clone(), location, class, system: false, restable };
        let (queued, handle) = cell::make(take_ids(1), spec, f);
        sched.submit(queued, Placement::Auto);
        JoinHandle::goroutine(handle)
    }

    #[track_caller]
    fn class(&self) -> Option<SizeClass> {
        let bytes = self.stack_bytes?;
        Some(class_for(bytes).unwrap_or_else(|error| panic!("Builder::stack_size: {error}")))
    }
}
