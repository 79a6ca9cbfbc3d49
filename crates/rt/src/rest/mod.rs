//! Stacks at rest, as the scheduler decides about them: whose, when, and who is told.
//!
//! How a stack is put to rest and woken is [`millpond_stack`]'s. Each M does it for the goroutines at
//! home on it, on its own stack, between two turns:
//!
//! ```text
//!   registry: warm ──oldest──▶ judge ──▶ at rest (in the registry's other list)
//!               ▲                │ too young, or it cannot: to the end of the line
//!               └────────────────┴──────── woken: before the switch
//! ```
//!
//! *No cost where it is not used*: a goroutine that parks and is woken touches nothing of this but one flag.
//! The line is that of the registry, entered at the first park; who comes to its head and has run since
//! goes to the end. That is the clock algorithm: nearly the order in which they parked, without a list
//! operation in each park.
//!
//! When ([`pass`]):
//! - an M that is about to sleep, and has goroutines that were parked for [`REST_AFTER`], goes once through
//!   its line, some at a time with a look for work in between. Beyond the budget of warm ones it puts
//!   them to rest; of the others it gives back the pages below the stack pointer. At the moment at
//!   which the next is parked for long enough sysmon wakes it, and not at all when there is none: a
//!   process in which nothing happens comes to rest itself;
//! - a busy M looks from time to time: with more than 16 budgets it puts those to rest that are
//!   parked for a tenth of a second, with twice as many everyone at the head of the line; with
//!   an eighth of that where what it puts to rest stays there ([`burst`]). That bounds what a burst
//!   costs at its peak.
//!
//! Who sleeps, or waits with a time limit, for less than five more seconds, is left alone by both: a million of
//! them that sleep for a second would take four times as long if they rested meanwhile.
//!
//! Who cannot ([`Rest::Cannot`]): whoever said so ([`crate::GoBuilder::restable`]); who is in a
//! [`crate::scope()`], because its children use its frame ([`Pin`]); who parked on another stack
//! ([`crate::with_stack`], or a poll that blocks); what a place starts of which a stack was touched by another
//! thread while it was at rest ([`sites`]); memory that somebody has locked.
//!
//! Rejected: a list of parked goroutines, entered at each park and left at each wake: two neighbours' cache
//! lines each, some per cent of a round trip through a channel, for an order that only matters among those
//! that wait for long.

mod burst;
mod note;
mod pass;
mod sites;

pub(crate) use note::Note;
pub use note::Rest;
pub use sites::{RestSite, rest_sites};

use crate::m::CurrentM;
use crate::runtime;
use crate::sched::Sched;
use crate::timers::NEVER;
use millpond_stack::{Parked, Pool};
pub use millpond_stack::{RestStats, RestTimes};
use note::Why;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Stacks of parked goroutines that an M keeps warm. A stack at rest costs some microseconds more to
/// wake; a thousand of them are 4 MiB.
const WARM_STACKS: usize = 1024;

/// How long a goroutine is parked before an idle M puts it to rest: a wake costs as much as some ten
/// thousandths of it.
const REST_AFTER: Duration = Duration::from_secs(1);

/// The longest time that a stack can be kept warm for: 146 years, which are left when they are added to a clock.
const LONGEST_NS: u64 = 1 << 62;

/// The budget of a runtime: what its Ms keep warm.
pub(crate) struct Budget {
    /// Per M; `usize::MAX`: nothing rests. Atomic: set by anyone at any time.
    warm: AtomicUsize,
    /// Atomic: as above.
    after_ns: AtomicU64,
    /// How often it was set. Atomic: as above.
    changes: AtomicU64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        let after_ns = REST_AFTER.as_nanos() as u64;
        Self {
            warm: AtomicUsize::new(usize::MAX),
            after_ns: AtomicU64::new(after_ns),
            changes: AtomicU64::new(0),
        }
    }

    /// What the runtime's builder says. Nothing rests where nothing can.
    pub(crate) fn set(&self, warm: Option<usize>, after: Option<Duration>, can_rest: bool) {
        if let Some(after) = after {
            let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX).min(LONGEST_NS);
            self.after_ns.store(after_ns, Ordering::Relaxed);
        }
        let warm = if can_rest { warm.unwrap_or(WARM_STACKS) } else { usize::MAX };
        self.warm.store(warm, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn warm(&self) -> usize {
        self.warm.load(Ordering::Relaxed)
    }

    pub(super) fn after_ns(&self) -> u64 {
        self.after_ns.load(Ordering::Relaxed)
    }
}

/// Whether stacks can rest in this process. Where they cannot although nobody said so, that is said
/// once.
pub(crate) fn is_possible(pool: &'static Pool) -> bool {
    static SAID: Once = Once::new();
    let take = || pool.take(millpond_stack::default_class()).ok();
    let known = crate::g::exec::Exec::knows_saved_sp(take);
    let possible = known && pool.can_rest();
    let asked_off = std::env::var("MILLPOND_REST").is_ok_and(|mode| mode == "off");
    if !possible && !asked_off {
        SAID.call_once(|| {
            let why = if known { pool.describe_rest() } else { "unknown coroutine".into() };
            crate::say::line(format_args!("parked goroutines keep their stacks: {why}"));
        });
    }
    possible
}

/// Sets how many stacks of parked goroutines each M of the caller's runtime (or the process's, on a
/// plain thread) keeps warm; see [`crate::Builder::warm_stacks`]. Takes effect as the Ms get to it.
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub mod mem { pub use millpond_rt::set_warm_stacks; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// millpond::mem::set_warm_stacks(100); // memory is short
/// # }).unwrap();
/// ```
pub fn set_warm_stacks(stacks: usize) {
    let set = |sched: &Sched| {
        let can_rest =
            sched.rest.warm() != usize::MAX || crate::stacks::pool().is_ok_and(is_possible);
        sched.rest.set(Some(stacks), None, can_rest);
        sched.ms().iter().for_each(|m| m.rouse());
    };
    match CurrentM::get() {
        Some(m) => set(m.sched()),
        None => set(&runtime::of_process()),
    }
}

/// What rest has done in this process.
///
/// ```
/// # mod millpond { pub mod debug { pub use millpond_rt::rest_stats; } }
/// let stats = millpond::debug::rest_stats();
/// println!("{} stacks at rest, {} bytes saved", stats.resting, stats.saved_bytes());
/// ```
pub fn rest_stats() -> RestStats {
    crate::stacks::pool().map(Pool::rest_stats).unwrap_or_default()
}

/// What an M knows of the rest of its stacks. Its thread alone touches it.
pub(crate) struct RestLocal {
    /// When the next round through the line is due, on the coarse clock.
    due_ns: Cell<u64>,
    /// Switches when the last round began: whether anything has run since.
    switches: Cell<u64>,
    /// Which budget the last round was for.
    changes: Cell<u64>,
    /// How many are still to be looked at in the round under way; 0: there is none.
    left: Cell<usize>,
    /// When the first of those looked at in this round has been parked for long enough.
    soonest_ns: Cell<u64>,
    /// When a busy M looks again.
    excess_ns: Cell<u64>,
    burst: burst::Burst,
    /// Kept for its memory.
    batch: RefCell<Vec<Parked>>,
    /// The place asked for last.
    site: Cell<Option<&'static sites::Site>>,
}

impl RestLocal {
    pub(crate) fn new() -> Self {
        Self {
            due_ns: Cell::new(NEVER),
            switches: Cell::new(0),
            changes: Cell::new(0),
            left: Cell::new(0),
            soonest_ns: Cell::new(NEVER),
            excess_ns: Cell::new(0),
            burst: burst::Burst::default(),
            batch: RefCell::new(Vec::new()),
            site: Cell::new(None),
        }
    }
}

/// Keeps the running goroutine's stack warm while it exists. Stays on its stack.
pub(crate) struct Pin {
    pinned: bool,
    /// On the goroutine that made it.
    here: PhantomData<*const ()>,
}

impl Pin {
    /// Nothing happens outside a goroutine.
    pub(crate) fn of_scope() -> Self {
        let pinned = CurrentM::get().and_then(|m| {
            let (pins, note) = m.pins_of_running()?;
            pins.set(pins.get().checked_add(1)?);
            note.cannot(Why::Scope);
            Some(())
        });
        Self { pinned: pinned.is_some(), here: PhantomData }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if !self.pinned {
            return;
        }
        // A started goroutine stays what it is and where it is.
        if let Some(m) = CurrentM::get()
            && let Some((pins, note)) = m.pins_of_running()
        {
            pins.set(pins.get() - 1);
            if pins.get() == 0 {
                note.forget();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod budget_tests {
    use super::*;

    #[test]
    fn the_longest_time_can_be_added_to_any_time() {
        let budget = Budget::new();
        budget.set(None, Some(Duration::MAX), true);
        let centuries_ns = crate::clock::now_ns() + (1 << 62);
        assert!(centuries_ns.checked_add(budget.after_ns()).is_some());
    }
}
