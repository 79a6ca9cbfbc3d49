//! The lock itself: one word, and two lists of waiters beside it. No unsafe code.
//!
//! ```text
//!   bit  0    WRITER   somebody writes
//!   bit  1    WAITING  the lists may hold somebody: nobody gets in without looking at them.
//!                      Changed under the lists' lock only.
//!   bits 2..  how many read (never together with WRITER)
//! ```
//!
//! Without WAITING everything is one atomic step: reading adds one while WRITER is clear, writing is
//! a compare-and-swap from 0, and leaving undoes it. With WAITING nobody gets in by himself: who
//! leaves the lock free takes the lists' lock and *settles*, that is lets in who is next:
//!
//! | who left | lets in |
//! |---|---|
//! | a writer | all readers that wait; without any, the next writer |
//! | the last reader | the next writer; without any, all readers |
//! | a writer that gave up its wait, while others read | all readers, if it was the last writer in line |
//!
//! So a waiting writer keeps new readers out (writer preference, Go's rule), the readers that came
//! during one writer's time go before the next writer, and nobody starves: a reader waits for one
//! writer at most once it is in line, a writer for those before it and for one batch of readers each.
//!
//! Who is let in is in: the word counts it before its wait ends, and nobody barges. One that does not
//! want it any more (its future is dropped) leaves as any holder does.
//!
//! Between the lists' lock and those who do not take it: while WAITING is set, the only step without
//! the lock is a reader that leaves. It either is not the last, or finds exactly WAITING left and
//! comes to settle. Settling asks only what the word and the lists say, so if somebody else was
//! faster, the second finds nothing to do.
//!
//! 64 bits: a reader that forgets its guard is counted for ever, and 2^62 of them take longer than
//! any machine runs, so the count needs no check.
//!
//! Rejected: Go's construction (a mutex for writers, a count, two semaphores: a free write costs two
//! atomics); a lock that running callers may take before those who wait, as the mutex is (what
//! barges past a waiting writer is a reader, and readers that come one after the other would keep it
//! out; data that is mostly written wants a mutex); counting readers per processor (cheaper reads on
//! many cores, for a page of memory per lock and writes that visit all of it).

use crate::until::Until;
use crate::wait_list::{FiredList, Key, WaitList};
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU64, Ordering};
use millpond_rt::coop;
use millpond_rt::wait::{FutureWait, Outcome, Ticket, WaitReason, Waiting};
use std::task::{Context, Poll};

const WRITER: u64 = 1;
const WAITING: u64 = 2;
const READER: u64 = 4;

/// The only outcome of a wait: the caller is in.
const LET_IN: u16 = 0;

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct RawRwLock {
    /// Atomic: the states above.
    word: AtomicU64,
    /// Who waits. Its lock also protects the WAITING bit.
    queue: Lock<Queue>,
}

#[derive(Debug)]
struct Queue {
    readers: WaitList<()>,
    writers: WaitList<()>,
}

impl Queue {
    const fn new() -> Self {
        Self { readers: WaitList::new(), writers: WaitList::new() }
    }

    fn of(&mut self, access: Access) -> &mut WaitList<()> {
        match access {
            Access::Read => &mut self.readers,
            Access::Write => &mut self.writers,
        }
    }
}

impl Access {
    /// The word with the caller in, if nobody is in its way and nobody waits.
    #[inline]
    fn enter(self, word: u64) -> Option<u64> {
        match self {
            Self::Read => (word & (WRITER | WAITING) == 0).then_some(word + READER),
            Self::Write => (word == 0).then_some(WRITER),
        }
    }

    fn reason(self) -> WaitReason {
        match self {
            Self::Read => WaitReason::RwLockRead,
            Self::Write => WaitReason::RwLockWrite,
        }
    }
}

impl RawRwLock {
    #[cfg(not(loom))]
    pub(super) const fn new() -> Self {
        Self { word: AtomicU64::new(0), queue: Lock::new(Queue::new()) }
    }

    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0), queue: Lock::new(Queue::new()) }
    }

    /// Gets in if that needs no waiting.
    #[inline]
    pub(super) fn try_lock(&self, access: Access) -> bool {
        // Acquire: what those did who left happens before what we do.
        self.word
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| access.enter(word))
            .is_ok()
    }

    /// Gets in, waiting up to `until`; `false` if that passed first. Parks or blocks.
    #[inline]
    pub(super) fn lock_until(&self, access: Access, until: Until) -> bool {
        // Before locking: a goroutine that yields with the lock held would make all others wait.
        coop::spend();
        self.try_lock(access) || self.lock_slow(access, until)
    }

    #[cold]
    fn lock_slow(&self, access: Access, until: Until) -> bool {
        let waiting = Waiting::begin();
        let Some(key) = self.enqueue(access, || waiting.ticket()) else { return true };
        match waiting.park_until(access.reason(), until) {
            Outcome::Fired(_) => {
                self.leave(access, key);
                true
            }
            Outcome::TimedOut | Outcome::Cancelled(_) => {
                self.withdraw(access, key);
                false
            }
        }
    }

    /// Puts the caller in line; `None` if it got in after all.
    fn enqueue(&self, access: Access, ticket: impl FnOnce() -> Ticket) -> Option<Key> {
        let mut queue = self.queue.lock();
        let look = |word| access.enter(word).or(Some(word | WAITING));
        // Acquire for the case that it got in.
        let before = self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, look);
        if before.is_ok_and(|word| access.enter(word).is_some()) {
            return None;
        }
        // If the lock is free, WAITING was set, and the reader that left it free is on its way.
        Some(queue.of(access).push_back(ticket(), ()))
    }

    /// The caller has been let in: its entry goes.
    fn leave(&self, access: Access, key: Key) {
        self.queue.lock().of(access).remove(key);
    }

    /// The caller does not wait any longer, and has not been let in.
    fn withdraw(&self, access: Access, key: Key) {
        let mut queue = self.queue.lock();
        queue.of(access).remove(key);
        let fired = self.settle(&mut queue, Access::Write);
        drop(queue);
        drop(fired);
    }

    /// Gives up what [`lock_until`](Self::lock_until) gave. Only who is in may call this.
    #[inline]
    pub(super) fn unlock(&self, access: Access) {
        match access {
            Access::Read => self.unlock_read(),
            Access::Write => self.unlock_write(),
        }
    }

    #[inline]
    fn unlock_read(&self) {
        // Release: what we read happens before what the next writer writes.
        let before = self.word.fetch_sub(READER, Ordering::Release);
        debug_assert!(before >= READER, "rwlock: a reader left that was not in");
        if before == READER | WAITING {
            let mut queue = self.queue.lock();
            let fired = self.settle(&mut queue, Access::Write);
            drop(queue);
            drop(fired);
        }
    }

    #[inline]
    fn unlock_write(&self) {
        // Release: what we wrote happens before what others do who get in.
        let fast = self.word.compare_exchange(WRITER, 0, Ordering::Release, Ordering::Relaxed);
        if fast.is_err() {
            self.let_readers(0);
        }
    }

    /// Who writes goes on as a reader, and the readers that wait come in.
    pub(super) fn downgrade(&self) {
        let fast = self.word.compare_exchange(WRITER, READER, Ordering::Release, Ordering::Relaxed);
        if fast.is_err() {
            self.let_readers(READER);
        }
    }

    /// Who writes leaves `rest` of itself, and others wait.
    #[cold]
    fn let_readers(&self, rest: u64) {
        let mut queue = self.queue.lock();
        let before = self.word.fetch_update(Ordering::Release, Ordering::Relaxed, |word| {
            Some((word & !WRITER) + rest)
        });
        debug_assert!(before.is_ok_and(|word| word & WRITER != 0), "rwlock: nobody was writing");
        let fired = self.settle(&mut queue, Access::Read);
        drop(queue);
        drop(fired);
    }

    /// Lets in who is next, `first` before the others; see the table of the module.
    fn settle(&self, queue: &mut Queue, first: Access) -> FiredList {
        let mut fired = FiredList::default();
        // Acquire: the claims below carry on what those did who left. While WAITING is set, nobody
        // comes in but through us; and while it is clear, the lists are empty.
        let word = self.word.load(Ordering::Acquire);
        if word & WRITER == 0 {
            let readers_first = first == Access::Read && self.let_in_readers(queue, &mut fired);
            let writer = !readers_first && word < READER && self.let_in_writer(queue, &mut fired);
            if !readers_first && !writer && queue.writers.is_empty() {
                self.let_in_readers(queue, &mut fired);
            }
        }
        if queue.readers.is_empty() && queue.writers.is_empty() {
            self.word.fetch_and(!WAITING, Ordering::Relaxed);
        }
        fired
    }

    /// Lets in all readers that wait; whether there were any.
    fn let_in_readers(&self, queue: &mut Queue, fired: &mut FiredList) -> bool {
        let mut any = false;
        while let Some((_, one)) = queue.readers.claim_front(|()| LET_IN) {
            // It cannot leave before we unlock: it has to take its entry out first.
            self.word.fetch_add(READER, Ordering::Relaxed);
            fired.push(one);
            any = true;
        }
        any
    }

    /// Lets in the writer that waits longest; whether there was one.
    fn let_in_writer(&self, queue: &mut Queue, fired: &mut FiredList) -> bool {
        let Some((_, one)) = queue.writers.claim_front(|()| LET_IN) else { return false };
        self.word.fetch_or(WRITER, Ordering::Relaxed);
        fired.push(one);
        true
    }

    /// Whether nobody is in, nobody waits, and no entry is left.
    #[cfg(all(test, not(loom)))]
    pub(super) fn is_quiet(&self) -> bool {
        let queue = self.queue.lock();
        let entries = queue.readers.footprint().0 + queue.writers.footprint().0;
        self.word.load(Ordering::Relaxed) == 0 && entries == 0
    }
}

/// Getting in as a future.
#[derive(Debug)]
pub(super) struct Locking {
    access: Access,
    /// The entry in the list, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl Locking {
    pub(super) fn new(access: Access) -> Self {
        Self { access, key: None, wait: FutureWait::new() }
    }

    /// Ready when the caller is in.
    pub(super) fn poll(&mut self, raw: &RawRwLock, cx: &mut Context<'_>) -> Poll<()> {
        if self.key.is_none() {
            coop::spend();
            if raw.try_lock(self.access) {
                return Poll::Ready(());
            }
            self.key = raw.enqueue(self.access, || self.wait.arm());
            if self.key.is_none() {
                return Poll::Ready(());
            }
        }
        if self.wait.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let key = self.key.take().expect("in line since this poll or an earlier one");
        raw.leave(self.access, key);
        Poll::Ready(())
    }

    /// The future is dropped: leaves the line, or the lock if it had just been let in.
    pub(super) fn give_up(&mut self, raw: &RawRwLock) {
        let Some(key) = self.key.take() else { return };
        if self.wait.cancel().is_none() {
            return raw.withdraw(self.access, key);
        }
        raw.leave(self.access, key);
        raw.unlock(self.access);
    }
}
