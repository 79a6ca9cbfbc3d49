//! One look at the head of the line: who is put to rest, who goes to its end.
//!
//! On the M's own stack, between two turns, under the lock of its registry: what is taken away and put
//! back stays where dumps find it. The lock is held for some hundred microseconds at most, and only
//! dumps wait for it.

use super::note::Why;
use super::sites;
use crate::g::{G, Status};
use crate::m::CurrentM;
use crate::poll_stack::Ground;
use crate::timers::NEVER;
use millpond_stack::{Parked, lookup};
use std::sync::atomic::Ordering;

/// Goroutines that are looked at before the M looks for work again.
const LOOKS: usize = 256;

/// Stacks that an idle M puts to rest before it looks for work again, and a busy one.
const IDLE_BATCH: usize = 64;
const BUSY_BATCH: usize = 256;

/// How long a goroutine is parked that a busy M puts to rest.
const BUSY_AGE_NS: u64 = 100_000_000;

/// Whose timer is due sooner is left warm: to rest and to wake costs what some thousand switches do.
const SOON_NS: u64 = 5_000_000_000;

/// How soon a busy M looks again when it found nobody.
const BUSY_PAUSE_NS: u64 = 10_000_000;

/// Stacks of one chunk are put to rest together where possible: these bits of an address are its own.
const CHUNK_SHIFT: u32 = 21;

/// What is to be done with one.
enum Verdict {
    Rest {
        sp: usize,
        live_bytes: usize,
    },
    /// Not now: at this time.
    Later(u64),
    /// It stays; what is below the stack pointer may go.
    Keep(Option<usize>),
}

impl CurrentM {
    /// The M is about to sleep. `true`: something was looked at, so it looks for work again.
    #[inline]
    pub(crate) fn rest_idle(&self) -> bool {
        let rest = &self.local().rest;
        if rest.left.get() == 0 {
            if self.registry.warm() == 0 || self.sched().rest.warm() == usize::MAX {
                rest.due_ns.set(NEVER);
                return false;
            }
            if !self.is_round_due() {
                return false;
            }
        }
        self.go_on_with_round();
        true
    }

    /// Before the M enters the idle list: sysmon wakes it when the next round is due.
    pub(crate) fn publish_rest_due(&self) {
        let due_ns = self.local().rest.due_ns.get();
        if self.rest_due_ns.load(Ordering::Relaxed) != due_ns {
            self.rest_due_ns.store(due_ns, Ordering::Release);
        }
    }

    /// Whether a round through the line begins now. If anything has run since the last, there will be
    /// one.
    fn is_round_due(&self) -> bool {
        let rest = &self.local().rest;
        let (now_ns, changes) = (crate::clock::coarse_ns(), self.sched().rest.changes());
        if rest.changes.replace(changes) != changes {
            rest.due_ns.set(now_ns);
        }
        if rest.due_ns.get() == NEVER {
            let switches = self.switches.load(Ordering::Relaxed);
            if switches != rest.switches.replace(switches) {
                rest.due_ns.set(now_ns + self.sched().rest.after_ns());
            }
        }
        if now_ns < rest.due_ns.get() {
            return false;
        }
        rest.switches.set(self.switches.load(Ordering::Relaxed));
        rest.left.set(self.registry.warm());
        rest.soonest_ns.set(NEVER);
        true
    }

    #[cold]
    fn go_on_with_round(&self) {
        let rest = &self.local().rest;
        let (now_ns, after_ns) = (crate::clock::tick(), self.sched().rest.after_ns());
        let surplus = self.registry.warm().saturating_sub(self.sched().rest.warm());
        let looks = rest.left.get().min(LOOKS);
        let looked = self.look(looks, surplus, IDLE_BATCH, now_ns.saturating_sub(after_ns), true);
        rest.left.set(rest.left.get().saturating_sub(looked.max(1)));
        if rest.left.get() == 0 {
            let soonest_ns = rest.soonest_ns.get();
            let due_ns =
                if soonest_ns == NEVER { NEVER } else { soonest_ns.max(now_ns + after_ns / 4) };
            rest.due_ns.set(due_ns);
        }
    }

    /// A busy M, from time to time.
    #[inline]
    pub(crate) fn rest_excess(&self) {
        let factor = self.local().rest.burst.factor();
        let most = self.sched().rest.warm().saturating_mul(factor);
        if self.registry.warm() > most {
            self.rest_some(most);
        }
    }

    #[cold]
    fn rest_some(&self, most: usize) {
        let rest = &self.local().rest;
        let (now_ns, warm) = (crate::clock::tick(), self.registry.warm());
        let far_too_many = warm > most.saturating_mul(2);
        if now_ns < rest.excess_ns.get() {
            return;
        }
        let age_ns = if far_too_many { 0 } else { BUSY_AGE_NS };
        // Between two looks some four hundred goroutines may have started: one batch does not keep up.
        for _ in 0..if far_too_many { 2 } else { 1 } {
            // A batch beyond: the next one is then not of a few, and chunks are not torn apart.
            let surplus = self.registry.warm().saturating_sub(most) + BUSY_BATCH;
            self.look(2 * LOOKS, surplus, BUSY_BATCH, now_ns.saturating_sub(age_ns), false);
        }
        rest.burst.rested(warm.saturating_sub(self.registry.warm()));
        if self.registry.warm() == warm {
            rest.excess_ns.set(now_ns + BUSY_PAUSE_NS);
        }
    }

    /// Looks at up to `looks` at the head of the line, and puts up to `surplus` to rest that were parked
    /// before `before_ns`: a `batch`, and what else is in the last one's chunk. How many were
    /// looked at.
    fn look(
        &self,
        looks: usize,
        surplus: usize,
        batch: usize,
        before_ns: u64,
        shrink: bool,
    ) -> usize {
        let Ok(pool) = crate::stacks::pool() else { return looks };
        let rest = &self.local().rest;
        let mut stacks = rest.batch.take();
        let mut registry = self.registry.lock();
        let mut looked = 0;
        while looked < looks
            && let Some(g) = registry.oldest()
        {
            let chunk = stacks.last().map(|last: &Parked| last.sp >> CHUNK_SHIFT);
            let verdict =
                self.judge(g, before_ns, chunk.filter(|_| stacks.len() >= surplus), surplus);
            if let Verdict::Rest { sp, live_bytes } = verdict {
                if stacks.len() >= batch && chunk != Some(sp >> CHUNK_SHIFT) {
                    break;
                }
                let site = sites::of(g.spec.location, rest);
                site.note_live(live_bytes);
                g.rest.measured(live_bytes);
                let key = std::ptr::from_ref(g) as usize;
                stacks.push(Parked { sp, origin: &site.origin, key, copy_bytes: 0 });
                registry.lay_down();
            } else {
                match verdict {
                    Verdict::Later(at_ns) => rest.soonest_ns.set(rest.soonest_ns.get().min(at_ns)),
                    Verdict::Keep(Some(sp)) if shrink => {
                        // SAFETY: suspended on this M, which alone resumes it.
                        unsafe { pool.shrink(sp) };
                    }
                    _ => {}
                }
                registry.renew();
            }
            looked += 1;
        }
        // SAFETY: suspended goroutines of this M, which alone resumes them, after `unrest`.
        unsafe { pool.rest(&mut stacks) };
        for parked in stacks.drain(..) {
            // SAFETY: the registry, which is locked, holds a count of each.
            let g = unsafe { &*(parked.key as *const G) };
            if parked.copy_bytes > 0 {
                g.exec(self).at_rest.set(true);
                g.rest.at_rest(g.rest.live_bytes().unwrap_or(0));
            } else {
                g.rest.cannot(Why::Refused);
                // SAFETY: laid down above, in this registry.
                unsafe { registry.get_up(g) };
            }
        }
        drop(registry);
        rest.batch.replace(stacks);
        looked
    }

    /// Decides about one. When as many rest as should, `only` those of one chunk do still.
    fn judge(&self, g: &G, before_ns: u64, only: Option<usize>, surplus: usize) -> Verdict {
        let exec = g.exec(self);
        let later = |since_ns| Verdict::Later(since_ns + self.sched().rest.after_ns());
        if g.status() != Status::Waiting {
            return Verdict::Keep(None);
        }
        if g.since_ns() > before_ns {
            return later(g.since_ns());
        }
        let wakes_ns = exec.wakes_ns.get();
        if wakes_ns != 0 && wakes_ns < before_ns.saturating_add(SOON_NS) {
            return later(wakes_ns);
        }
        let shrunk = (g.since_ns() >> 20) as u16 | 1;
        let below = |sp| (exec.shrunk.replace(shrunk) != shrunk).then_some(sp);
        let Some(sp) = exec.saved_sp() else {
            let polls = exec.ground.get() == Ground::Poll;
            g.rest.cannot(if polls { Why::Poll } else { Why::OtherStack });
            return Verdict::Keep(None);
        };
        g.rest.on_own_stack();
        let live_bytes = lookup(sp).map_or(0, |slot| slot.base - sp);
        let room = surplus > 0 && only.is_none_or(|chunk| chunk == sp >> CHUNK_SHIFT);
        if !room || g.spec.system || !g.spec.restable || exec.pins.get() > 0 {
            return Verdict::Keep(below(sp));
        }
        if sites::of(g.spec.location, &self.local().rest).is_touched() {
            g.rest.cannot(Why::Touched);
            return Verdict::Keep(below(sp));
        }
        g.rest.forget();
        Verdict::Rest { sp, live_bytes }
    }

    /// Before a switch to `g`: its stack is put back if it is at rest.
    #[inline]
    pub(crate) fn unrest(&self, g: &G) {
        if g.exec(self).at_rest.get() {
            self.wake_stack(g);
        }
    }

    #[cold]
    fn wake_stack(&self, g: &G) {
        let exec = g.exec(self);
        exec.at_rest.set(false);
        let (Ok(pool), Some(sp)) = (crate::stacks::pool(), exec.saved_sp()) else {
            crate::say::die("a goroutine at rest has no stack")
        };
        let parked_ns = crate::clock::coarse_ns().saturating_sub(g.since_ns());
        if parked_ns < self.sched().rest.after_ns() {
            self.local().rest.burst.woke_early();
        }
        let mut registry = self.registry.lock();
        // SAFETY: this M put it to rest, and is about to resume it.
        let touched = unsafe { pool.wake(sp) };
        // SAFETY: at rest, so it was laid down in this registry.
        unsafe { registry.get_up(g) };
        // Under the lock: as long as others see it at rest there, it is.
        g.rest.forget();
        drop(registry);
        if touched {
            sites::of(g.spec.location, &self.local().rest).is_touched();
        }
    }
}
