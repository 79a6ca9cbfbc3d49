//! The runtime: what its Ms share, and how many of them there are.
//!
//! ```text
//!   Sched ── ms[0..procs]      made at the start, never retire
//!         ── ms[procs..]       made when one of them is stuck; retire when idle
//!         ── licences          procs of them: held by Ms that may take fresh work
//!         ── global            fresh work without a ring
//!         ── idle              who sleeps, who searches
//!         ── sysmon            watches for stuck Ms, ripe rings, deadlock
//! ```
//!
//! Threads hold the runtime alive (`Arc`); Ms point back to it. One process may run several, one
//! after the other or at once (tests do), each with its own threads; the stack pool and the
//! blocking pool are the process's.

use crate::errands::Errands;
use crate::global::Global;
use crate::m::{M, Placement, close::cancel_work, thread_main};
use crate::queue::idle::Idle;
use crate::queue::ring::CAPACITY;
use crate::sysmon::Bed;
use crate::work::Work;
use crate::{g::GRef, m::CurrentM};
use millpond_policy::calm::calm_ns;
use millpond_prim::sync::Lock;
use millpond_stack::SizeClass;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::task::Waker;

/// No runtime has more threads than this.
pub(crate) const MAX_MS: usize = 1024;

/// For so long after a goroutine was seen to keep an M from all others, nothing new is spread there:
/// what does so once does so again, and what is placed there would wait for it each time.
const HOGGED_FOR_NS: u64 = 2_000_000_000;

/// Calls in a row that did not pay, after which a calm holds for offers, too.
const DISCOURAGING: u32 = 4;

/// One runtime. See the module documentation.
pub(crate) struct Sched {
    me: Weak<Sched>,
    procs: usize,
    /// A test's: not offered to plain threads.
    private: bool,
    pub(crate) stack_class: SizeClass,
    pub(crate) rest: crate::rest::Budget,
    /// Filled from the front, under `growing`; read by all.
    ms: Box<[OnceLock<Box<M>>]>,
    /// How many of `ms` are filled. Atomic: written under `growing`.
    m_count: AtomicUsize,
    /// Ms without a thread. Protected by the lock, which also orders the making of Ms.
    growing: Lock<Vec<u32>>,
    /// Threads of Ms that run. Atomic.
    threads: AtomicUsize,
    /// Threads of Ms that have begun, ever. Atomic: counted under the lock of `frozen`.
    begun: AtomicUsize,
    /// Licences that no M holds. Atomic.
    licences: AtomicUsize,
    pub(crate) global: Global,
    pub(crate) idle: Idle,
    pub(crate) bed: Bed,
    pub(crate) errands: Errands,
    /// Until when new work calls nobody, on the exact clock. Atomic: written by thieves.
    calm_until_ns: AtomicU64,
    /// Calls in a row that did not pay. Atomic.
    calls_unpaid: AtomicU32,
    stopping: AtomicBool,
    /// Ms that sleep for good after `stopping`, because stacks are frozen on them.
    frozen: Mutex<usize>,
    /// Rung when an M's thread begins, ends or freezes.
    changed: Condvar,
}

impl Sched {
    /// Makes a runtime and starts its threads.
    pub(crate) fn start(
        procs: usize,
        stack_class: SizeClass,
        private: bool,
    ) -> io::Result<Arc<Self>> {
        let sched = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            procs,
            private,
            stack_class,
            rest: crate::rest::Budget::new(),
            ms: (0..MAX_MS).map(|_| OnceLock::new()).collect(),
            m_count: AtomicUsize::new(0),
            growing: Lock::new(Vec::new()),
            threads: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            licences: AtomicUsize::new(procs),
            global: Global::default(),
            idle: Idle::new(),
            bed: Bed::new(),
            errands: Errands::default(),
            calm_until_ns: AtomicU64::new(0),
            calls_unpaid: AtomicU32::new(0),
            stopping: AtomicBool::new(false),
            frozen: Mutex::new(0),
            changed: Condvar::new(),
        });
        let started = (0..procs).try_for_each(|_| sched.add_m().map(drop));
        match started.and_then(|()| crate::sysmon::start(&sched)) {
            Ok(()) => {
                sched.wait_for_threads();
                Ok(sched)
            }
            Err(error) => {
                sched.stop();
                Err(error)
            }
        }
    }

    pub(crate) fn procs(&self) -> usize {
        self.procs
    }

    pub(crate) fn is_private(&self) -> bool {
        self.private
    }

    pub(crate) fn keep_alive(&self) -> Arc<Self> {
        self.me.upgrade().expect("the runtime is in use")
    }

    pub(crate) fn m(&self, index: u32) -> &M {
        self.ms[index as usize].get().expect("an M is made before it is named")
    }

    /// All Ms made so far.
    pub(crate) fn ms(&self) -> Ms<'_> {
        Ms { sched: self, count: self.m_count.load(Ordering::Acquire) }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.load(Ordering::SeqCst)
    }

    // ---- licences ----

    pub(crate) fn free_licences(&self) -> usize {
        self.licences.load(Ordering::Relaxed)
    }

    pub(crate) fn take_licence(&self) -> bool {
        self.free_licences() > 0
            && self
                .licences
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
    }

    pub(crate) fn give_licence(&self) {
        self.licences.fetch_add(1, Ordering::AcqRel);
    }

    // ---- waking ----

    /// Fresh work has been queued: wakes one sleeper if a licence is free and nobody searches.
    #[inline]
    pub(crate) fn recruit(&self) {
        if self.free_licences() == 0 {
            return;
        }
        if let Some(index) = self.idle.recruit() {
            self.m(index).rouse();
        }
    }

    /// Whether new work should call nobody: the last who were called found too little.
    #[inline]
    pub(crate) fn is_calm(&self) -> bool {
        crate::clock::coarse_ns() < self.calm_until_ns.load(Ordering::Relaxed)
    }

    /// Whether it is calm and even an offer should call nobody: several calls in a row did not pay.
    pub(crate) fn is_discouraged(&self) -> bool {
        self.calls_unpaid.load(Ordering::Relaxed) >= DISCOURAGING && self.is_calm()
    }

    /// An M that was woken to help has seen what there was. Several at once may count each other
    /// out; the next calls set it right.
    pub(crate) fn note_call(&self, paid: bool, now_ns: u64) {
        let until_ns = if paid {
            self.calls_unpaid.store(0, Ordering::Relaxed);
            0
        } else {
            now_ns + calm_ns(self.calls_unpaid.fetch_add(1, Ordering::Relaxed))
        };
        self.calm_until_ns.store(until_ns, Ordering::Relaxed);
    }

    /// As [`Sched::recruit`], for work that nobody who is awake need get to. The fence orders the
    /// work before the look at the licences; a sleeper gives its licence back before its own fence
    /// and looks at such work after it (`must_stay_up`). So either the licence is seen here or the
    /// work there.
    pub(crate) fn recruit_surely(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.recruit();
    }

    /// Whether a processor has nothing to do: nobody has its licence, or who has it searches. A hint.
    pub(crate) fn anybody_idle(&self) -> bool {
        self.free_licences() > 0 || self.idle.searching() > 0
    }

    /// How many Ms may search at once.
    pub(crate) fn search_limit(&self) -> usize {
        self.procs.div_ceil(2)
    }

    /// Whether any queue of fresh work is not empty. A hint.
    pub(crate) fn has_fresh_work(&self) -> bool {
        self.global.len() > 0 || self.ms().iter().any(|m| m.p.has_work())
    }

    /// Whether there is fresh work that nobody who is awake will get to: a sleeper looks at this
    /// last.
    pub(crate) fn has_abandoned_work(&self) -> bool {
        self.global.len() > 0 || self.ms().iter().any(|m| !m.p.has_licence() && m.p.has_work())
    }

    /// An M leaves its sleep.
    pub(crate) fn note_awake(&self) {
        self.bed.wake_if_asleep();
    }

    // ---- placement ----

    /// Puts a goroutine that has not started where it is to start; from any thread.
    pub(crate) fn submit(&self, g: GRef, placement: Placement) {
        match CurrentM::get() {
            Some(m) if std::ptr::eq(m.sched(), self) => m.place(g, placement),
            _ => self.inject(Work::Goroutine(g)),
        }
    }

    /// Queues work from outside.
    pub(crate) fn inject(&self, work: Work) {
        if self.is_stopping() {
            drop(cancel_work(work));
            return;
        }
        self.global.extend([work]);
        // The end may have come between the two lines, after the Ms emptied the queue.
        if self.is_stopping() {
            self.cancel_global();
        }
        self.note_awake();
        self.recruit_surely();
    }

    /// sysmon: what lies in the queue of an M without a licence goes to the global queue. Thieves find it only when
    /// they have nothing of their own to do, and all who have a licence may be busy for ever; to the global queue they
    /// come in turn. By watching and not where a licence is taken: the M may be in the middle of a `go` then.
    ///
    /// Cancels nothing, since that drops closures of users: what is moved before [`Sched::stop`] empties the global
    /// queue is found there, and after that nothing is moved. Both look under the queue's lock.
    pub(crate) fn salvage(&self, m: &M) {
        self.global.extend_with(|| {
            let mut works = Vec::new();
            // So many halvings empty a full ring. Its thread may put more there meanwhile; that is seen the next time.
            for _ in 0..=CAPACITY.ilog2() {
                if m.p.has_licence() || self.is_stopping() {
                    break;
                }
                works.extend(m.p.ring.take_half());
            }
            if !self.is_stopping() {
                works.extend(m.p.take_next());
            }
            works
        });
        self.recruit_surely();
    }

    /// The M to which a spread goroutine goes: of those that nobody has kept to himself lately, the one
    /// with the fewest that live there; `lot` decides among equals. Not `here` among equals, nor in
    /// turn: every tenth connection may be a busy one, and would always meet the same M.
    pub(crate) fn least_loaded(&self, here: u32, lot: u32) -> u32 {
        let load = |m: &M| m.live.load(Ordering::Relaxed) + m.arriving.load(Ordering::Relaxed);
        let order = |m: &M| lot.wrapping_add(m.index) % self.procs as u32;
        let now_ns = crate::clock::coarse_ns();
        let hogged = |m: &M| {
            let seen_ns = m.hogged_ns.load(Ordering::Relaxed);
            seen_ns != 0 && now_ns.saturating_sub(seen_ns) < HOGGED_FOR_NS
        };
        self.ms()
            .iter()
            .take(self.procs)
            .filter(|m| m.adopted_by.try_lock().is_some_and(|by| by.is_none()))
            .min_by_key(|m| (hogged(m), load(m), order(m)))
            .map_or(here, |m| m.index)
    }

    // ---- Ms come and go ----

    /// Starts a thread for a retired M, or makes a new one.
    pub(crate) fn add_m(&self) -> io::Result<u32> {
        let mut retired = self.growing.lock();
        let index = match retired.pop() {
            Some(index) => index,
            None => {
                let index = self.m_count.load(Ordering::Relaxed);
                if index == MAX_MS {
                    return Err(io::Error::other(format!(
                        "{MAX_MS} threads are stuck in blocking calls; use millpond::blocking"
                    )));
                }
                let m = Box::new(M::new(index as u32, self)?);
                self.ms[index].set(m).map_err(drop).expect("filled under the lock");
                self.m_count.store(index + 1, Ordering::Release);
                index as u32
            }
        };
        self.threads.fetch_add(1, Ordering::SeqCst);
        let sched = self.keep_alive();
        let spawned =
            std::thread::Builder::new().name(format!("millpond-m{index}")).spawn(move || {
                sched.thread_began();
                thread_main(sched, index);
            });
        match spawned {
            Ok(_) => Ok(index),
            Err(error) => {
                self.threads.fetch_sub(1, Ordering::SeqCst);
                retired.push(index);
                Err(error)
            }
        }
    }

    /// The thread of an M has begun.
    fn thread_began(&self) {
        // Under the lock, so that who waits for it does not miss the bell.
        let _ordered = self.lock_frozen();
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Waits until the threads of a new runtime run. The kernel may start one behind another on the
    /// same processor, where it would come milliseconds late: too late for what the first goroutine
    /// starts, which stays where it has begun.
    fn wait_for_threads(&self) {
        let mut frozen = self.lock_frozen();
        while self.begun.load(Ordering::Relaxed) < self.procs {
            frozen = self.changed.wait(frozen).unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// The thread of an M has ended: it retired, or the runtime is over.
    pub(crate) fn thread_ended(&self, index: u32) {
        self.growing.lock().push(index);
        self.threads.fetch_sub(1, Ordering::SeqCst);
        let _ordered = self.lock_frozen();
        self.changed.notify_all();
    }

    /// M `by` polls for `orphan` from now on, if it is `still_away`. `false` if that is not so, or
    /// not possible.
    ///
    /// `still_away` is asked under the lock that the orphan takes before it sleeps
    /// ([`Sched::disown_poller`]): an M that is back before the question is not adopted, and one
    /// that is back after it finds itself adopted and ends that. So an M that sleeps has its
    /// poller, and with it the edge of its bell, to itself.
    pub(crate) fn adopt_poller(
        &self,
        orphan: &M,
        by: u32,
        still_away: impl FnOnce() -> bool,
    ) -> bool {
        let mut adopted_by = orphan.adopted_by.lock();
        if !still_away() {
            return false;
        }
        if adopted_by.is_some() || by == orphan.index {
            return adopted_by.is_some();
        }
        let adopter = self.m(by);
        if adopter.poller.adopt(&orphan.poller).is_err() {
            return false;
        }
        adopter.adoptees.fetch_add(1, Ordering::SeqCst);
        *adopted_by = Some(by);
        orphan.is_adopted.store(true, Ordering::Relaxed);
        true
    }

    /// What `from` has adopted is polled by `to` from now on: the kernel nests epoll instances
    /// only so deep, and `from` is about to be adopted itself.
    pub(crate) fn move_adoptees(&self, from: u32, to: u32) {
        if self.m(from).adoptees.load(Ordering::SeqCst) == 0 {
            return;
        }
        for orphan in self.ms().iter().filter(|m| m.index != to) {
            let mut adopted_by = orphan.adopted_by.lock();
            if *adopted_by == Some(from) && self.m(to).poller.adopt(&orphan.poller).is_ok() {
                self.m(to).adoptees.fetch_add(1, Ordering::SeqCst);
                *adopted_by = Some(to);
                self.m(from).poller.disown(&orphan.poller);
                self.m(from).adoptees.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// `orphan` polls for itself again.
    pub(crate) fn disown_poller(&self, orphan: &M) {
        let mut adopted_by = orphan.adopted_by.lock();
        if let Some(by) = adopted_by.take() {
            let adopter = self.m(by);
            adopter.poller.disown(&orphan.poller);
            adopter.adoptees.fetch_sub(1, Ordering::SeqCst);
            orphan.is_adopted.store(false, Ordering::Relaxed);
        }
    }

    // ---- the end ----

    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// An M will sleep for good.
    pub(crate) fn note_frozen(&self) {
        *self.lock_frozen() += 1;
        self.changed.notify_all();
    }

    fn lock_frozen(&self) -> std::sync::MutexGuard<'_, usize> {
        self.frozen.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Ends the runtime: see [`crate::m`]'s `close`. Waits for Ms that are not inside a goroutine;
    /// one that is (stuck in a blocking call, or computing) closes when it comes back.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.bed.wake();
        let mut frozen = self.lock_frozen();
        loop {
            let ms = self.ms();
            ms.iter().for_each(M::rouse);
            let inside = ms.iter().filter(|m| m.is_inside()).count();
            if self.threads() <= *frozen + inside {
                break;
            }
            // The time limit only re-reads `inside`, which nobody announces.
            let wait = std::time::Duration::from_millis(1);
            frozen = match self.changed.wait_timeout(frozen, wait) {
                Ok((frozen, _)) => frozen,
                Err(poison) => poison.into_inner().0,
            };
        }
        drop(frozen);
        self.cancel_tasks();
        self.cancel_global();
        self.ms().iter().for_each(|m| self.cancel_inbox(m));
    }

    fn cancel_global(&self) {
        let works = self.global.take_all();
        let leftovers: Vec<_> = works.into_iter().filter_map(cancel_work).collect();
        drop(leftovers);
    }

    /// Cancels what is in the inbox of an M that will not look at it again.
    pub(crate) fn cancel_inbox(&self, m: &M) {
        let mut works = Vec::new();
        m.empty_inbox(|g| works.push(Work::Goroutine(g)));
        let leftovers: Vec<_> = works.into_iter().filter_map(cancel_work).collect();
        drop(leftovers);
    }

    /// Wakes every task that waits, so that it is scheduled, and dropped there because the runtime
    /// has ended.
    fn cancel_tasks(&self) {
        let wakers: Vec<Waker> = self.ms().iter().flat_map(|m| m.tasks.lock().close()).collect();
        wakers.into_iter().for_each(crate::wait::wake);
    }
}

impl Drop for Sched {
    fn drop(&mut self) {
        self.ms().iter().for_each(M::wait_for_posters);
    }
}

/// The Ms of a runtime at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Ms<'a> {
    sched: &'a Sched,
    count: usize,
}

impl<'a> Ms<'a> {
    pub(crate) fn len(self) -> usize {
        self.count
    }

    pub(crate) fn get(self, index: usize) -> Option<&'a M> {
        self.sched.ms[..self.count].get(index)?.get().map(|m| &**m)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a M> {
        (0..self.count).filter_map(move |index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Closures of users are dropped by who ends the runtime, and not by sysmon.
    #[test]
    fn who_salvages_when_the_runtime_ends_drops_nothing() {
        struct Says(std::sync::mpsc::Sender<std::thread::ThreadId>);
        impl Drop for Says {
            fn drop(&mut self) {
                let _ = self.0.send(std::thread::current().id());
            }
        }
        let (says, dropped) = std::sync::mpsc::channel();
        let ended = crate::Builder::new().procs(1).private().run(move || {
            let m = CurrentM::get().expect("a goroutine");
            let sched = m.sched().keep_alive();
            let says = Says(says);
            drop(crate::go(move || std::mem::forget(says)));
            if m.p.revoke() {
                sched.give_licence();
            }
            sched.stopping.store(true, Ordering::SeqCst);
            let at = sched.clone();
            let index = m.index;
            // A thread like sysmon's, while this M is away.
            std::thread::spawn(move || {
                at.salvage(at.m(index));
                std::thread::current().id()
            })
            .join()
            .expect("it does not panic")
        });
        let salvager = ended.expect("the runtime starts");
        assert_ne!(dropped.recv().expect("dropped in the end"), salvager);
    }
}
