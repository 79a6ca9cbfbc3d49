//! Where idle values are kept: one shard per M, so that a get and its give meet nobody.
//!
//! A shard is a small lock on cache lines of its own. The M with number `i` uses shard
//! `1 + i % n`; plain threads share shard 0. Whose shard is empty looks through the others.
//!
//! ```text
//!   give ──▶ live  ──shrink──▶ victims ──next shrink──▶ dropped
//!              │ take (newest first)  │ take, when live is empty
//!              ▼                      ▼
//! ```
//!
//! *Two steps, as Go's `sync.Pool`*: a shrink drops what the shrink before it had marked and nobody
//! has taken since, and marks more. A value in use, or used since the last step, is never dropped
//! by one call.
//!
//! *How many are kept* is bounded over all shards without a shared counter: each shard holds a
//! *lease* on so many places, `len <= lease`, and leases and `spare` add up to the bound. A shard
//! that grows takes a place from `spare`, or one that another shard does not use. In the steady
//! state nothing shared is written.
//!
//! Counts stand in the shards, under their locks, so each is exact; a sum over the shards is of
//! one moment only if nobody is at work. How many are idle and what they take is also beside the lock, for
//! who asks about all pools of the process ([`Idle`]) and is to wait for none: two stores into a line that the
//! lock has just written to.
//!
//! Rejected: lock-free stacks per shard (a steal then needs reclamation, and the lock that it saves
//! is uncontended); one counter of idle values (a shared line written by every get and give).

use millpond_prim::sync::atomic::{AtomicUsize, Ordering};
use millpond_prim::sync::{Guard, Lock};
use std::sync::Arc;

/// A vector that was longer is given back to the allocator down to this many places.
const KEEP: usize = 32;

/// How much a value takes while it is idle.
pub(super) trait Weigh {
    /// Bytes of the value and of what it is known to own. The same from a give to the take.
    fn weight_bytes(&self) -> usize;
}

/// A value in the pool, with what it was said to own when it came.
pub(super) struct Kept<T> {
    pub(super) value: T,
    pub(super) owned_bytes: usize,
}

impl<T> Weigh for Kept<T> {
    #[inline]
    fn weight_bytes(&self) -> usize {
        size_of::<T>().saturating_add(self.owned_bytes)
    }
}

/// Idle values, and what they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Idle {
    pub(super) values: usize,
    pub(super) bytes: usize,
}

impl Idle {
    pub(super) fn of<T: Weigh>(values: &[T]) -> Self {
        let bytes = values.iter().fold(0usize, |sum, value| sum.wrapping_add(value.weight_bytes()));
        Self { values: values.len(), bytes }
    }
}

impl std::ops::AddAssign for Idle {
    fn add_assign(&mut self, other: Self) {
        self.values += other.values;
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// See the module documentation.
pub(super) struct Shards<T> {
    /// Shared with who asks how much is idle: see [`Self::on_show`].
    shards: Arc<[Shard<T>]>,
    /// Atomic: places that no shard has leased.
    spare: AtomicUsize,
}

/// One shard. Aligned so that no two share a cache line, nor the pair that a prefetcher takes.
#[repr(align(128))]
struct Shard<T> {
    state: Lock<State<T>>,
    /// Atomic: how many are idle here. Written under the lock; a hint without it.
    idle: AtomicUsize,
    /// Atomic: bytes of these. Written under the lock; a hint without it.
    bytes: AtomicUsize,
    /// Atomic: leased places that are not used. Written under the lock; a hint without it.
    slack: AtomicUsize,
}

/// Protected by the shard's lock.
struct State<T> {
    /// Idle, oldest first.
    live: Vec<T>,
    /// Marked by the last shrink.
    victims: Vec<T>,
    /// What both take. Wraps rather than trust what a user says that values own.
    bytes: usize,
    /// How many may be idle here.
    lease: usize,
    closed: bool,
    counts: Counts,
}

/// What has happened, counted where it happened: only sums over the shards mean something.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) gets: u64,
    pub(super) hits: u64,
    pub(super) steals: u64,
    pub(super) makes: u64,
    pub(super) gives: u64,
    pub(super) puts: u64,
    pub(super) drops: u64,
    pub(super) detached: u64,
    pub(super) waits: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.gets += other.gets;
        self.hits += other.hits;
        self.steals += other.steals;
        self.makes += other.makes;
        self.gives += other.gives;
        self.puts += other.puts;
        self.drops += other.drops;
        self.detached += other.detached;
        self.waits += other.waits;
    }
}

impl<T: Weigh> State<T> {
    fn len(&self) -> usize {
        self.live.len() + self.victims.len()
    }

    fn idle(&self) -> Idle {
        Idle { values: self.len(), bytes: self.bytes }
    }

    fn push(&mut self, value: T) {
        self.bytes = self.bytes.wrapping_add(value.weight_bytes());
        self.live.push(value);
    }

    fn pop(&mut self) -> Option<T> {
        let value = self.live.pop().or_else(|| self.victims.pop())?;
        self.bytes = self.bytes.wrapping_sub(value.weight_bytes());
        Some(value)
    }

    /// These values are idle no more, and dropped.
    fn strike(&mut self, dead: &[T]) {
        self.bytes = self.bytes.wrapping_sub(Idle::of(dead).bytes);
        self.counts.drops += dead.len() as u64;
    }
}

impl<T: Weigh> Shard<T> {
    fn new() -> Self {
        let state = State {
            live: Vec::new(),
            victims: Vec::new(),
            bytes: 0,
            lease: 0,
            closed: false,
            counts: Counts::default(),
        };
        let none = || AtomicUsize::new(0);
        Self { state: Lock::new(state), idle: none(), bytes: none(), slack: none() }
    }

    /// Unlocks, leaving the hints right.
    fn leave(&self, state: Guard<'_, State<T>>) {
        // Relaxed: hints.
        self.idle.store(state.len(), Ordering::Relaxed);
        self.bytes.store(state.bytes, Ordering::Relaxed);
        self.slack.store(state.lease - state.len(), Ordering::Relaxed);
        drop(state);
    }

    fn take(&self, count: impl FnOnce(&mut Counts, bool)) -> Option<T> {
        let mut state = self.state.lock();
        let value = state.pop();
        count(&mut state.counts, value.is_some());
        self.leave(state);
        value
    }
}

impl<T: Weigh> Shards<T> {
    /// `workers` shards and the one of plain threads, which together keep up to `max_idle`.
    pub(super) fn new(workers: usize, max_idle: usize) -> Self {
        let shards = (0..=workers.max(1)).map(|_| Shard::new()).collect();
        Self { shards, spare: AtomicUsize::new(max_idle) }
    }

    /// The shard of the M with this number, or of plain threads.
    #[inline]
    pub(super) fn of(&self, m: Option<u32>) -> usize {
        m.map_or(0, |m| 1 + m as usize % (self.shards.len() - 1))
    }

    /// Takes an idle value: the newest of shard `at`, else one of another shard. Counts a get.
    #[inline]
    pub(super) fn take(&self, at: usize) -> Option<T> {
        let own = self.shards[at].take(|counts, hit| {
            counts.gets += 1;
            counts.hits += u64::from(hit);
        });
        own.or_else(|| self.steal(at, |shard| shard.idle.load(Ordering::Relaxed) > 0))
    }

    /// As [`take`](Self::take), for a get that is counted already: looks into every shard under
    /// its lock, so a value that was given before the call is not overlooked.
    pub(super) fn take_surely(&self, at: usize) -> Option<T> {
        let own = self.shards[at].take(|counts, hit| counts.hits += u64::from(hit));
        own.or_else(|| self.steal(at, |_| true))
    }

    /// Takes from shard `at` what is to be handed on: no get.
    pub(super) fn withdraw(&self, at: usize) -> Option<T> {
        self.shards[at].take(|_, _| {})
    }

    #[cold]
    fn steal(&self, at: usize, promising: impl Fn(&Shard<T>) -> bool) -> Option<T> {
        let others = self.shards[at + 1..].iter().chain(&self.shards[..at]);
        others.filter(|shard| promising(shard)).find_map(|shard| {
            shard.take(|counts, hit| {
                counts.hits += u64::from(hit);
                counts.steals += u64::from(hit);
            })
        })
    }

    /// Keeps `value` in shard `at`, counting it with `count`. Gives it back if the pool is closed,
    /// or keeps as many as it may; then it is not counted.
    #[inline]
    pub(super) fn give(
        &self,
        at: usize,
        value: T,
        count: impl FnOnce(&mut Counts),
    ) -> Result<(), T> {
        let shard = &self.shards[at];
        let mut state = shard.state.lock();
        if state.closed {
            return Err(value);
        }
        if state.len() == state.lease {
            drop(state);
            if !self.lease_one() {
                return Err(value);
            }
            state = shard.state.lock();
            state.lease += 1;
            if state.closed {
                shard.leave(state);
                return Err(value);
            }
        }
        state.push(value);
        count(&mut state.counts);
        shard.leave(state);
        Ok(())
    }

    /// Takes one place out of `spare`, or out of a lease that is not used up.
    #[cold]
    fn lease_one(&self) -> bool {
        // Relaxed: a number of places; what is in them is under locks.
        let one_less = |spare: usize| spare.checked_sub(1);
        if self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return true;
        }
        self.shards.iter().any(|shard| {
            if shard.slack.load(Ordering::Relaxed) == 0 {
                return false;
            }
            let mut state = shard.state.lock();
            let unused = state.len() < state.lease;
            state.lease -= usize::from(unused);
            shard.leave(state);
            unused
        })
    }

    /// Counts something in shard `at`.
    pub(super) fn count(&self, at: usize, count: impl FnOnce(&mut Counts)) {
        count(&mut self.shards[at].state.lock().counts);
    }

    /// One step of shrinking: hands `dead` the values of each shard that were marked, and marks
    /// what is beyond the share `keep` of the others, oldest first.
    pub(super) fn shrink(&self, keep: f64, mut dead: impl FnMut(Vec<T>)) {
        for shard in &*self.shards {
            let mut state = shard.state.lock();
            let marked = std::mem::take(&mut state.victims);
            let kept = (state.live.len() as f64 * keep) as usize;
            let beyond = state.live.len() - kept.min(state.live.len());
            state.victims = state.live.drain(..beyond).collect();
            let room = state.live.len().max(KEEP);
            state.live.shrink_to(room);
            state.strike(&marked);
            shard.leave(state);
            dead(marked);
        }
    }

    /// Keeps nothing from now on, and hands `dead` what was idle.
    pub(super) fn close(&self, mut dead: impl FnMut(Vec<T>)) {
        for shard in &*self.shards {
            let mut state = shard.state.lock();
            state.closed = true;
            let mut idle = std::mem::take(&mut state.victims);
            idle.append(&mut state.live);
            state.live = Vec::new();
            state.strike(&idle);
            shard.leave(state);
            dead(idle);
        }
    }

    /// Whether nothing is kept any more.
    pub(super) fn is_closed(&self) -> bool {
        // Shard 0 is closed first.
        self.shards[0].state.lock().closed
    }

    /// The sums over all shards: what has happened, and what is idle.
    pub(super) fn sums(&self) -> (Counts, Idle) {
        let mut sums = (Counts::default(), Idle::default());
        for shard in &*self.shards {
            let state = shard.state.lock();
            sums.0.add(&state.counts);
            sums.1 += state.idle();
        }
        sums
    }

    /// A look at what is idle that takes no lock, and keeps the shards alive but not the pool: its holder must let go
    /// of it before the pool does, lest it drop the values.
    #[cfg(not(loom))]
    pub(super) fn on_show(&self) -> impl Fn() -> Idle + Send + Sync + use<T>
    where
        T: Send + 'static,
    {
        let shards = self.shards.clone();
        move || {
            let mut sum = Idle::default();
            for shard in &*shards {
                // Relaxed: of different shards they are of different moments anyway.
                let values = shard.idle.load(Ordering::Relaxed);
                sum += Idle { values, bytes: shard.bytes.load(Ordering::Relaxed) };
            }
            sum
        }
    }

    /// The invariants that a quiet pool keeps: `idle <= lease` in each shard, right hints, and all
    /// places accounted for.
    #[cfg(test)]
    pub(super) fn check(&self, max_idle: usize) {
        let mut places = self.spare.load(Ordering::Relaxed);
        for shard in &*self.shards {
            let state = shard.state.lock();
            assert!(state.len() <= state.lease);
            assert_eq!(shard.idle.load(Ordering::Relaxed), state.len());
            assert_eq!(shard.bytes.load(Ordering::Relaxed), state.bytes);
            let both = Idle::of(&state.live).bytes.wrapping_add(Idle::of(&state.victims).bytes);
            assert_eq!(state.bytes, both, "bytes were lost or invented");
            assert_eq!(shard.slack.load(Ordering::Relaxed), state.lease - state.len());
            places += state.lease;
        }
        assert_eq!(places, max_idle, "places were lost or invented");
    }
}
