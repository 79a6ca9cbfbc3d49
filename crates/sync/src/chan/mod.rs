//! Channels: bounded, unbounded, and the rendezvous.
//!
//! A channel is one small lock around a buffer, two lines and two lists of waiters (`state`), shared by
//! counted handles. Each operation takes the lock once (twice if it had to wait with a limit, in a
//! `select!` or as a future), and never allocates once the buffer and the lists have been as long
//! before. Waking happens after unlocking.
//!
//! The semantics are Go's: first in, first out for values *and* for waiters. A sender that finds
//! a receiver waiting hands its value to the one that waits longest; a receiver that takes from a
//! full buffer moves the longest waiting sender's value into the place it made. What differs from
//! Go: a send on a closed channel is an error that gives the value back, not a panic; either end
//! may close, any number of times; and a channel also closes when its last sender or its last
//! receiver is dropped.
//!
//! | event | what is buffered | senders that wait | receivers that wait |
//! |---|---|---|---|
//! | `close()`, from either end | is still delivered | [`SendError`], value back | [`RecvError`] |
//! | last sender dropped | is still delivered | – | [`RecvError`] |
//! | last receiver dropped | is dropped | [`SendError`], value back | – |
//!
//! *Happens-before*: a send happens before the receive of its value completes. On a channel of
//! capacity `n`, the `k`-th receive happens before the `k + n`-th send completes (a rendezvous:
//! the receive has happened when the send returns). Closing happens before a receive, or a send,
//! that fails because of it. A receive future that is dropped after a value was handed to it counts
//! as a receive here, although the value goes on to the next. `ORDERING.md` has the whole table.
//!
//! Where to read on: `state` (the steps under the lock), `quick` (what most of them come to), `promise`
//! (values made late), `sender` and `receiver` (the handles and the blocking forms), `future` (the async
//! forms), `select` (the arms of a `select!`), `models` (what loom explores).
//!
//! Rejected: a lock-free ring as in crossbeam (its waiters retry, so neither hand-over nor fairness
//! among waiters survives, and `close` with values in flight costs a second protocol); the value
//! of a waiting sender on its stack (as Go does: a stack at rest must not be touched).

mod dynamic;
mod error;
mod future;
mod iter;
mod promise;
mod quick;
mod receiver;
mod select;
mod sender;
mod state;

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, loom))]
mod select_models;
#[cfg(all(test, not(loom)))]
mod tests;

pub use dynamic::{ArmId, Select};
pub use error::{
    RecvCtxError, RecvError, RecvTimeoutError, SendCtxError, SendError, SendTimeoutError,
    TryRecvError, TrySendError,
};
pub use future::{RecvFuture, SendFuture};
pub use iter::{IntoIter, Iter, TryIter};
pub use receiver::Receiver;
pub use select::{RecvArm, SendArm};
pub use sender::Sender;

use millpond_prim::sync::atomic::{AtomicUsize, Ordering};
use millpond_prim::sync::{Arc, Guard, Lock};
use quick::Slow;
use state::State;

/// Makes a channel that buffers up to `capacity` values; with 0, a *rendezvous*: a send waits for
/// its receive.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::chan;
///
/// let (tx, rx) = chan::bounded(2);
/// tx.send(1).unwrap();
/// tx.send(2).unwrap();
/// assert!(tx.try_send(3).is_err());
/// tx.close();
/// assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2]);
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    new(capacity)
}

/// Makes a channel whose sends never wait. Its buffer is limited by memory alone: prefer
/// [`bounded`] wherever the senders can outrun the receivers.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::chan;
///
/// let (tx, rx) = chan::unbounded();
/// std::thread::spawn(move || (0..100).for_each(|i| tx.send(i).unwrap()));
/// assert_eq!(rx.into_iter().sum::<i32>(), 4950);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    new(usize::MAX)
}

fn new<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Lock::new(State::new(capacity)),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// What the handles of one channel share.
struct Shared<T> {
    state: Lock<State<T>>,
    /// Atomic: how many `Sender`s there are. Who brings it to 0 closes.
    senders: AtomicUsize,
    /// Atomic: how many `Receiver`s there are. Who brings it to 0 closes and discards.
    receivers: AtomicUsize,
}

impl<T> Shared<T> {
    #[inline]
    fn lock(&self) -> Slow<'_, T> {
        Slow::new(self.state.lock())
    }

    /// Sends and resumes, if the quick step can. `Err` with the value and the lock if not.
    #[inline(always)]
    fn send_quickly(&self, value: T) -> Result<(), (T, Guard<'_, State<T>>)> {
        let mut state = self.state.lock();
        match state.send_quickly(value) {
            Ok(fired) => {
                drop(state);
                fired.ready();
                Ok(())
            }
            Err(value) => Err((value, state)),
        }
    }

    /// Receives and resumes, if the quick step can. `Err` with the lock if not.
    #[inline(always)]
    fn recv_quickly(&self) -> Result<T, Guard<'_, State<T>>> {
        let mut state = self.state.lock();
        match state.recv_quickly() {
            Some((value, fired)) => {
                drop(state);
                fired.ready();
                Ok(value)
            }
            None => Err(state),
        }
    }

    fn close(&self) {
        // The guard is gone at the end of this statement; the waiters are readied after it.
        let fired = self.lock().close();
        drop(fired);
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn capacity(&self) -> Option<usize> {
        let capacity = self.lock().capacity();
        (capacity != usize::MAX).then_some(capacity)
    }

    fn is_closed(&self) -> bool {
        self.lock().is_closed()
    }
}

/// Counts a new handle. No overflow check: each handle also holds an `Arc`, which aborts first.
fn retain(handles: &AtomicUsize) {
    // Relaxed: a new handle is made from one that keeps the count above zero.
    handles.fetch_add(1, Ordering::Relaxed);
}

/// Counts a handle off; `true` for the last.
fn release(handles: &AtomicUsize) -> bool {
    // AcqRel: what was done through any handle happens before the last one's close. (The lock
    // orders the channel's own state anyway.)
    handles.fetch_sub(1, Ordering::AcqRel) == 1
}
