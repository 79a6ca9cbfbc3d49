//! Atomics, `Arc`, and a lock without poison.
//!
//! [`Lock`] is `std::sync::Mutex` with the poison taken off (the crate's essay says why). It is
//! for critical sections of some tens of instructions inside the runtime. A thread that holds one
//! never parks a goroutine: the guard is not `Send`, and the runtime's own code drops it first.

use core::ops::{Deref, DerefMut};

#[cfg(loom)]
pub use loom::sync::Arc;
#[cfg(not(loom))]
pub use std::sync::Arc;

/// Atomic types and fences.
pub mod atomic {
    #[cfg(loom)]
    pub use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(not(loom))]
    pub use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

/// A mutual exclusion lock that blocks the thread and does not poison.
#[derive(Debug, Default)]
pub struct Lock<T>(imp::Mutex<T>);

/// The right to use what a [`Lock`] protects; dropping it unlocks.
#[derive(Debug)]
pub struct Guard<'a, T>(imp::MutexGuard<'a, T>);

impl<T> Lock<T> {
    /// Wraps `value`.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// Wraps `value`.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// Waits for the lock. Blocks the thread, never the goroutine alone.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        Guard(self.0.lock().unwrap_or_else(imp_poison))
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(Guard(guard)),
            Err(std::sync::TryLockError::Poisoned(poison)) => Some(Guard(poison.into_inner())),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// The content, without locking: `&mut` proves that nobody else has it.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Takes the content out.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(|poison| poison.into_inner())
    }
}

fn imp_poison<G>(poison: std::sync::PoisonError<G>) -> G {
    poison.into_inner()
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
