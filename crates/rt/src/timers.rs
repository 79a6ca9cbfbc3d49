//! The timers of one M: deadlines in order, each with the ticket of a wait.
//!
//! A timer does not call anything: it claims a wait, as any other party would, and readies the
//! waiter. So a timer that lost against a sender needs no removal to be harmless: its claim fails.
//! It is removed all the same, or a loop of `recv_timeout` would fill the queue with the dead:
//! whoever ends a wait before its deadline counts it ([`Timers::forsake`]), and an insertion that
//! finds more dead than living sweeps them out, which costs a constant per timer over time.
//!
//! A program has few spans (one read time-out, one interval), and timers of the same span are set in
//! the order in which they are due. So in front of the heap there are a few *runs*, each in order: a
//! deadline shortly after the last of a run is appended to it, and only what fits nowhere goes into
//! the heap. Of a million sleepers of a second none comes into the heap, where taking out one
//! of half a million costs twenty levels of cache misses.
//!
//! All of it is behind a lock because a task's timer may be set from another thread and because
//! another M fires the timers of one that is stuck. The lock is almost always free.
//!
//! Rejected: a wheel of 1 ms slots (a million sleepers fit in either; this keeps nanoseconds, and a
//! deadline in the far future costs no cascades); removal by position (a position kept in each
//! waiter, moved at each sift); a list per span (somebody must find it, and throw it away).

use crate::wait::Ticket;
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Room for so many timers is kept from one sweep to the next.
const KEEP: usize = 1024;

/// Runs in front of the heap: so many spans are in use at once without it.
const RUNS: usize = 4;

/// How far apart neighbours in a run are at most. Timers that come more rarely may use the heap.
const GAP_NS: u64 = 100_000_000;

/// No timer.
pub(crate) const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Entry {
    at_ns: u64,
    ticket: Ticket,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at_ns == other.at_ns
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at_ns.cmp(&other.at_ns)
    }
}

/// Timers, earliest first.
#[derive(Debug, Default)]
struct Queue {
    /// Each in order of its deadlines.
    runs: [VecDeque<Entry>; RUNS],
    /// What fitted into no run.
    heap: BinaryHeap<Reverse<Entry>>,
}

impl Queue {
    fn len(&self) -> usize {
        self.runs.iter().map(VecDeque::len).sum::<usize>() + self.heap.len()
    }

    /// To the run that ends closest before it, else to an empty one. Not far behind the last of a run:
    /// a single long timer at the end of a run would shut it for all that are shorter.
    fn push(&mut self, entry: Entry) {
        let at_ns = entry.at_ns;
        let end_ns = |run: &VecDeque<Entry>| run.back().map(|last| last.at_ns);
        let fits = |end_ns: u64| end_ns <= at_ns && at_ns - end_ns <= GAP_NS;
        let fitting = self.runs.iter_mut().filter(|run| end_ns(run).is_none_or(fits));
        match fitting.max_by_key(|run| end_ns(run)) {
            Some(run) => run.push_back(entry),
            None => self.heap.push(Reverse(entry)),
        }
    }

    fn first_ns(&self) -> u64 {
        let heap_ns = self.heap.peek().map_or(NEVER, |entry| entry.0.at_ns);
        self.fronts().fold(heap_ns, |first_ns, (_, at_ns)| first_ns.min(at_ns))
    }

    /// The runs that hold something, with the first deadline of each.
    fn fronts(&self) -> impl Iterator<Item = (usize, u64)> {
        let numbered = self.runs.iter().enumerate();
        numbered.filter_map(|(number, run)| Some((number, run.front()?.at_ns)))
    }

    fn pop(&mut self) -> Option<Entry> {
        let heap_ns = self.heap.peek().map_or(NEVER, |entry| entry.0.at_ns);
        match self.fronts().min_by_key(|&(_, at_ns)| at_ns) {
            Some((number, at_ns)) if at_ns <= heap_ns => self.pop_run(number),
            _ => self.heap.pop().map(|entry| entry.0),
        }
    }

    /// Takes the first of a run. One that was long gives its memory back with the last.
    fn pop_run(&mut self, number: usize) -> Option<Entry> {
        let run = &mut self.runs[number];
        let entry = run.pop_front();
        if run.is_empty() && run.capacity() > KEEP {
            *run = VecDeque::new();
        }
        entry
    }

    /// Moves the timers whose wait has ended to `dead`. Allocates nothing else.
    fn part_with_dead(&mut self, dead: &mut Vec<Entry>) {
        for run in &mut self.runs {
            for _ in 0..run.len() {
                match run.pop_front() {
                    Some(entry) if entry.ticket.is_open() => run.push_back(entry),
                    ended => dead.extend(ended),
                }
            }
        }
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        let mut place = 0;
        while place < entries.len() {
            if entries[place].0.ticket.is_open() {
                place += 1;
            } else {
                dead.push(entries.swap_remove(place).0);
            }
        }
        self.heap = BinaryHeap::from(entries);
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Timers {
    queue: Lock<Queue>,
    /// An empty vector for the next sweep. Protected by its lock, which is taken alone.
    spare: Lock<Vec<Entry>>,
    /// The earliest deadline, or [`NEVER`]. Atomic: written under the lock of `queue`.
    next_ns: AtomicU64,
    /// Timers whose wait ended otherwise, at most. Atomic.
    forsaken: AtomicUsize,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            queue: Lock::new(Queue::default()),
            spare: Lock::new(Vec::new()),
            next_ns: AtomicU64::new(NEVER),
            forsaken: AtomicUsize::new(0),
        }
    }

    /// The earliest deadline, or [`NEVER`].
    #[inline]
    pub(crate) fn next_ns(&self) -> u64 {
        self.next_ns.load(Ordering::Acquire)
    }

    /// Anyone: at `at_ns` claim `ticket`. `true` if this is now the earliest: another thread must
    /// then ring the M.
    pub(crate) fn insert(&self, at_ns: u64, ticket: Ticket) -> bool {
        let mut queue = self.queue.lock();
        if self.forsaken.load(Ordering::Relaxed) > queue.len() / 2 + 64 {
            drop(queue);
            self.sweep();
            queue = self.queue.lock();
        }
        queue.push(Entry { at_ns, ticket });
        // Only what comes first changes what is first.
        let first = at_ns <= self.next_ns.load(Ordering::Relaxed);
        if first {
            self.next_ns.store(at_ns, Ordering::Release);
        }
        first
    }

    /// Takes out the timers whose wait has ended. Allocates nothing once it has been as large before.
    #[cold]
    fn sweep(&self) {
        let mut dead = std::mem::take(&mut *self.spare.lock());
        let mut queue = self.queue.lock();
        self.forsaken.store(0, Ordering::Relaxed);
        queue.part_with_dead(&mut dead);
        self.next_ns.store(queue.first_ns(), Ordering::Release);
        drop(queue);
        // Outside the lock: the last reference to a waiter may go with them.
        dead.clear();
        if dead.capacity() <= KEEP {
            *self.spare.lock() = dead;
        }
    }

    /// Anyone: a wait with a timer in this queue ended before its deadline.
    #[inline]
    pub(crate) fn forsake(&self) {
        self.forsaken.fetch_add(1, Ordering::Relaxed);
    }

    /// Fires what is due; returns how many waits it ended.
    pub(crate) fn fire(&self, now_ns: u64) -> usize {
        if now_ns < self.next_ns() {
            return 0;
        }
        let mut ended = 0;
        loop {
            let due: Vec<Entry> = {
                let mut queue = self.queue.lock();
                let mut due = Vec::new();
                let mut first_ns = queue.first_ns();
                while due.len() < 256 && first_ns <= now_ns {
                    let Some(entry) = queue.pop() else { break };
                    due.push(entry);
                    first_ns = queue.first_ns();
                }
                self.next_ns.store(first_ns, Ordering::Release);
                due
            };
            if due.is_empty() {
                return ended;
            }
            for entry in due {
                if entry.ticket.fire_timer() {
                    ended += 1;
                } else {
                    self.forsaken
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                        .ok();
                }
            }
        }
    }

    /// Whether a timer could still end somebody's wait. Drops those that could not.
    pub(crate) fn any_open(&self) -> bool {
        let mut dead = Vec::new();
        let mut queue = self.queue.lock();
        while queue.heap.peek().is_some_and(|entry| !entry.0.ticket.is_open()) {
            dead.extend(queue.heap.pop().map(|entry| entry.0));
        }
        for number in 0..RUNS {
            while queue.runs[number].front().is_some_and(|entry| !entry.ticket.is_open()) {
                dead.extend(queue.pop_run(number));
            }
        }
        self.next_ns.store(queue.first_ns(), Ordering::Release);
        let any = queue.len() > 0;
        drop(queue);
        // Outside the lock: the last reference to a waiter may go with them.
        drop(dead);
        any
    }

    /// Ends all waits early: the runtime has ended. A future that slept finds out by the clock, and
    /// sets its timer elsewhere.
    pub(crate) fn end(&self) {
        let mut queue = self.queue.lock();
        let Queue { runs, heap } = std::mem::take(&mut *queue);
        self.next_ns.store(NEVER, Ordering::Release);
        drop(queue);
        for entry in runs.into_iter().flatten().chain(heap.into_iter().map(|entry| entry.0)) {
            entry.ticket.fire_timer();
        }
    }

    #[cfg(all(test, not(loom)))]
    fn len(&self) -> usize {
        self.queue.lock().len()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::wait::FutureWait;

    #[test]
    fn fires_in_order_and_only_what_is_due() {
        let timers = Timers::new();
        let mut waits: Vec<_> = (0..1_000).map(|_| FutureWait::new()).collect();
        for (i, wait) in waits.iter_mut().enumerate() {
            let at_ns = (i as u64 * 7_919) % 1_000;
            assert_eq!(timers.insert(at_ns, wait.arm()), timers.next_ns() == at_ns);
        }
        assert_eq!(timers.fire(499), 500);
        assert_eq!(timers.next_ns(), 500);
        assert_eq!(timers.fire(999), 500);
        assert_eq!(timers.next_ns(), NEVER);
    }

    #[test]
    fn deadlines_in_any_order_come_out_in_order() {
        let timers = Timers::new();
        let mut waits: Vec<_> = (0..10_000).map(|_| FutureWait::new()).collect();
        // Six spans set in turn, two more than there are runs, and a scatter of others.
        let at = |i: u64| i * 10 + [5, 50_000, 900, 7_000, 20_000, 90][i as usize % 6];
        let scattered = |i: u64| if i.is_multiple_of(7) { i * 7_919 % 100_003 } else { at(i) };
        for (i, wait) in waits.iter_mut().enumerate() {
            timers.insert(scattered(i as u64), wait.arm());
        }
        let in_heap = timers.queue.lock().heap.len();
        assert!((1..10_000).contains(&in_heap), "{in_heap}: some here, some in runs");
        let mut deadlines: Vec<u64> = (0..10_000).map(scattered).collect();
        deadlines.sort_unstable();
        for group in deadlines.chunk_by(|a, b| a == b) {
            assert_eq!(timers.next_ns(), group[0]);
            assert_eq!(timers.fire(group[0]), group.len());
        }
        assert_eq!((timers.next_ns(), timers.len()), (NEVER, 0));
    }

    #[test]
    fn timers_of_one_span_stay_out_of_the_heap() {
        let timers = Timers::new();
        let mut waits: Vec<_> = (0..5_000).map(|_| FutureWait::new()).collect();
        timers.insert(1 << 40, waits[0].arm());
        for (at_ns, wait) in (0..).zip(&mut waits[1..]) {
            timers.insert(at_ns, wait.arm());
        }
        assert_eq!(timers.len(), 5_000);
        assert_eq!(timers.queue.lock().heap.len(), 0);
        assert_eq!(timers.fire(5_000), 4_999);
        let capacities = timers.queue.lock().runs.iter().map(VecDeque::capacity).sum::<usize>();
        assert!(capacities <= RUNS * KEEP, "{capacities}: a burst leaves no memory behind");
    }

    #[test]
    fn a_loop_of_waits_that_end_early_does_not_grow_the_heap() {
        let timers = Timers::new();
        let mut wait = FutureWait::new();
        for at_ns in 0..100_000 {
            timers.insert(1 << 40 | at_ns, wait.arm());
            wait.cancel();
            timers.forsake();
        }
        assert!(timers.len() < 500, "{} timers kept", timers.len());
        assert!(!timers.any_open());
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::wait::{WaitReason, Waiting};
    use loom::sync::Arc;
    use loom::thread;

    /// A timer fires while a sender hands over and the waiter leaves: one of the two wins, and the
    /// waiter always comes back.
    #[test]
    fn cancel_against_fire() {
        loom::model(|| {
            let timers = Arc::new(Timers::new());
            let waiting = Waiting::begin();
            timers.insert(10, waiting.ticket());
            let sender = {
                let ticket = waiting.ticket();
                thread::spawn(move || ticket.fire(1))
            };
            let clock = {
                let timers = timers.clone();
                thread::spawn(move || timers.fire(10))
            };
            let outcome = waiting.park(WaitReason::Sleep, None);
            let sent = sender.join().unwrap();
            let fired = clock.join().unwrap();
            assert_eq!(usize::from(sent) + fired, 1, "exactly one ended it");
            assert_eq!(sent, outcome == crate::wait::Outcome::Fired(1));
        });
    }
}
