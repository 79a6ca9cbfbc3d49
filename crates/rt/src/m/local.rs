//! What an M's own thread alone touches: the runnable goroutines that are at home here, the caches
//! of stacks and cells, and the few words that pass between a goroutine and the scheduler across a switch.
//!
//! All cells, no locks. Borrows are short and never held across a switch or a call into user code.

use super::offer::Offer;
use crate::g::GRef;
use crate::g::exec::Away;
use crate::g::store::Cells;
use crate::queue::ring::Sighting;
use crate::task::Runnable;
use millpond_stack::Cache;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// How many operations that did not wait a goroutine may do before it yields.
pub(crate) const BUDGET: u32 = 256;

/// What a goroutine asks of the scheduler as it suspends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Nothing was asked: a bug.
    None,
    /// Park until wait `seq` is claimed.
    Park { seq: u64 },
    /// Run the others first.
    Yield,
}

/// See the module documentation.
pub(crate) struct Local {
    /// Runnable and at home here, oldest first. May contain goroutines that were placed here and
    /// have not started.
    pub(crate) ready: RefCell<VecDeque<GRef>>,
    /// Readied last: runs next.
    pub(crate) next: Cell<Option<GRef>>,
    /// Turns in a row that `next` was taken from a slot of newest work.
    pub(crate) streak: Cell<u32>,
    /// Set by the suspending goroutine, read by the scheduler.
    pub(crate) request: Cell<Request>,
    /// Operations left to the running goroutine.
    pub(crate) budget: Cell<u32>,
    /// Turns until the next at which timers are looked at.
    pub(crate) short_turns: Cell<u32>,
    /// How often timers were looked at since all else was.
    pub(crate) rounds: Cell<u32>,
    /// Fresh work ran last: those who have started are next.
    pub(crate) fresh_last: Cell<bool>,
    /// When the row of first runs that is under way began, on the coarse clock.
    pub(crate) row_since_ns: Cell<u64>,
    /// What runs has not left its stack yet, and others may have their first run on it.
    pub(crate) first_runs: Cell<bool>,
    /// While a goroutine that had its first run is ended on the stack of it: the way back from there.
    pub(crate) between: Cell<Option<Away>>,
    /// What was in the ring when this M looked around last.
    pub(crate) seen: Cell<Option<Sighting>>,
    /// Whether the search under way, or about to begin, is one that this M was woken for.
    pub(crate) recruited: Cell<bool>,
    /// What the last search stole, and when: pieces and the exact clock. 0 once it was judged.
    pub(crate) loot: Cell<(u32, u64)>,
    /// Fresh work that is left to others for now.
    pub(crate) offer: Cell<Offer>,
    /// Whether this M is counted as a searcher.
    pub(crate) searching: Cell<bool>,
    /// Stacks; `None` until the thread has begun and after it has ended.
    pub(crate) stacks: RefCell<Option<Cache>>,
    /// Memory of ended goroutines.
    pub(crate) cells: Cells,
    /// Goroutines that poll tasks and have none, waiting with their ticket.
    pub(crate) runners: RefCell<Vec<crate::wait::Ticket>>,
    /// The task that a runner is resumed for.
    pub(crate) task: Cell<Option<Runnable>>,
    /// Numbers for goroutines: next, and how many are left of the block.
    pub(crate) ids: Cell<(u64, u32)>,
    /// What this M knows of the rest of its stacks.
    pub(crate) rest: crate::rest::RestLocal,
    /// State of a small generator for choosing victims.
    pub(crate) random: Cell<u32>,
}

impl Local {
    pub(super) fn new() -> Self {
        Self {
            ready: RefCell::new(VecDeque::new()),
            next: Cell::new(None),
            streak: Cell::new(0),
            request: Cell::new(Request::None),
            budget: Cell::new(BUDGET),
            short_turns: Cell::new(0),
            rounds: Cell::new(0),
            fresh_last: Cell::new(false),
            row_since_ns: Cell::new(0),
            first_runs: Cell::new(false),
            between: Cell::new(None),
            seen: Cell::new(None),
            recruited: Cell::new(false),
            loot: Cell::new((0, 0)),
            offer: Cell::new(Offer::None),
            searching: Cell::new(false),
            stacks: RefCell::new(None),
            cells: Cells::new(),
            runners: RefCell::new(Vec::new()),
            task: Cell::new(None),
            ids: Cell::new((0, 0)),
            rest: crate::rest::RestLocal::new(),
            random: Cell::new(0x9E37_79B9),
        }
    }

    /// Whether any goroutine at home here is runnable.
    pub(crate) fn has_ready(&self) -> bool {
        let next = self.next.take();
        let some = next.is_some();
        self.next.set(next);
        some || !self.ready.borrow().is_empty()
    }

    /// xorshift32: not for secrets.
    pub(crate) fn random(&self) -> u32 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x
    }
}
