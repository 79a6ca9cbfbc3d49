//! Looking for work in other Ms' queues.
//!
//! A goroutine that is stolen before its first run is bound to the thief for life, so stealing
//! decides *where things live*. Two goroutines that talk and are torn apart pay microseconds for
//! each message instead of a tenth of one. So a thief is patient: it notes what each ring holds
//! and takes, after its owner has had [`RIPE_NS`] of a processor, only what is still there, because
//! that is what its owner does not get to. It leaves be what talks all the time there, and would go
//! on doing so across threads ([`millpond_policy::patience`]; the counts of a [`Watch`] are for that).
//! `next` goes last and only if it has not changed for as long.
//!
//! The owner's *processor time*, not time: on a machine that has other things to do, an owner is
//! often off its processor for longer than that, and would come back to find torn apart what it was
//! about to run. (An owner that sleeps in the kernel is sysmon's business.)
//!
//! The exceptions are an M without a licence, which may not run what is in its ring, and one that
//! offers it ([`super::offer`]): there it is taken at once.
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
use millpond_policy::patience;
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
    /// Its counts at that time.
    switches: u64,
    talks: u64,
}

impl Watch {
    fn begin(victim: &M, now_ns: u64) -> Self {
        Self {
            ring: victim.p.ring.watch(),
            next: victim.p.peek_next(),
            since_ns: now_ns,
            since_cpu_ns: cpu_ns(victim),
            switches: victim.switches.load(Ordering::Relaxed),
            talks: victim.talks.load(Ordering::Relaxed),
        }
    }

    /// What was seen, once the owner has had its time. Where the kernel tells nothing, time decides.
    fn result(&self, victim: &M, now_ns: u64) -> Option<patience::Watch> {
        let waited_ns = now_ns - self.since_ns;
        if waited_ns < RIPE_NS {
            return None;
        }
        let watched_ns = match (self.since_cpu_ns, cpu_ns(victim)) {
            (Some(before_ns), Some(cpu_ns)) => cpu_ns.saturating_sub(before_ns),
            _ => waited_ns,
        };
        // Odd while a goroutine runs, so that half of it counts the turns that have ended.
        let turns = victim.switches.load(Ordering::Relaxed) / 2 - self.switches / 2;
        // Half of the time: the thief's own clock readings count on the wall, not there. A single turn that
        // ended says nothing about the next: it may have begun long before.
        let enough_ns = if turns == 1 { 2 * RIPE_NS } else { RIPE_NS / 2 };
        (watched_ns >= enough_ns).then(|| patience::Watch {
            watched_ns,
            turns,
            talks: victim.talks.load(Ordering::Relaxed) - self.talks,
            taken: victim.p.ring.left_since(self.ring),
            left: victim.p.ring.ripe(self.ring),
        })
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
        if victim.p.is_offered() {
            return self.take_from(victim, CAPACITY);
        }
        let seen = watch.get_or_insert_with(|| Watch::begin(victim, now_ns));
        let result = seen.result(victim, now_ns)?;
        if result.left > 0 {
            return if patience::may_take(&result) {
                self.take_from(victim, result.left.div_ceil(2))
            } else {
                None
            };
        }
        let next_waits = seen.next != 0 && victim.p.peek_next() == seen.next;
        if next_waits && victim.p.ring.len() == 0 {
            let result = patience::Watch { left: 1, ..result };
            return patience::may_take(&result).then(|| victim.p.take_next()).flatten();
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
