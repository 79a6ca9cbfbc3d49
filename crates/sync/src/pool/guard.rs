//! A value that is out, and goes back when its guard is dropped.
//!
//! A guard borrows its pool, because counting a reference for each get would write to a cache line
//! that all Ms share. One that must outlive the borrow counts its reference then.

use super::handle::Shared;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A value of a [`Pool`](super::Pool). Dropping it resets the value and gives it back.
///
/// A guard that is forgotten (`mem::forget`) takes its value along, and with a bound its place.
pub struct PoolGuard<'a, T: Send + 'static> {
    pool: Home<'a, T>,
    /// `Some` until it goes back or is let go.
    value: Option<T>,
}

enum Home<'a, T: Send + 'static> {
    Borrowed(&'a Arc<Shared<T>>),
    Owned(Arc<Shared<T>>),
}

impl<T: Send + 'static> Home<'_, T> {
    #[inline]
    fn shared(&self) -> &Shared<T> {
        match self {
            Self::Borrowed(shared) => shared,
            Self::Owned(shared) => shared,
        }
    }
}

impl<'a, T: Send + 'static> PoolGuard<'a, T> {
    #[inline]
    pub(super) fn new(pool: &'a Arc<Shared<T>>, value: T) -> Self {
        Self { pool: Home::Borrowed(pool), value: Some(value) }
    }

    /// The same guard without the borrow: to be sent to another goroutine, or kept in a structure.
    /// Counts a reference to the pool.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
    /// let pool = millpond::sync::Pool::new(|| vec![0; 8]);
    /// let buffer = pool.get().into_owned();
    /// std::thread::spawn(move || drop(buffer)).join().unwrap();
    /// assert_eq!(pool.stats().idle, 1);
    /// ```
    pub fn into_owned(mut self) -> PoolGuard<'static, T> {
        let shared = match &self.pool {
            Home::Borrowed(shared) => Arc::clone(shared),
            Home::Owned(shared) => shared.clone(),
        };
        PoolGuard { pool: Home::Owned(shared), value: self.value.take() }
    }

    /// Takes the value out of the pool for good: it is not reset and does not go back. With a
    /// bound, its place is free for another.
    pub fn into_inner(mut self) -> T {
        let value = self.value.take().expect("a guard has its value until it is dropped");
        self.pool.shared().let_go();
        value
    }
}

impl<T: Send + 'static> Deref for PoolGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.value.as_ref().expect("a guard has its value until it is dropped")
    }
}

impl<T: Send + 'static> DerefMut for PoolGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("a guard has its value until it is dropped")
    }
}

impl<T: Send + 'static> Drop for PoolGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.pool.shared().give_back(value);
        }
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for PoolGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
