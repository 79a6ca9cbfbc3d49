//! Waiting for a notification as a future.
//!
//! ```text
//!   Holding ──first poll──▶ Waiting ──notified──▶ Locking ──locked──▶ ready
//!   (guard)                 (place)               (LockFuture)
//! ```
//!
//! The states in the middle can be dropped by their owner; what a notification has brought there is
//! passed on, as the table of the module says.

use super::{Condvar, Notice};
use crate::mutex::{LockFuture, Mutex, MutexGuard};
use crate::wait_list::Key;
use millpond_rt::wait::FutureWait;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Waits for a notification of a [`Condvar`] and locks the mutex again. From
/// [`Condvar::wait_async`].
#[must_use = "the mutex stays locked and nothing is waited for until the future is awaited"]
pub struct CondvarWaitFuture<'a, T: ?Sized> {
    condvar: &'a Condvar,
    state: State<'a, T>,
    wait: FutureWait,
}

enum State<'a, T: ?Sized> {
    Holding(MutexGuard<'a, T>),
    Waiting(&'a Mutex<T>, Key),
    Locking(LockFuture<'a, T>, Notice),
    Over,
}

impl<'a, T: ?Sized> CondvarWaitFuture<'a, T> {
    pub(super) fn new(condvar: &'a Condvar, guard: MutexGuard<'a, T>) -> Self {
        Self { condvar, state: State::Holding(guard), wait: FutureWait::new() }
    }

    /// Takes the place back, with what has come of it.
    fn leave(&self, place: Key) -> Notice {
        self.condvar.waiters.lock().remove(place)
    }
}

impl<'a, T: ?Sized> Future for CondvarWaitFuture<'a, T> {
    type Output = MutexGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            // The two polls may run a waker's clone and drop, which may panic: the state stays in
            // place meanwhile, for the drop of the future to take what it holds.
            let ready = match &mut this.state {
                State::Holding(_) | State::Over => None,
                State::Waiting(..) => {
                    ready!(this.wait.poll(cx));
                    None
                }
                State::Locking(lock, _) => Some(ready!(Pin::new(lock).poll(cx))),
            };
            match std::mem::replace(&mut this.state, State::Over) {
                State::Holding(guard) => {
                    let mutex = MutexGuard::mutex(&guard);
                    // A future has a wait of its own, so it may begin before the unlock.
                    let ticket = this.wait.arm();
                    let place = this.condvar.waiters.lock().push_back(ticket, Notice::None);
                    this.state = State::Waiting(mutex, place);
                    drop(guard);
                }
                State::Waiting(mutex, place) => {
                    let notice = this.leave(place);
                    this.state = State::Locking(mutex.lock_async(), notice);
                }
                State::Locking(..) => return Poll::Ready(ready.expect("locked by the poll above")),
                State::Over => panic!("CondvarWaitFuture: polled after it was ready"),
            }
        }
    }
}

impl<T: ?Sized> Drop for CondvarWaitFuture<'_, T> {
    fn drop(&mut self) {
        let notice = match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(_, place) => {
                self.wait.cancel();
                self.leave(place)
            }
            State::Locking(lock, notice) => {
                // Out of the mutex's line first: whoever is woken now may want the mutex.
                drop(lock);
                notice
            }
            State::Holding(_) | State::Over => Notice::None,
        };
        if notice == Notice::One {
            self.condvar.notify_one();
        }
    }
}

impl<T: ?Sized> fmt::Debug for CondvarWaitFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CondvarWaitFuture").finish_non_exhaustive()
    }
}
