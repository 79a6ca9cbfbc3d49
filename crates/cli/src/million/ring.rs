//! The ring: gates, the goroutines at them, and going round.
//!
//! Each goroutine owns a [`Seat`]: its gate, its neighbour's, and the counts of all. What a seat owes
//! to others (an open gate, being counted off) it pays when it is dropped, if it has not before; so
//! a closure that is dropped without having run pays too, and nobody waits for it. The memory of a
//! goroutine is thus its stack, its record and one gate.

use super::live;
use indicatif::ProgressBar;
use millpond::Builder;
use millpond::sync::WaitGroup;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often each goroutine is woken.
const ROUNDS: u32 = 2;

/// How often the progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// One in so many goroutines notes where the ring is.
const NOTE_EVERY: u32 = 4096;

/// A gate that is closed. `done` opens it, `add(1)` closes it again.
fn closed_gate() -> WaitGroup {
    let gate = WaitGroup::new();
    gate.add(1);
    gate
}

pub(super) struct Ring {
    shared: Arc<Shared>,
    /// The gate of the first goroutine.
    first: WaitGroup,
    /// Main's own, behind the last goroutine.
    last: WaitGroup,
    count: u32,
}

struct Shared {
    live_bytes: usize,
    /// Counts goroutines that are not at their gates yet.
    starting: WaitGroup,
    /// Counts goroutines that have not ended.
    running: WaitGroup,
    /// Atomic: goroutines whose bytes were there in each round.
    verified: AtomicU64,
    /// Atomic: goroutines that never started.
    unstarted: AtomicU64,
    /// Atomic: a goroutine is missing, so all are to leave. Set before a gate is opened for it.
    broken: AtomicBool,
    /// Atomic: about where the ring is. For the progress bar.
    position: AtomicU64,
}

/// What became of the goroutines.
pub(super) struct Tally {
    pub(super) verified: u64,
    pub(super) unstarted: u64,
}

impl Ring {
    /// Starts the goroutines and returns when all are at their gates.
    pub(super) fn start(count: u32, live_bytes: u32, bar: &ProgressBar) -> Self {
        let shared = Arc::new(Shared {
            live_bytes: live_bytes as usize,
            starting: WaitGroup::new(),
            running: WaitGroup::new(),
            verified: AtomicU64::new(0),
            unstarted: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            position: AtomicU64::new(0),
        });
        shared.starting.add(count as usize);
        shared.running.add(count as usize);
        let mut builder = Builder::new();
        if let Some(bytes) = live::stack_bytes(live_bytes as usize) {
            builder = builder.stack_size(bytes);
        }
        let first = closed_gate();
        let mut gate = first.clone();
        for index in 0..count {
            let next = closed_gate();
            let mut seat = Seat::new(index, gate, next.clone(), &shared);
            gate = next;
            drop(builder.go(move || seat.run()));
            if index.is_multiple_of(NOTE_EVERY) {
                bar.set_position(u64::from(index));
            }
        }
        shared.starting.wait();
        Self { shared, first, last: gate, count }
    }

    /// Wakes the first goroutine and waits until the last has passed it on.
    pub(super) fn go_round(&self, bar: &ProgressBar) {
        if self.shared.broken.load(Ordering::Acquire) {
            // Who stands before the gap has not heard of it. Only once: nobody waits after that.
            self.open_if_closed(&self.first);
            return;
        }
        self.first.done();
        while !self.last.wait_timeout(DRAW_EVERY) {
            bar.set_position(self.shared.position.load(Ordering::Relaxed));
        }
        bar.set_position(u64::from(self.count));
        self.last.add(1);
    }

    fn open_if_closed(&self, gate: &WaitGroup) {
        if !gate.wait_timeout(Duration::ZERO) {
            gate.done();
        }
    }

    /// Waits until all goroutines have ended.
    pub(super) fn wait_for_end(self) -> Tally {
        self.shared.running.wait();
        Tally {
            verified: self.shared.verified.load(Ordering::Acquire),
            unstarted: self.shared.unstarted.load(Ordering::Acquire),
        }
    }
}

/// A goroutine's place in the ring. Dropped when it ends, or when it never starts.
struct Seat {
    gate: WaitGroup,
    next: WaitGroup,
    shared: Arc<Shared>,
    index: u32,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unstarted,
    /// Started, and owes its neighbour an open gate.
    Started,
    /// Has done all that it had to.
    Complete,
}

impl Seat {
    fn new(index: u32, gate: WaitGroup, next: WaitGroup, shared: &Arc<Shared>) -> Self {
        Self { gate, next, shared: shared.clone(), index, stage: Stage::Unstarted }
    }

    fn run(&mut self) {
        let (shared, seed) = (self.shared.clone(), u64::from(self.index));
        let intact = live::hold(seed, shared.live_bytes, &mut || self.rounds());
        if intact && self.stage == Stage::Complete {
            shared.verified.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn rounds(&mut self) {
        self.stage = Stage::Started;
        self.shared.starting.done();
        for round in 1..=ROUNDS {
            self.gate.wait();
            if self.shared.broken.load(Ordering::Acquire) {
                return;
            }
            if self.index.is_multiple_of(NOTE_EVERY) {
                self.shared.position.store(u64::from(self.index), Ordering::Relaxed);
            }
            if round == ROUNDS {
                self.stage = Stage::Complete;
            } else {
                // Before the next gate opens: main goes round again after the last one.
                self.gate.add(1);
            }
            self.next.done();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.stage != Stage::Complete {
            self.shared.broken.store(true, Ordering::Release);
            self.next.done();
        }
        if self.stage == Stage::Unstarted {
            self.shared.unstarted.fetch_add(1, Ordering::Relaxed);
            self.shared.starting.done();
        }
        self.shared.running.done();
    }
}
