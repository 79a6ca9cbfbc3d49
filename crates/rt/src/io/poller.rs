//! The poller: one epoll instance per M, and the map from its keys to readiness.
//!
//! Owned by an M, shared (`Arc`) with every descriptor that is registered in it and with whoever
//! rings its bell. A round:
//!
//! 1. epoll fills a batch of `(key, readiness)`; no lock is held while it waits;
//! 2. under the registry's lock keys become [`Readiness`] cells; a key that is not there belongs
//!    to a descriptor that has been closed since, and is dropped;
//! 3. each cell marks its directions and gives up those who wait;
//! 4. without any lock they are woken: a ticket's goroutine goes to its M, a waker may run any code;
//! 5. only then are they taken off [`Poller::waiting_count`]: the deadlock report, which looks at
//!    that count and at runnable goroutines, sees each of them in one place at least.
//!
//! *Keys* are numbers that this poller has never used before: 2^63 of them. A key thus is its own
//! generation, and an event that was collected before its descriptor closed cannot reach the next
//! one with the same number. (A slab index with a generation says the same in more words, and its
//! free list keeps the memory of the peak.)
//!
//! *Several threads* may wait at once: the owner blocks here while another M, which has taken over
//! its P, drains the same instance. Each uses a batch of its own; marking is idempotent.
//!
//! *Courtesy*: an M that is never idle gives its processor away before a round, some thousand times a
//! second ([`millpond_policy::courtesy`] says when). Without it the kernel lets it run for a tick, and
//! whoever waits for that processor, another M of ours or a client on this machine, is served late.
//!
//! *Adoption*: an M that is stuck cannot poll. Whoever takes its P adopts its poller: the other's
//! epoll descriptor is watched in ours, by level, and drained when it has something. Adoption
//! nests, since an adopted poller may have adopted one itself; a cycle is refused by the kernel.
//! A foreign round takes whatever is there, the bell's edge included, and an owner that slept
//! through its bell would sleep for ever. So a foreign round collects under a lock that
//! [`Poller::disown`] takes as well: once that has returned, no event goes to anyone else, and an M
//! disowns before it sleeps. While it is stuck it does not sleep, and its bell means nothing.

use super::readiness::Readiness;
use super::turn::Turn;
use super::waiters::Waiter;
use millpond_prim::sync::Lock;
use millpond_sys::epoll::{Epoll, Events, Interest, Notifier, Ready, Side};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Events per system call. More only delays the first of a batch.
const BATCH: usize = 256;
/// The bell's key; descriptors are numbered from 0.
const BELL: u64 = u64::MAX;

/// One epoll instance and what is registered in it. See the module documentation.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    bell: Notifier,
    /// Protected by its lock. `None` once cleared: nothing can be registered any more.
    registry: Lock<Option<Registry>>,
    /// Protected by its lock. Pollers that this one drains.
    adopted: Lock<Vec<(u64, Arc<Poller>)>>,
    /// Protected by its lock, which a foreign round holds while it collects. How many pollers have
    /// adopted this one.
    fosters: Lock<usize>,
    /// Protected by its lock. A batch at rest between rounds; a second thread makes its own.
    batch: Lock<Option<Box<Batch>>>,
    /// Atomic: written by the owner.
    in_kernel: AtomicBool,
    /// Atomic. Waits of goroutines and futures that only this poller can end.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Registry {
    next_key: u64,
    cells: HashMap<u64, Arc<Readiness>, BuildHasherDefault<KeyHasher>>,
}

/// What one round needs, kept from round to round.
#[derive(Debug)]
struct Batch {
    events: Events,
    hits: Vec<(Arc<Readiness>, Ready)>,
    orphans: Vec<Arc<Poller>>,
    woken: Vec<Waiter>,
    turn: Turn,
}

impl Batch {
    fn new() -> Box<Self> {
        let events = Events::with_slots(BATCH);
        let turn = Turn::default();
        Box::new(Self { events, hits: Vec::new(), orphans: Vec::new(), woken: Vec::new(), turn })
    }
}

impl Poller {
    /// A new poller, watching nothing.
    ///
    /// # Errors
    /// The process or the system is out of descriptors (two are needed) or epoll instances.
    pub fn new() -> io::Result<Arc<Self>> {
        let (epoll, bell) = (Epoll::new()?, Notifier::new()?);
        epoll.add(bell.as_fd(), BELL, Interest::EdgeRead)?;
        Ok(Arc::new(Self {
            epoll,
            bell,
            registry: Lock::new(Some(Registry::default())),
            adopted: Lock::new(Vec::new()),
            fosters: Lock::new(0),
            batch: Lock::new(None),
            in_kernel: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Waits for events, at most `timeout` (for ever if `None`, not at all if zero), wakes those
    /// who waited for them, and returns how many waits it ended. Blocks the thread. A call of
    /// [`Poller::notify`], or a signal, ends it early.
    ///
    /// # Errors
    /// Those of `epoll_wait`, which mean a broken runtime: the descriptor is not an epoll instance.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<usize> {
        self.with_batch(|batch| {
            let busy = timeout == Some(Duration::ZERO);
            if busy {
                batch.turn.give_way_if_due();
            }
            self.in_kernel.store(true, Ordering::SeqCst);
            let collected = self.epoll.wait(&mut batch.events, timeout);
            // Before anybody is woken: until then `waiting_count` speaks for them.
            self.in_kernel.store(false, Ordering::SeqCst);
            if busy {
                batch.turn.note_events(*collected.as_ref().unwrap_or(&0));
            } else {
                batch.turn.begin();
            }
            self.round(batch, collected)
        })
    }

    /// Whether the owner is waiting right now, and has taken nothing in yet.
    pub(crate) fn is_in_kernel(&self) -> bool {
        self.in_kernel.load(Ordering::SeqCst)
    }

    /// A round of another poller that has adopted this one.
    fn wait_for_owner(&self) -> io::Result<usize> {
        self.with_batch(|batch| {
            let fosters = self.fosters.lock();
            if *fosters == 0 {
                return Ok(0);
            }
            let collected = self.epoll.wait(&mut batch.events, Some(Duration::ZERO));
            drop(fosters);
            self.round(batch, collected)
        })
    }

    fn with_batch(&self, round: impl FnOnce(&mut Batch) -> io::Result<usize>) -> io::Result<usize> {
        let mut batch = self.batch.lock().take().unwrap_or_else(Batch::new);
        let ended = round(&mut batch);
        // The lock is free again, so that a thread which comes now finds this batch.
        *self.batch.lock() = Some(batch);
        ended
    }

    /// What follows the collecting of a batch.
    fn round(&self, batch: &mut Batch, collected: io::Result<usize>) -> io::Result<usize> {
        match collected {
            Ok(0) => return Ok(0),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            Err(error) => return Err(error),
        }
        self.look_up(batch);
        for (cell, ready) in batch.hits.drain(..) {
            if ready.readable() {
                cell.read.event(ready.beyond_data(), &mut batch.woken);
            }
            if ready.writable() {
                cell.write.event(ready.beyond_data(), &mut batch.woken);
            }
        }
        let mut ended = self.wake(&mut batch.woken);
        for orphan in batch.orphans.drain(..) {
            ended += orphan.wait_for_owner()?;
        }
        Ok(ended)
    }

    /// Step 2 of a round: keys to cells and orphans.
    fn look_up(&self, batch: &mut Batch) {
        let mut strange = false;
        {
            let registry = self.registry.lock();
            let cells = registry.as_ref().map(|registry| &registry.cells);
            for (key, ready) in batch.events.iter() {
                match cells.and_then(|cells| cells.get(&key)) {
                    Some(cell) => batch.hits.push((cell.clone(), ready)),
                    None => strange |= key != BELL,
                }
            }
        }
        if strange {
            let adopted = self.adopted.lock();
            let mine = |key| adopted.iter().find(|(other, _)| *other == key);
            let orphans = batch.events.iter().filter_map(|(key, _)| mine(key));
            batch.orphans.extend(orphans.map(|(_, orphan)| orphan.clone()));
        }
    }

    /// Steps 4 and 5: wakes everybody in `woken`, then takes them off the count.
    pub(super) fn wake(&self, woken: &mut Vec<Waiter>) -> usize {
        let mut ended = 0;
        for waiter in woken.drain(..) {
            ended += usize::from(waiter.needs_poller());
            waiter.wake();
        }
        self.end_waits(ended);
        ended
    }

    /// Ends the present or the next [`Poller::wait`] of some thread. Any thread may call it, and
    /// a signal handler.
    pub fn notify(&self) {
        self.bell.notify();
    }

    /// From now on our rounds also drain `other`. Does nothing if they do already.
    ///
    /// # Errors
    /// `other` is this poller, or (indirectly) has adopted it; or the kernel is out of memory.
    pub fn adopt(&self, other: &Arc<Poller>) -> io::Result<()> {
        let mut adopted = self.adopted.lock();
        if adopted.iter().any(|(_, known)| Arc::ptr_eq(known, other)) {
            return Ok(());
        }
        let key = self.registry.lock().as_mut().ok_or_else(cleared)?.new_key();
        self.epoll.add(other.epoll.as_fd(), key, Interest::LevelRead)?;
        *other.fosters.lock() += 1;
        adopted.push((key, other.clone()));
        Ok(())
    }

    /// Ends [`Poller::adopt`]: `other` has an owner again. Once this has returned no round of ours
    /// takes events from it. Does nothing if it was not adopted.
    pub fn disown(&self, other: &Arc<Poller>) {
        let mut adopted = self.adopted.lock();
        if let Some(at) = adopted.iter().position(|(_, known)| Arc::ptr_eq(known, other)) {
            let (_, other) = adopted.swap_remove(at);
            // Cannot fail: both descriptors are open, and the entry says that it is registered.
            let _ = self.epoll.delete(other.epoll.as_fd());
            *other.fosters.lock() -= 1;
        }
    }

    /// Waits of goroutines and futures that an event of this poller could end. Those of adopted
    /// pollers are counted there. A future that was polled and dropped may still be counted.
    pub fn waiting_count(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Descriptors registered here. A poller that has some must go on being polled, by its M or
    /// by one that adopted it, even if nobody waits just now.
    pub fn source_count(&self) -> usize {
        self.registry.lock().as_ref().map_or(0, |registry| registry.cells.len())
    }

    /// Shutdown: every registered descriptor is closed to waiting (operations on it fail), present
    /// waits end, adopted pollers are let go, and nothing can be registered any more. The
    /// descriptors themselves stay open until their owners drop them.
    pub fn clear(&self) {
        for (_, other) in self.adopted.lock().drain(..) {
            let _ = self.epoll.delete(other.epoll.as_fd());
            *other.fosters.lock() -= 1;
        }
        let registry = self.registry.lock().take();
        let mut woken = Vec::new();
        for cell in registry.iter().flat_map(|registry| registry.cells.values()) {
            cell.close(&mut woken);
        }
        self.wake(&mut woken);
    }

    /// Registers `fd` for its whole life and returns its key. With `Side::Read` it is not told when
    /// `fd` can be written: see [`Poller::watch_writes`].
    pub(super) fn register(
        &self,
        fd: BorrowedFd<'_>,
        cell: &Arc<Readiness>,
        side: Side,
    ) -> io::Result<u64> {
        let mut registry = self.registry.lock();
        let registry = registry.as_mut().ok_or_else(cleared)?;
        let key = registry.new_key();
        // In the map first: the kernel reports present readiness at once, to any thread.
        registry.cells.insert(key, cell.clone());
        let interest = match side {
            Side::Read => Interest::ReadEdges,
            Side::Write => Interest::Edges,
        };
        self.epoll.add(fd, key, interest).inspect_err(|_| {
            registry.cells.remove(&key);
        })?;
        Ok(key)
    }

    /// From now on `fd`, registered under `key`, is told of both directions; of the present readiness
    /// anew.
    pub(super) fn watch_writes(&self, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
        self.epoll.modify(fd, key, Interest::Edges)
    }

    /// Ends [`Poller::register`]. Events already collected find no cell, or a cell without waiters.
    pub(super) fn deregister(&self, fd: BorrowedFd<'_>, key: u64) {
        // Before the descriptor closes: a duplicate elsewhere would keep the registration alive.
        let _ = self.epoll.delete(fd);
        if let Some(registry) = self.registry.lock().as_mut() {
            registry.cells.remove(&key);
            let (len, capacity) = (registry.cells.len(), registry.cells.capacity());
            if capacity > 1024 && len < capacity / 8 {
                registry.cells.shrink_to(len * 2);
            }
        }
    }

    /// A wait begins. Before its waiter stands in line, so that the count is never too low.
    pub(super) fn begin_wait(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// So many waits have ended and their waiters are runnable.
    pub(super) fn end_waits(&self, ended: usize) {
        if ended > 0 {
            self.waiting.fetch_sub(ended, Ordering::SeqCst);
        }
    }
}

fn cleared() -> io::Error {
    io::Error::other("register a descriptor: the runtime of this poller has shut down")
}

impl Registry {
    fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }
}

/// Keys count up, so one multiplication spreads them; nobody outside chooses them.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        // Fibonacci hashing: the high bits of the product are good, and the table uses both ends.
        let product = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::FutureWait;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::task::{Context, Wake};

    const NOW: Option<Duration> = Some(Duration::ZERO);

    /// A descriptor registered with `poller`, and its peer.
    struct Watched {
        near: UnixStream,
        far: UnixStream,
        cell: Arc<Readiness>,
        key: u64,
    }

    fn watch(poller: &Poller) -> Watched {
        let (near, far) = UnixStream::pair().unwrap();
        let cell = Arc::new(Readiness::new());
        let key = poller.register(near.as_fd(), &cell, Side::Write).unwrap();
        // The first edge tells that it can be written.
        assert_eq!(poller.wait(NOW).unwrap(), 0);
        cell.read.would_block(cell.read.seen());
        Watched { near, far, cell, key }
    }

    /// Puts a future's ticket in the read line; `poll` tells whether it has been fired.
    fn stand_in_line(poller: &Poller, watched: &Watched) -> FutureWait {
        let mut wait = FutureWait::new();
        poller.begin_wait();
        watched.cell.read.enqueue(Waiter::Ticket(wait.arm()));
        assert!(!has_fired(&mut wait));
        wait
    }

    fn has_fired(wait: &mut FutureWait) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        wait.poll(&mut cx).is_ready()
    }

    #[test]
    fn an_owner_that_is_back_hears_its_bell_whatever_its_foster_is_doing() {
        let (owner, foster) = (Poller::new().unwrap(), Poller::new().unwrap());
        foster.adopt(&owner).unwrap();
        foster.disown(&owner);
        owner.notify();
        // A round of the foster that saw the owner's descriptor before it was disowned goes on
        // with this now; it must leave the edge alone.
        owner.wait_for_owner().unwrap();
        let began = std::time::Instant::now();
        owner.wait(Some(Duration::from_secs(20))).unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "the bell was not heard");
    }

    #[test]
    fn an_event_ends_the_wait_and_leaves_the_count() {
        let poller = Poller::new().unwrap();
        let mut watched = watch(&poller);
        let mut wait = stand_in_line(&poller, &watched);
        assert_eq!((poller.waiting_count(), poller.source_count()), (1, 1));
        watched.far.write_all(b"x").unwrap();
        assert_eq!(poller.wait(None).unwrap(), 1);
        assert!(has_fired(&mut wait));
        assert_eq!(poller.waiting_count(), 0);
        assert_eq!(poller.wait(NOW).unwrap(), 0, "an edge is told once");
    }

    #[test]
    fn room_to_write_is_told_from_when_somebody_asks_for_it() {
        let poller = Poller::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        let cell = Arc::new(Readiness::new());
        let key = poller.register(near.as_fd(), &cell, Side::Read).unwrap();
        cell.write.would_block(cell.write.seen());
        far.write_all(b"x").unwrap();
        poller.wait(None).unwrap();
        assert!(cell.read.seen().is_ready() && !cell.write.seen().is_ready());
        poller.watch_writes(near.as_fd(), key).unwrap();
        poller.wait(None).unwrap();
        assert!(cell.write.seen().is_ready());
    }

    #[test]
    fn an_event_of_a_closed_descriptor_reaches_nobody() {
        let poller = Poller::new().unwrap();
        let mut old = watch(&poller);
        // The event is collected before the descriptor closes ...
        old.far.write_all(b"x").unwrap();
        let mut batch = Batch::new();
        assert_eq!(poller.epoll.wait(&mut batch.events, None).unwrap(), 1);
        poller.deregister(old.near.as_fd(), old.key);
        let old_key = old.key;
        drop(old);
        // ... and looked up after another one has come, very likely with the same number.
        let fresh = watch(&poller);
        assert_ne!(fresh.key, old_key);
        let mut wait = stand_in_line(&poller, &fresh);
        poller.look_up(&mut batch);
        assert!(batch.hits.is_empty());
        assert!(!has_fired(&mut wait));
    }

    #[test]
    fn an_adopter_drains_the_orphan_until_it_disowns_it() {
        let (adopter, orphan) = (Poller::new().unwrap(), Poller::new().unwrap());
        let mut watched = watch(&orphan);
        adopter.adopt(&orphan).unwrap();
        adopter.adopt(&orphan).unwrap();
        let mut wait = stand_in_line(&orphan, &watched);
        watched.far.write_all(b"x").unwrap();
        assert_eq!(adopter.wait(None).unwrap(), 1);
        assert!(has_fired(&mut wait));
        assert_eq!((orphan.waiting_count(), adopter.waiting_count()), (0, 0));

        adopter.disown(&orphan);
        adopter.disown(&orphan);
        watched.cell.read.would_block(watched.cell.read.seen());
        let mut wait = stand_in_line(&orphan, &watched);
        watched.far.write_all(b"x").unwrap();
        assert_eq!(adopter.wait(NOW).unwrap(), 0);
        assert!(!has_fired(&mut wait));
        assert_eq!(orphan.wait(None).unwrap(), 1);
        assert!(has_fired(&mut wait));
    }

    #[test]
    fn adoption_nests_and_refuses_a_circle() {
        let [a, b, c] = [(); 3].map(|()| Poller::new().unwrap());
        a.adopt(&b).unwrap();
        b.adopt(&c).unwrap();
        c.adopt(&a).unwrap_err();
        a.adopt(&a).unwrap_err();
        let mut watched = watch(&c);
        let mut wait = stand_in_line(&c, &watched);
        watched.far.write_all(b"x").unwrap();
        assert_eq!(a.wait(None).unwrap(), 1);
        assert!(has_fired(&mut wait));
    }

    #[test]
    fn two_threads_may_wait_at_once_and_the_bell_ends_each() {
        let poller = Poller::new().unwrap();
        let (sent, got) = mpsc::channel();
        let threads = [(); 2].map(|()| {
            let (poller, sent) = (poller.clone(), sent.clone());
            std::thread::spawn(move || {
                let ended = poller.wait(None).unwrap();
                sent.send(ended).unwrap();
            })
        });
        for _ in &threads {
            poller.notify();
            assert_eq!(got.recv().unwrap(), 0);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let poller = Poller::new().unwrap();
        poller.notify();
        assert_eq!(poller.wait(None).unwrap(), 0);
    }

    #[test]
    fn clear_ends_waits_and_refuses_new_ones() {
        let poller = Poller::new().unwrap();
        let watched = watch(&poller);
        let mut wait = stand_in_line(&poller, &watched);
        poller.clear();
        assert!(has_fired(&mut wait));
        assert!(watched.cell.write.seen().is_closed());
        assert_eq!((poller.waiting_count(), poller.source_count()), (0, 0));
        let (near, _far) = UnixStream::pair().unwrap();
        poller.register(near.as_fd(), &watched.cell, Side::Read).unwrap_err();
        poller.deregister(watched.near.as_fd(), watched.key);
    }

    #[test]
    fn a_waker_may_use_the_poller_that_woke_it() {
        struct Reenter(Arc<Poller>);
        impl Wake for Reenter {
            fn wake(self: Arc<Self>) {
                self.0.wait(NOW).unwrap();
                self.0.notify();
            }
        }
        let poller = Poller::new().unwrap();
        let mut watched = watch(&poller);
        poller.begin_wait();
        let waker = Arc::new(Reenter(poller.clone())).into();
        watched.cell.read.enqueue(Waiter::Task(waker));
        watched.far.write_all(b"x").unwrap();
        assert_eq!(poller.wait(None).unwrap(), 1);
        assert_eq!(poller.waiting_count(), 0);
    }

    #[test]
    fn the_registry_gives_its_peak_back() {
        let mut registry = Registry::default();
        let cell = Arc::new(Readiness::new());
        let poller = Poller::new().unwrap();
        for _ in 0..10_000 {
            let key = registry.new_key();
            registry.cells.insert(key, cell.clone());
        }
        *poller.registry.lock() = Some(registry);
        let (near, _far) = UnixStream::pair().unwrap();
        for key in 1..=9_990 {
            poller.deregister(near.as_fd(), key);
        }
        assert_eq!(poller.source_count(), 10);
        assert!(poller.registry.lock().as_ref().unwrap().cells.capacity() < 2_000);
    }
}
