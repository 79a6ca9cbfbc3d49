//! Looking for work in other Ms' queues.
//!
//! A goroutine that is stolen before its first run is bound to the thief for life, so stealing
//! decides *where things live*. Two goroutines that talk and are torn apart pay microseconds for
//! each message instead of a tenth of one. So a thief is patient: it notes what each ring holds
//! and takes, after its owner has had [`RIPE_NS`] of a processor, only what is still there, because
//! that is what its owner does not get to. A ring that moves is left alone. `next` goes last and only
//! if it has not changed for as long.
//!
//! The owner's *processor time*, not time: on a machine that has other things to do, an owner is
//! often off its processor for longer than that, and would come back to find torn apart what it was
//! about to run. (An owner that sleeps in the kernel is sysmon's business.)
//!
//! The exception is an M without a licence: it may not run what is in its ring, so that is taken
//! at once.
//!
//! Looking costs a processor, so it ends when there is nothing to look at, and after
//! [`WATCH_NS`] in any case; sysmon wakes somebody later if a ring stays full.
//!
//! An M that was woken in order to search says what it was good for: nothing, or how long the
//! *loot* kept it. If that is less than waking it cost, new work calls nobody for a while
//! ([`millpond_policy::calm`]), and who has nothing to do then sleeps instead of searching.

use super::{CurrentM, M};
use crate::queue::ring::{CAPACITY, Sighting};
use crate::work::Work;
use millpond_policy::calm::paid;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What has waited for this long is stolen. Measured: see ARCHITECTURE.md, "placement".
pub(crate) const RIPE_NS: u64 = 30_000;

/// How long a search watches rings that move.
const WATCH_NS: u64 = 3 * RIPE_NS;

/// What was seen in one M's queue, and when.
struct Watch {
    ring: Sighting,
    next: usize,
    /// When, on the wall and on the owner's processor clock.
    since_ns: u64,
    since_cpu_ns: Option<u64>,
}

impl Watch {
    fn begin(victim: &M, now_ns: u64) -> Self {
        Self {
            ring: victim.p.ring.watch(),
            next: victim.p.peek_next(),
            since_ns: now_ns,
            since_cpu_ns: cpu_ns(victim),
        }
    }

    /// Whether the owner has had its time. Where the kernel tells nothing, time decides.
    fn is_over(&self, victim: &M, now_ns: u64) -> bool {
        if now_ns - self.since_ns < RIPE_NS {
            return false;
        }
        match (self.since_cpu_ns, cpu_ns(victim)) {
            // Half of it: the thief's own clock readings count on the wall, not there.
            (Some(before_ns), Some(cpu_ns)) => cpu_ns.saturating_sub(before_ns) >= RIPE_NS / 2,
            _ => true,
        }
    }
}

fn cpu_ns(m: &M) -> Option<u64> {
    millpond_sys::clock::thread_cpu_ns(m.tid.load(Ordering::Relaxed))
}

impl CurrentM {
    /// Searches until something is found, something of its own turns up, or there is no point.
    pub(super) fn search(&self) -> Option<Work> {
        let sched = self.sched();
        self.judge_loot();
        if !self.local().searching.get() {
            if sched.is_calm() || !sched.idle.begin_search(sched.search_limit()) {
                return None;
            }
            self.local().searching.set(true);
        }
        let found = self.look_until_found();
        if found.is_none() && self.local().recruited.replace(false) {
            sched.note_call(false, crate::clock::now_ns());
        }
        found
    }

    /// What the last call was good for, now that its loot is used up.
    fn judge_loot(&self) {
        let (pieces, since_ns) = self.local().loot.replace((0, 0));
        if pieces > 0 {
            let now_ns = crate::clock::now_ns();
            self.sched().note_call(paid(pieces, now_ns.saturating_sub(since_ns)), now_ns);
        }
    }

    fn look_until_found(&self) -> Option<Work> {
        let sched = self.sched();
        let began_ns = crate::clock::now_ns();
        let mut watches: Vec<Option<Watch>> = Vec::new();
        loop {
            let now_ns = crate::clock::now_ns();
            let (found, promising) = self.look_round(&mut watches, now_ns);
            if found.is_some() {
                return found;
            }
            if let Some(work) = sched.global.pop_batch(&self.p) {
                return Some(work);
            }
            if !promising || now_ns - began_ns > WATCH_NS || self.has_messages() {
                return None;
            }
            if self.poll_events(Some(Duration::ZERO)) > 0 {
                return None;
            }
            (0..32).for_each(|_| std::hint::spin_loop());
        }
    }

    /// One look at every other M. The second answer: whether anything was there to wait for.
    fn look_round(&self, watches: &mut Vec<Option<Watch>>, now_ns: u64) -> (Option<Work>, bool) {
        let ms = self.sched().ms();
        let count = ms.len();
        watches.resize_with(count.max(watches.len()), || None);
        let mut promising = false;
        let first = self.local().random() as usize;
        for offset in 0..count {
            let at = (first + offset) % count;
            let Some(victim) = ms.get(at) else { continue };
            if victim.index == self.index || !victim.p.has_work() {
                watches[at] = None;
                continue;
            }
            promising = true;
            if let Some(work) = self.rob(victim, &mut watches[at], now_ns) {
                return (Some(work), true);
            }
        }
        (None, promising)
    }

    /// Steals from `victim` what is ripe.
    fn rob(&self, victim: &M, watch: &mut Option<Watch>, now_ns: u64) -> Option<Work> {
        if !victim.p.has_licence() {
            return self.take_from(victim, CAPACITY).or_else(|| victim.p.take_next());
        }
        let seen = watch.get_or_insert_with(|| Watch::begin(victim, now_ns));
        if !seen.is_over(victim, now_ns) {
            return None;
        }
        let ripe = victim.p.ring.ripe(seen.ring);
        if ripe > 0 {
            return self.take_from(victim, ripe.div_ceil(2));
        }
        if seen.next != 0 && victim.p.peek_next() == seen.next && victim.p.ring.len() == 0 {
            return victim.p.take_next();
        }
        *watch = None;
        None
    }

    fn take_from(&self, victim: &M, limit: u32) -> Option<Work> {
        let pieces = victim.p.ring.steal_into(&self.p.ring, limit);
        if pieces > 0 && self.local().recruited.replace(false) {
            self.local().loot.set((pieces, crate::clock::now_ns()));
        }
        (pieces > 0).then(|| self.p.pop()).flatten()
    }

    /// This M has found something to do. If nobody else searches and there may be more, somebody
    /// should.
    pub(super) fn end_search(&self) {
        self.local().searching.set(false);
        if self.sched().idle.end_search() && self.sched().has_fresh_work() {
            self.sched().recruit();
        }
    }
}
