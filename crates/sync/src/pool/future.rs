//! Getting as a future: the steps of `core`, with a [`FutureWait`] in place of a park.
//!
//! It is in line from the first poll that finds nothing. Dropped in line, it withdraws first and
//! leaves then: after the withdrawal nobody can hand over any more, and what was goes to the next.

use super::core::{AtBound, Enlisted, Got};
use super::guard::PoolGuard;
use super::handle::{Pool, here};
use super::shards::Kept;
use crate::wait_list::Key;
use millpond_rt::coop;
use millpond_rt::wait::FutureWait;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Takes a value out of a [`Pool`]. From [`Pool::get_async`].
#[must_use = "nothing is taken until the future is awaited"]
pub struct GetFuture<'a, T: Send + 'static> {
    pool: &'a Pool<T>,
    /// The entry in the line, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl<'a, T: Send + 'static> GetFuture<'a, T> {
    pub(super) fn new(pool: &'a Pool<T>) -> Self {
        Self { pool, key: None, wait: FutureWait::new() }
    }

    /// The first poll: takes what is there, or gets in line.
    fn begin(&mut self) -> Option<Got<Kept<T>>> {
        coop::spend();
        self.pool.touch();
        let core = self.pool.core();
        if let Some(got) = core.try_acquire(here(core)) {
            return Some(got);
        }
        assert!(
            core.at_bound != AtBound::Refuse,
            "Pool::get_async: the bound is reached and the pool refuses; use try_get"
        );
        match core.enlist(here(core), || self.wait.arm()) {
            Enlisted::Got(got) => Some(got),
            Enlisted::Waits(key) => match core.shards.take_surely(here(core)) {
                Some(value) => {
                    self.wait.cancel();
                    core.pass_on(here(core), key);
                    Some(Got::Value(value))
                }
                None => {
                    self.key = Some(key);
                    None
                }
            },
        }
    }
}

impl<'a, T: Send + 'static> Future for GetFuture<'a, T> {
    type Output = PoolGuard<'a, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.key.is_none()
            && let Some(got) = this.begin()
        {
            return Poll::Ready(this.pool.guard(got));
        }
        if this.wait.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let key = this.key.take().expect("in line since `begin`");
        let got = this.pool.core().take_handed(key).expect("a wait ends by what is handed over");
        Poll::Ready(this.pool.guard(got))
    }
}

impl<T: Send + 'static> Drop for GetFuture<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.wait.cancel();
            let core = self.pool.core();
            core.pass_on(here(core), key);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for GetFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetFuture").finish_non_exhaustive()
    }
}
