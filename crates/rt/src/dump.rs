//! A picture of all goroutines: who they are, what they wait for, how long, where they started.
//!
//! Taken M by M under the registry's lock, so each M's part is one moment, but the whole is not:
//! the world is not stopped. Goroutines that have not started have no record but their number.

use crate::first_run::Seen;
use crate::g::registry::Registered;
use crate::g::{G, Status};
use crate::m::{CurrentM, M};
use crate::rest::Rest;
use crate::runtime;
use crate::sched::Sched;
#[cfg(feature = "frames")]
use crate::trace::{Backtrace, NOT_ASKED};
use crate::wait::WaitReason;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// One goroutine, as it was when the picture was taken.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Goroutine {
    /// Its number, unique in the process.
    pub id: u64,
    /// The name given to it.
    pub name: Option<String>,
    /// Where it was in its life.
    pub status: Status,
    /// What it waited for.
    pub reason: WaitReason,
    /// How long it had waited; exact to 10 ms.
    pub waited: Duration,
    /// Where it was started.
    pub location: &'static Location<'static>,
    /// The M that it belongs to.
    pub m: u32,
    /// The usable size of its stack.
    pub stack_bytes: usize,
    /// Whether its stack is at rest, or why it cannot be.
    pub rest: Rest,
    /// Bytes that were live on its stack, if it has been looked at while it was parked.
    pub live_bytes: Option<usize>,
    /// What was on its stack; read by [`crate::goroutines_with_stacks`] alone.
    #[cfg(feature = "frames")]
    pub backtrace: Backtrace,
    /// The number of its stack, until names have been looked up.
    #[cfg(feature = "frames")]
    pub(crate) trace_index: Option<u32>,
}

impl Goroutine {
    fn of(g: &G, m: u32, now_ns: u64) -> Self {
        let status = g.status();
        let waits = status == Status::Waiting;
        let waited_ns = if waits { now_ns.saturating_sub(g.since_ns()) } else { 0 };
        Self {
            id: g.id,
            name: g.spec.name.as_deref().map(str::to_owned),
            status,
            reason: if waits { g.reason() } else { WaitReason::None },
            waited: Duration::from_nanos(waited_ns),
            location: g.spec.location,
            m,
            stack_bytes: g.spec.class.usable_bytes(),
            rest: g.rest.read(g.spec.restable),
            live_bytes: g.rest.live_bytes(),
            #[cfg(feature = "frames")]
            backtrace: NOT_ASKED,
            #[cfg(feature = "frames")]
            trace_index: None,
        }
    }

    /// One that has never left its stack.
    fn running(seen: Seen, m: u32) -> Self {
        Self {
            id: seen.id,
            name: None,
            status: Status::Running,
            reason: WaitReason::None,
            waited: Duration::ZERO,
            location: seen.location,
            m,
            stack_bytes: seen.stack_bytes,
            rest: Rest::Warm,
            live_bytes: None,
            #[cfg(feature = "frames")]
            backtrace: NOT_ASKED,
            #[cfg(feature = "frames")]
            trace_index: None,
        }
    }
}

/// In the manner of Go's `debug=2`; with its stack, if that was read.
impl fmt::Display for Goroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        #[cfg(feature = "frames")]
        match &self.backtrace {
            Backtrace::NotRead("") => {}
            Backtrace::NotRead(why) => writeln!(f, "(stack not read: {why})")?,
            Backtrace::Read(trace) => write!(f, "{trace}")?,
        }
        write!(f, "created at {}", self.location)
    }
}

/// A goroutine whose stack is that of another, which has been shown.
struct Like<'a>(&'a Goroutine, u64);

impl fmt::Display for Like<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_head(f)?;
        write!(f, "(stack of goroutine {})\ncreated at {}", self.1, self.0.location)
    }
}

impl Goroutine {
    /// As its own text, with a reference in the place of its stack: to goroutine `first`, which has an equal one.
    pub fn like(&self, first: u64) -> impl fmt::Display + '_ {
        Like(self, first)
    }

    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "goroutine {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        match self.status {
            Status::Waiting => write!(f, " [{}", self.reason)?,
            Status::Running => write!(f, " [running")?,
            Status::Runnable => write!(f, " [runnable")?,
            Status::Fresh => write!(f, " [not started")?,
            Status::Done => write!(f, " [ended")?,
        }
        if self.waited >= Duration::from_secs(60) {
            write!(f, ", {} minutes", self.waited.as_secs() / 60)?;
        } else if self.status == Status::Waiting {
            write!(f, ", {:.2}s", self.waited.as_secs_f64())?;
        }
        write!(f, ", M{}, {} KiB stack", self.m, self.stack_bytes >> 10)?;
        if let Some(live_bytes) = self.live_bytes {
            write!(f, ", {live_bytes} B live")?;
        }
        match self.rest {
            Rest::Warm => {}
            Rest::AtRest => write!(f, ", at rest")?,
            Rest::Cannot(why) => write!(f, ", kept warm: {why}")?,
        }
        writeln!(f, "]:")
    }
}

/// The started goroutines of the caller's runtime (or the process's, on a plain thread), oldest
/// first. The runtime's own are left out. Costs about a microsecond each.
pub fn goroutines() -> Vec<Goroutine> {
    match CurrentM::get() {
        Some(m) => of(m.sched()),
        None => of(&runtime::of_process()),
    }
}

/// Counts of the caller's runtime. Cheap: no locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Goroutines that have started and not ended.
    pub live: usize,
    /// Fresh work that waits in queues: goroutines that have not started, tasks that are due.
    pub queued: usize,
    /// Ps: the most that run at once.
    pub procs: usize,
    /// Threads of the scheduler.
    pub threads: usize,
    /// Threads of the scheduler that sleep.
    pub idle_threads: usize,
    /// Memory of ended goroutines that is kept for new ones, in bytes. At most 512 KiB a thread.
    pub spare_cell_bytes: usize,
    /// Goroutines that have been parked at least once and whose stacks are not at rest.
    pub warm: usize,
}

/// Counts of the caller's runtime (or the process's, on a plain thread).
pub fn counts() -> Counts {
    match CurrentM::get() {
        Some(m) => count(m.sched()),
        None => count(&runtime::of_process()),
    }
}

fn count(sched: &Sched) -> Counts {
    let ms = sched.ms();
    let sum = |of: fn(&M) -> &AtomicUsize| ms.iter().map(|m| of(m).load(Ordering::Relaxed)).sum();
    Counts {
        live: sum(|m| &m.live),
        queued: sched.global.len() + ms.iter().map(|m| m.p.ring.len() as usize).sum::<usize>(),
        procs: sched.procs(),
        threads: sched.threads(),
        idle_threads: sched.idle.count(),
        spare_cell_bytes: sum(|m| &m.spare_cell_bytes),
        warm: ms.iter().map(|m| m.registry.warm()).sum(),
    }
}

pub(crate) fn of(sched: &Sched) -> Vec<Goroutine> {
    let mut all: Vec<_> =
        sched.ms().iter().flat_map(|m| on(m, |_, _| ())).map(|(one, _)| one).collect();
    all.sort_by_key(|goroutine| goroutine.id);
    all
}

/// Those of one M, each with what `keep` keeps of it if it has left its stack.
pub(crate) fn on<K>(m: &M, keep: impl Fn(&Registered<'_>, &G) -> K) -> Vec<(Goroutine, Option<K>)> {
    let now_ns = crate::clock::tick();
    let registry = m.registry.lock();
    let users = registry.iter().filter(|g| !g.spec.system);
    let one = |g: &G| (Goroutine::of(g, m.index, now_ns), Some(keep(&registry, g)));
    let mut all: Vec<_> = users.map(one).collect();
    // Under the lock: it is here or in the list, not in both.
    all.extend(m.first_run.read().map(|seen| (Goroutine::running(seen, m.index), None)));
    all
}
