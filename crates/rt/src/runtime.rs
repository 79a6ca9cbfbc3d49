//! Runtimes: making one, running a body as its first goroutine, and the one of the process.
//!
//! `Builder::run` makes a runtime, runs its body as a goroutine, and ends the runtime when the body
//! returns: as in Go, what else runs is not waited for. `go` from a plain thread needs to know
//! *which* runtime: the one that `run` runs (the first, if there are several), or else one that is
//! started in the background for the rest of the process. Tests' runtimes do not offer themselves
//! (`Builder::private`), since another test's thread could pick one that is about to end.

use crate::env;
use crate::handle::JoinError;
use crate::sched::Sched;
use crate::spawn::GoBuilder;
use millpond_prim::sync::Lock;
use millpond_stack::{SizeClass, class_for, default_class};
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

/// The runtime of plain threads. Protected by the lock.
static PROCESS: Lock<Option<Arc<Sched>>> = Lock::new(None);

/// The runtime of the process; started if there is none.
pub(crate) fn of_process() -> Arc<Sched> {
    let mut process = PROCESS.lock();
    if let Some(sched) = process.as_ref().filter(|sched| !sched.is_stopping()) {
        return sched.clone();
    }
    let sched = Builder::new()
        .start()
        .unwrap_or_else(|error| panic!("millpond: starting the process's runtime: {error}"));
    *process = Some(sched.clone());
    sched
}

/// What a runtime is to be like. Unset values come from the environment; the crate
/// documentation says how.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// let sum = millpond::runtime::Builder::new().procs(2).run(|| {
///     let parts: Vec<_> = (0..10).map(|i| millpond::go(move || i)).collect();
///     parts.into_iter().map(|part| part.join().unwrap()).sum::<i32>()
/// }).unwrap();
/// assert_eq!(sum, 45);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    procs: Option<usize>,
    stack_bytes: Option<usize>,
    warm_stacks: Option<usize>,
    rest_after: Option<Duration>,
    private: bool,
}

impl Builder {
    /// As the environment says, and else as the machine is.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many Ps: goroutines that may run at once. Default: `MILLPOND_PROCS`, or the processors
    /// that affinity and the cgroup's quota leave to this process.
    pub fn procs(mut self, procs: usize) -> Self {
        self.procs = Some(procs);
        self
    }

    /// Stack of a goroutine that does not ask for another, in bytes; rounded up to a size class.
    /// Default: `MILLPOND_STACK`, or 64 KiB (256 KiB with debug assertions).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// How many stacks of parked goroutines each M keeps warm, whatever comes. Of those beyond, the
    /// ones that are parked longest are put to rest: what is live on them moves into a small
    /// block, and their pages go back to the kernel until they are woken. Default:
    /// `MILLPOND_WARM`, or 1024. With [`usize::MAX`] none ever rests.
    ///
    /// A busy M keeps up to 16 times as many, and 32 times as many if all wait only shortly.
    pub fn warm_stacks(mut self, stacks: usize) -> Self {
        self.warm_stacks = Some(stacks);
        self
    }

    /// How long a goroutine is parked before its stack is put to rest while the M is idle. Default: a
    /// second.
    pub fn rest_after(mut self, time: Duration) -> Self {
        self.rest_after = Some(time);
        self
    }

    /// Not to be used by `go` on plain threads.
    #[doc(hidden)]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Runs `body` as the first goroutine of a new runtime and returns what it returns. Blocks the
    /// calling thread meanwhile.
    ///
    /// When the body has returned the runtime ends: what has not started is dropped, what has
    /// started is not resumed any more, and the handles of both answer "cancelled". Locks that a
    /// frozen goroutine holds, and values that were handed to it, are gone. Each thread on which
    /// goroutines are frozen stays, asleep, with its stacks and two descriptors.
    ///
    /// # Errors
    /// If the runtime cannot be made: a value out of range, no threads, no way to guard stacks.
    ///
    /// # Panics
    /// If `body` does, with its payload; and if called from a goroutine.
    #[track_caller]
    pub fn run<F, T>(self, body: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        refuse_goroutines();
        let sched = self.start()?;
        let _end = End(&sched);
        self.run_on(&sched, body)
    }

    /// As [`Builder::run`], but leaves the runtime as it is: the process is about to end.
    #[doc(hidden)]
    #[track_caller]
    pub fn run_to_exit<F, T>(self, body: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        refuse_goroutines();
        let sched = self.start()?;
        self.run_on(&sched, body)
    }

    #[track_caller]
    fn run_on<F, T>(&self, sched: &Arc<Sched>, body: F) -> io::Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if !self.private {
            let mut process = PROCESS.lock();
            if process.as_ref().is_none_or(|other| other.is_stopping()) {
                *process = Some(sched.clone());
            }
        }
        let main = GoBuilder::new().name("main").go_on(sched, body);
        match main.join() {
            Ok(value) => Ok(value),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => Err(not_run(&error)),
        }
    }

    fn start(&self) -> io::Result<Arc<Sched>> {
        let procs = self.resolve_procs().map_err(invalid)?;
        let class = self.resolve_class().map_err(invalid)?;
        let pool = crate::stacks::pool()?;
        crate::overflow::install()?;
        crate::panics::install_hook();
        if env::debug("guard") {
            crate::say::line(format_args!("{}", pool.describe()));
            crate::say::line(format_args!("{}", pool.describe_rest()));
        }
        let warm = match self.warm_stacks {
            Some(warm) => Some(warm),
            None => env::warm_stacks().map_err(invalid)?,
        };
        let can_rest = crate::rest::is_possible(pool);
        let sched = Sched::start(procs, class, self.private)?;
        sched.rest.set(warm.filter(|_| can_rest), self.rest_after, can_rest);
        Ok(sched)
    }

    fn resolve_procs(&self) -> Result<usize, String> {
        let procs = match self.procs {
            Some(procs) => procs,
            None => env::procs()?
                .unwrap_or_else(|| millpond_sys::task::usable_cpus().min(env::MAX_PROCS)),
        };
        if (1..=env::MAX_PROCS).contains(&procs) {
            Ok(procs)
        } else {
            Err(format!("runtime::Builder::procs({procs}): expected 1 to {}", env::MAX_PROCS))
        }
    }

    fn resolve_class(&self) -> Result<SizeClass, String> {
        let (whose, bytes) = match self.stack_bytes {
            Some(bytes) => ("runtime::Builder::stack_size", Some(bytes)),
            None => ("MILLPOND_STACK", env::stack_bytes()?),
        };
        match bytes {
            None => Ok(default_class()),
            Some(bytes) => class_for(bytes).map_err(|error| format!("{whose}: {error}")),
        }
    }
}

fn refuse_goroutines() {
    assert!(
        crate::m::CurrentM::get().is_none(),
        "runtime::Builder::run: called from a goroutine; call the body, or use go"
    );
}

/// Ends the runtime when `run` leaves, also by a panic.
struct End<'a>(&'a Arc<Sched>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut process = PROCESS.lock();
        if process.as_ref().is_some_and(|sched| Arc::ptr_eq(sched, self.0)) {
            *process = None;
        }
        drop(process);
        self.0.stop();
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn not_run(error: &JoinError) -> io::Error {
    io::Error::other(format!("the first goroutine was {error}"))
}
