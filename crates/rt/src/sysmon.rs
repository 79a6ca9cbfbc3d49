//! sysmon: the one thread that is never stuck.
//!
//! It looks at every M from time to time (20 µs after something happened, 10 ms when nothing does;
//! [`millpond_policy::sysmon`] decides) and does what the Ms cannot do for themselves:
//!
//! - an M whose thread sleeps in the kernel in the middle of a goroutine loses its licence and its
//!   poller to another M ("hand-off");
//! - the timers and descriptors of an M that is away, asleep or computing, are left as an errand to
//!   another ([`crate::errands`]);
//! - a goroutine that computes while others wait is asked to yield at its next chance;
//! - a goroutine that does not come back is reported, once: which, how long, where started;
//! - an M that sleeps while goroutines of its are to be put to rest is woken ([`crate::rest`]);
//! - stacks that nobody needs any more go back to the kernel, if no M is idle for so long that it
//!   can do that ([`crate::stacks`]);
//! - a ring that does not move although somebody sleeps gets a thief;
//! - when everybody sleeps and nothing could wake anybody: deadlock ([`crate::deadlock`]).
//!
//! When all Ms sleep it goes to sleep too, until goroutines are to be put to rest, and for good when none are:
//! an idle process uses no processor. The first M that wakes wakes it.
//!
//! What the kernel thinks of a thread is read from `/proc/self/task/TID/stat`, only for an M that
//! has run the same goroutine for a while. A thread that waits for a processor is "running" there,
//! so an overloaded machine causes no hand-offs. Nor does a thread that sleeps often and shortly:
//! two looks must find it in the same sleep (`schedstat`: it has not run meanwhile). And a sleep in
//! a page fault or on the lock of the process's mappings (`syscall`) must last for a millisecond:
//! when a million goroutines touch their first page, a third thread that touches more of them makes
//! the other two wait longer.

use crate::errands::Errand;
use crate::m::M;
use crate::queue::ring::Sighting;
use crate::quiet::Bomb;
use crate::sched::Sched;
use crate::timers::NEVER;
use millpond_policy::sysmon::{HAND_OFF_NS, MEMORY_NS, Period, Sight, Verdict, YIELD_NS, judge};
use millpond_sys::clock::thread_cpu_ns;
use millpond_sys::task::ThreadState;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Duration;

/// Looks at a process where everybody sleeps, before sysmon sleeps as well.
const QUIET_LOOKS: u32 = 3;

/// Where sysmon sleeps.
pub(crate) struct Bed {
    asleep: AtomicBool,
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false), woken: Mutex::new(false), bell: Condvar::new() }
    }

    /// Somebody is awake again.
    #[inline]
    pub(crate) fn wake_if_asleep(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    #[cold]
    pub(crate) fn wake(&self) {
        *self.woken.lock().unwrap_or_else(|poison| poison.into_inner()) = true;
        self.bell.notify_one();
    }

    /// Sleeps for `period`, whoever wakes; only the end of the runtime ends it.
    fn nap(&self, period: Duration) {
        self.lie(|| Some(period));
    }

    /// Sleeps until somebody wakes, and no longer than `limit` says, which is asked after it is visible that we
    /// sleep.
    fn sleep(&self, limit: impl FnOnce() -> Option<Duration>) {
        self.asleep.store(true, Ordering::SeqCst);
        self.lie(limit);
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn lie(&self, limit: impl FnOnce() -> Option<Duration>) {
        let mut woken = self.woken.lock().unwrap_or_else(|poison| poison.into_inner());
        if !*woken {
            woken = match limit() {
                None => self.bell.wait(woken).unwrap_or_else(|poison| poison.into_inner()),
                Some(Duration::ZERO) => woken,
                Some(period) => match self.bell.wait_timeout(woken, period) {
                    Ok((woken, _)) => woken,
                    Err(poison) => poison.into_inner().0,
                },
            };
        }
        *woken = false;
    }
}

/// Threads of this kind in the process: the deadlock report must know which threads are ours.
static THREADS: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn threads() -> usize {
    THREADS.load(Ordering::SeqCst)
}

/// One in [`THREADS`], for as long as the thread's closure is there: also if the thread never begins.
struct Counted;

impl Counted {
    fn new() -> Self {
        THREADS.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Starts the thread. It holds no runtime alive. If it unwinds the process ends, as when an M does: without it
/// nobody would take over from who is stuck.
pub(crate) fn start(sched: &Arc<Sched>) -> io::Result<()> {
    let weak = Arc::downgrade(sched);
    let counted = Counted::new();
    let thread = std::thread::Builder::new().name("millpond-sysmon".into()).spawn(move || {
        let bomb = Bomb("sysmon unwound");
        Sysmon::default().watch(&weak);
        bomb.defuse();
        drop(counted);
    });
    thread.map(drop)
}

/// How long sysmon may sleep: until the first M is to put goroutines to rest; not at all if an M is up. The list
/// of the idle comes first: who is in it has said before when that is.
fn limit(sched: &Sched) -> Option<Duration> {
    if sched.idle.count() < sched.threads() || sched.is_stopping() {
        return Some(Duration::ZERO);
    }
    let dues = sched.ms().iter().map(|m| m.rest_due_ns.load(Ordering::Acquire)).min();
    let due_ns = dues.filter(|&due_ns| due_ns != NEVER)?;
    Some(Duration::from_nanos(due_ns.saturating_sub(crate::clock::now_ns())))
}

/// What sysmon remembers of one M.
#[derive(Default)]
struct Memory {
    switches: u64,
    since_ns: u64,
    yield_requested: bool,
    reported: bool,
    /// Processor time of its thread when this run of a goroutine was seen first.
    cpu_ns: Option<u64>,
    nap: Option<Nap>,
    thread: Option<ThreadState>,
    /// Its ring and its `next`, and when they were seen like this.
    ring: Option<(Sighting, usize, u64)>,
}

/// A sleep of a thread within one run of a goroutine.
#[derive(Clone, Copy)]
struct Nap {
    /// When it was first seen.
    since_ns: u64,
    /// How long the thread had run before it, which tells it from the next; `None` if unknown.
    run_ns: Option<u64>,
}

#[derive(Default)]
struct Sysmon {
    memories: Vec<Memory>,
    rest: crate::stacks::Rest,
    quiet: u32,
    complained: bool,
}

impl Sysmon {
    fn watch(&mut self, sched: &Weak<Sched>) {
        let mut period = Period::new();
        loop {
            let Some(sched) = sched.upgrade() else { return };
            if sched.is_stopping() {
                return;
            }
            let now_ns = crate::clock::tick();
            let all_asleep = sched.idle.count() >= sched.threads();
            let settled = self.rest.settle(now_ns, all_asleep);
            let acted = self.look(&sched, now_ns) | settled;
            let all_asleep = sched.idle.count() >= sched.threads();
            self.quiet =
                if all_asleep && !crate::stacks::any_surplus() { self.quiet + 1 } else { 0 };
            if self.quiet == QUIET_LOOKS {
                crate::deadlock::check(&sched);
            }
            let pause = Duration::from_micros(period.next_us(acted));
            if self.quiet >= QUIET_LOOKS {
                sched.bed.sleep(|| limit(&sched));
                period = Period::new();
                self.quiet = 0;
            } else {
                sched.bed.nap(pause);
            }
        }
    }

    /// One look at all Ms. Whether anything was done.
    fn look(&mut self, sched: &Sched, now_ns: u64) -> bool {
        let ms = sched.ms();
        self.memories.resize_with(ms.len(), Memory::default);
        let mut acted = false;
        for m in ms.iter() {
            acted |= self.look_at(sched, m, now_ns);
        }
        acted
    }

    fn look_at(&mut self, sched: &Sched, m: &M, now_ns: u64) -> bool {
        let memory = &mut self.memories[m.index as usize];
        let switches = m.switches.load(Ordering::Acquire);
        if memory.switches != switches {
            memory.switches = switches;
            memory.since_ns = now_ns;
            memory.yield_requested = false;
            memory.reported = false;
            memory.cpu_ns = None;
            memory.nap = None;
        }
        if m.rest_due_ns.load(Ordering::Relaxed) <= now_ns {
            m.nudge();
        }
        if m.p.has_licence() {
            memory.watch_ring(sched, m, now_ns);
        } else if m.p.has_work() {
            sched.salvage(m);
        }
        if switches.is_multiple_of(2) {
            return false;
        }
        let running_ns = now_ns - memory.since_ns;
        memory.watch_hog(m, now_ns);
        if running_ns >= YIELD_NS {
            leave_errand(sched, m, switches, now_ns);
        }
        let sight = Sight {
            running_ns,
            asleep: running_ns >= HAND_OFF_NS && memory.is_asleep(m, now_ns),
            holds_p: m.p.has_licence(),
            work_waiting: m.p.has_work() || m.has_messages() || sched.global.len() > 0,
            yield_requested: memory.yield_requested,
            reported: memory.reported,
        };
        match judge(&sight) {
            Verdict::Nothing => return false,
            Verdict::RequestYield => {
                memory.yield_requested = true;
                m.yield_requested.store(true, Ordering::Relaxed);
            }
            Verdict::ReportStuck => {
                memory.reported = true;
                report_stuck(m, running_ns, sight.asleep);
            }
            Verdict::HandOff => self.hand_off(sched, m, switches),
        }
        true
    }

    /// Takes the licence of a stuck M; another M gets its poller and may take the licence.
    fn hand_off(&mut self, sched: &Sched, m: &M, switches: u64) {
        if !m.p.revoke() {
            return;
        }
        sched.give_licence();
        // The adopter must be awake and without a goroutine that is stuck itself. A sleeper is
        // best; else a new thread.
        let adopter = match sched.idle.conscript() {
            Some(index) => Ok(index),
            None => sched.add_m(),
        };
        match adopter {
            Ok(index) => {
                sched.move_adoptees(m.index, index);
                let still_away = || m.switches.load(Ordering::Acquire) == switches;
                sched.adopt_poller(m, index, still_away);
                sched.m(index).rouse();
            }
            Err(error) if !self.complained => {
                self.complained = true;
                crate::say::line(format_args!("no thread to take over from M{}: {error}", m.index));
            }
            Err(_) => {}
        }
    }
}

impl Memory {
    /// Whether one goroutine keeps the M to itself: by the processor time that it has had, since a
    /// thread that waits for a processor keeps nobody; and by twice that after which it is asked to
    /// yield, since one that yields when it is asked, as one that accepts does, keeps nobody either.
    fn watch_hog(&mut self, m: &M, now_ns: u64) {
        let Some(cpu_ns) = thread_cpu_ns(m.tid.load(Ordering::Relaxed)) else { return };
        let before_ns = *self.cpu_ns.get_or_insert(cpu_ns);
        if cpu_ns.saturating_sub(before_ns) >= 2 * YIELD_NS {
            m.hogged_ns.store(now_ns, Ordering::Relaxed);
        }
    }

    /// Whether the kernel has said twice that the M's thread is in the same sleep. Once is not
    /// enough: a thread sleeps for moments on the kernel's own locks, and next time on another. One
    /// that sleeps for memory is given longer: it works, and so do those that it waits for.
    fn is_asleep(&mut self, m: &M, now_ns: u64) -> bool {
        let Some(thread) = sleeper(&mut self.thread, m) else {
            self.nap = None;
            return false;
        };
        let run_ns = thread.run_ns();
        match self.nap {
            Some(nap) if nap.run_ns == run_ns => {
                now_ns - nap.since_ns >= MEMORY_NS || !thread.sleeps_for_memory()
            }
            _ => {
                self.nap = Some(Nap { since_ns: now_ns, run_ns });
                false
            }
        }
    }

    /// A ring that has not moved for long enough while somebody sleeps is worth a thief.
    fn watch_ring(&mut self, sched: &Sched, m: &M, now_ns: u64) {
        let Some((seen, next, since_ns)) = self.ring else {
            let look = || (m.p.ring.watch(), m.p.peek_next(), now_ns);
            self.ring = m.p.has_work().then(look);
            return;
        };
        let next_waits = next != 0 && m.p.peek_next() == next;
        if m.p.ring.ripe(seen) == 0 && !next_waits {
            self.ring = None;
        } else if now_ns - since_ns >= crate::m::RIPE_NS {
            self.ring = None;
            sched.recruit();
        }
    }
}

/// The M's thread, if the kernel says now that it sleeps. Unknown is "no".
fn sleeper<'a>(known: &'a mut Option<ThreadState>, m: &M) -> Option<&'a ThreadState> {
    let tid = m.tid.load(Ordering::Relaxed);
    if known.as_ref().is_none_or(|thread| thread.tid() != tid) {
        *known = ThreadState::open(tid).ok();
    }
    let thread = known.as_ref()?;
    thread.read().is_some_and(|state| !state.is_running()).then_some(thread)
}

/// Somebody else is to fire the timers and poll the descriptors of an M that is away.
fn leave_errand(sched: &Sched, m: &M, switches: u64, now_ns: u64) {
    let due = m.timers.next_ns() <= now_ns;
    // What it has adopted is nobody's as well, whoever polls for itself.
    let unpolled = m.adoptees.load(Ordering::SeqCst) > 0
        || (!m.is_adopted.load(Ordering::Relaxed) && m.poller.source_count() > 0);
    if due || unpolled {
        sched.errands.leave(Errand { away: m.index, switches });
        if let Some(index) = sched.idle.conscript() {
            sched.m(index).rouse();
        }
    }
}

/// Says which goroutine keeps M from its work. Never fails; the goroutine may end meanwhile.
fn report_stuck(m: &M, running_ns: u64, asleep: bool) {
    let running = m.running_ptr();
    let registry = m.registry.lock();
    let known = registry.iter().find(|g| std::ptr::eq(*g, running));
    let known = known.map(|g| (g.id, g.spec.location, g.spec.name.clone()));
    let first = || m.first_run.read().map(|seen| (seen.id, seen.location, None));
    let Some((id, at, name)) = known.or_else(first) else { return };
    drop(registry);
    let what = if asleep { "blocks its thread in the kernel" } else { "has been computing" };
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    let others = m.live.load(Ordering::Relaxed).saturating_sub(1);
    if crate::env::debug("stuck") {
        crate::say::line(format_args!(
            "goroutine {id}{name}, started at {at}, {what} for {} ms; {others} other \
             goroutines live on M{} and wait. Use millpond::blocking, or yield_now.",
            running_ns / 1_000_000,
            m.index
        ));
    }
}
