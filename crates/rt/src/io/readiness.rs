//! What is known of a descriptor's readiness, without the descriptor: the protocol between
//! "would block" and the wait.
//!
//! Edge-triggered events are told once. So between an operation that would block and the wait for
//! the next edge, none may slip through. Each direction has one atomic word and one line:
//!
//! ```text
//!   bits 31..8: tick      counts events
//!   bit  2: BEYOND  an end, an error or an urgent mark has been seen: stays
//!   bit  1: CLOSED  closed by us, or its poller is gone: stays
//!   bit  0: READY   an operation may succeed. Starts set: nothing is known, so try
//! ```
//!
//! The operation's side, then the poller's:
//!
//! 1. [`Direction::seen`], then the system call;
//! 2. it would block: [`Direction::would_block`] clears READY, but only if the word still is what
//!    was seen: an event that came meanwhile stays;
//! 3. [`Direction::enqueue`] looks at the word under the line's lock: READY means *try again*,
//!    else the waiter stands in line;
//! 4. [`Direction::event`] sets READY, counts a tick and takes the whole line, under the same
//!    lock; its caller wakes them after releasing it.
//!
//! An event before 3 is seen by 3; an event after 3 finds the waiter.
//!
//! *A short read.* When a stream socket returned less than was asked for, it is empty, and the
//! next read would only learn that it would block. [`Direction::drained`] clears READY then, which
//! saves a system call for each message. It is right only where no edge is owed for what lies
//! behind the data, so never once BEYOND is set: the end of the stream may have been told in the
//! same event as its last bytes, and an urgent mark cuts a read short with data behind it.
//!
//! Everybody in line is woken, not one: an edge may stand for many connections in an accept queue,
//! and a woken waiter may be gone.

use super::waiters::{Enqueued, Waiter, Waiters};
use millpond_prim::sync::Lock;
use millpond_prim::sync::atomic::{AtomicU32, Ordering};

const READY: u32 = 1;
const CLOSED: u32 = 2;
const BEYOND: u32 = 4;
const TICK: u32 = 1 << 8;

/// The word as it was before an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen(u32);

impl Seen {
    /// Whether an operation may succeed.
    pub(crate) fn is_ready(self) -> bool {
        self.0 & READY != 0
    }

    /// Whether the direction has been closed.
    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }
}

/// One direction of one descriptor. See the module documentation.
#[derive(Debug)]
pub(crate) struct Direction {
    /// Atomic. Bits are set under the lock of `waiters`; READY is cleared without it.
    word: AtomicU32,
    /// Protected by its lock, which also orders "READY is not set" with "in line".
    waiters: Lock<Waiters>,
}

impl Direction {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(READY), waiters: Lock::new(Waiters::default()) }
    }

    /// The word, to be read before an operation is tried.
    #[inline]
    pub(crate) fn seen(&self) -> Seen {
        // Acquire: the operation comes after, and sees what the event told of.
        Seen(self.word.load(Ordering::Acquire))
    }

    /// The operation that began at `seen` would block.
    #[inline]
    pub(crate) fn would_block(&self, seen: Seen) {
        if seen.is_ready() {
            // A failure is an event or another operation's clearing: both leave the right word.
            let _ = self.word.compare_exchange(
                seen.0,
                seen.0 & !READY,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }

    /// The operation that began at `seen` took all that there was.
    #[inline]
    pub(crate) fn drained(&self, seen: Seen) {
        if seen.0 & BEYOND == 0 {
            self.would_block(seen);
        }
    }

    /// Puts `waiter` in line unless something has happened since the operation was tried.
    pub(crate) fn enqueue(&self, waiter: Waiter) -> Enqueued {
        let mut waiters = self.waiters.lock();
        // Acquire, for the operation that follows a refusal. Under the lock an event is either
        // wholly before us, and its READY is visible, or it will find the waiter.
        if self.word.load(Ordering::Acquire) & (READY | CLOSED) != 0 {
            return Enqueued::Refused;
        }
        waiters.push(waiter)
    }

    /// Takes `waiter` out of the line; whether it was there.
    pub(crate) fn withdraw(&self, waiter: &Waiter) -> bool {
        self.waiters.lock().remove(waiter)
    }

    /// Poller: the kernel told of an edge. Who waited is moved to `woken`.
    pub(crate) fn event(&self, beyond_data: bool, woken: &mut Vec<Waiter>) {
        self.raise(if beyond_data { READY | BEYOND } else { READY }, woken);
    }

    /// Ends every wait, now and later. Who waited is moved to `woken`.
    pub(crate) fn close(&self, woken: &mut Vec<Waiter>) {
        self.raise(READY | CLOSED, woken);
    }

    fn raise(&self, bits: u32, woken: &mut Vec<Waiter>) {
        let mut waiters = self.waiters.lock();
        let mut now = self.word.load(Ordering::Relaxed);
        loop {
            let next = now.wrapping_add(TICK) | bits;
            // Release: an operation that sees READY sees what came before the event.
            match self.word.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(seen) => now = seen,
            }
        }
        waiters.take_all(woken);
    }

    /// Makes everybody in line look again (a deadline changed), readiness unchanged.
    pub(crate) fn kick(&self, woken: &mut Vec<Waiter>) {
        self.waiters.lock().take_all(woken);
    }
}

/// Both directions.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) read: Direction,
    pub(crate) write: Direction,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self { read: Direction::new(), write: Direction::new() }
    }

    /// Closes both directions.
    pub(crate) fn close(&self, woken: &mut Vec<Waiter>) {
        self.read.close(woken);
        self.write.close(woken);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_event_during_the_operation_is_not_cleared() {
        let direction = Direction::new();
        let mut woken = Vec::new();
        let seen = direction.seen();
        direction.event(false, &mut woken);
        direction.would_block(seen);
        assert!(direction.seen().is_ready());
    }

    #[test]
    fn a_short_read_is_no_proof_once_the_end_was_told() {
        let direction = Direction::new();
        direction.drained(direction.seen());
        assert!(!direction.seen().is_ready());
        direction.event(true, &mut Vec::new());
        direction.drained(direction.seen());
        assert!(direction.seen().is_ready());
        direction.would_block(direction.seen());
        assert!(!direction.seen().is_ready(), "but an operation that would block is");
    }

    #[test]
    fn a_closed_direction_lets_nobody_wait() {
        let readiness = Readiness::new();
        readiness.close(&mut Vec::new());
        readiness.read.would_block(readiness.read.seen());
        assert!(readiness.read.seen().is_closed());
        let waiter = Waiter::Task(std::task::Waker::noop().clone());
        assert!(matches!(readiness.read.enqueue(waiter), Enqueued::Refused));
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::wait::{FutureWait, Outcome, WaitReason, Waiting};
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// A socket without a kernel: so many bytes to read, and its readiness.
    struct Socket {
        bytes: AtomicUsize,
        read: Direction,
    }

    impl Socket {
        fn new() -> Arc<Self> {
            Arc::new(Self { bytes: AtomicUsize::new(0), read: Direction::new() })
        }

        /// The kernel and the poller: data arrives, then its edge is told.
        fn arrive(&self, bytes: usize) {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            let mut woken = Vec::new();
            self.read.event(false, &mut woken);
            woken.into_iter().for_each(Waiter::wake);
        }

        /// The system call: takes one byte if there is one.
        fn take_one(&self) -> bool {
            let take = |bytes: usize| bytes.checked_sub(1);
            self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
        }

        fn read_blocking(&self) {
            loop {
                let seen = self.read.seen();
                if seen.is_ready() {
                    if self.take_one() {
                        return;
                    }
                    self.read.would_block(seen);
                }
                let waiting = Waiting::begin();
                match self.read.enqueue(Waiter::Ticket(waiting.ticket())) {
                    Enqueued::Refused => drop(waiting),
                    _ => {
                        let outcome = waiting.park(WaitReason::IoRead, None);
                        assert_eq!(outcome, Outcome::Fired(super::super::waiters::LOOK_AGAIN));
                    }
                }
            }
        }

        fn read_future(&self) {
            let mut wait = FutureWait::new();
            block_on(std::future::poll_fn(|cx| {
                loop {
                    if wait.is_armed() {
                        if wait.poll(cx).is_pending() {
                            return std::task::Poll::Pending;
                        }
                    }
                    let seen = self.read.seen();
                    if seen.is_ready() {
                        if self.take_one() {
                            return std::task::Poll::Ready(());
                        }
                        self.read.would_block(seen);
                    }
                    let ticket = wait.arm();
                    if matches!(self.read.enqueue(Waiter::Ticket(ticket)), Enqueued::Refused) {
                        wait.cancel();
                    }
                }
            }));
        }

        /// The short-read shortcut: a read that takes everything clears READY.
        fn read_all(&self) -> usize {
            loop {
                let seen = self.read.seen();
                if seen.is_ready() {
                    let bytes = self.bytes.swap(0, Ordering::Relaxed);
                    if bytes > 0 {
                        self.read.drained(seen);
                        return bytes;
                    }
                    self.read.would_block(seen);
                }
                let waiting = Waiting::begin();
                match self.read.enqueue(Waiter::Ticket(waiting.ticket())) {
                    Enqueued::Refused => drop(waiting),
                    _ => drop(waiting.park(WaitReason::IoRead, None)),
                }
            }
        }
    }

    #[test]
    fn no_edge_is_lost_between_would_block_and_park() {
        loom::model(|| {
            let socket = Socket::new();
            let poller = socket.clone();
            let poller = thread::spawn(move || poller.arrive(1));
            socket.read_blocking();
            poller.join().unwrap();
        });
    }

    #[test]
    fn a_future_loses_no_edge_either() {
        loom::model(|| {
            let socket = Socket::new();
            let poller = socket.clone();
            let poller = thread::spawn(move || poller.arrive(1));
            socket.read_future();
            poller.join().unwrap();
        });
    }

    #[test]
    fn one_edge_for_two_messages_ends_two_reads() {
        loom::model(|| {
            let socket = Socket::new();
            let (poller, other) = (socket.clone(), socket.clone());
            let poller = thread::spawn(move || poller.arrive(2));
            let other = thread::spawn(move || other.read_blocking());
            socket.read_blocking();
            other.join().unwrap();
            poller.join().unwrap();
        });
    }

    #[test]
    fn the_short_read_shortcut_forgets_no_data() {
        loom::model(|| {
            let socket = Socket::new();
            let poller = socket.clone();
            let poller = thread::spawn(move || {
                poller.arrive(1);
                poller.arrive(1);
            });
            let mut got = 0;
            while got < 2 {
                got += socket.read_all();
            }
            poller.join().unwrap();
        });
    }

    #[test]
    fn close_ends_a_wait_that_is_about_to_begin() {
        loom::model(|| {
            let socket = Socket::new();
            let closer = socket.clone();
            let closer = thread::spawn(move || {
                let mut woken = Vec::new();
                closer.read.close(&mut woken);
                woken.into_iter().for_each(Waiter::wake);
            });
            loop {
                let seen = socket.read.seen();
                if seen.is_closed() {
                    break;
                }
                socket.read.would_block(seen);
                let waiting = Waiting::begin();
                match socket.read.enqueue(Waiter::Ticket(waiting.ticket())) {
                    Enqueued::Refused => drop(waiting),
                    _ => drop(waiting.park(WaitReason::IoRead, None)),
                }
            }
            closer.join().unwrap();
        });
    }
}
