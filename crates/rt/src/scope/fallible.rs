//! Scopes that can fail: the first error is kept, and the others can see that there is one.
//!
//! Go's `errgroup`. The error lies in the [`TryScope`], which is in the frame of the function that
//! waits, so it may borrow as the children may; it is read when all of them have ended. That
//! something has failed is known to the count (`Count::fail`), because panics go there as well.
//!
//! Nobody is stopped from outside: a goroutine cannot be. Those that wait do so under the scope's
//! [context](Scope::context), which the first failure cancels; those that compute look at
//! [`TryScope::is_failed`] where it is worth while; and those that start later do so all the same, as
//! in Go.

use super::{Builder, Scope, ScopedJoinHandle};
use millpond_prim::sync::Lock;
use std::fmt;
use std::ops::Deref;

/// As [`scope()`](super::scope()), for goroutines that may fail. Returns the first error, be it a
/// goroutine's ([`TryScope::go_try`]) or the body's own; else the body's value. Parks the
/// goroutine, or blocks the plain thread.
///
/// An error stops nobody. To call the others off, as Go's `errgroup.WithContext` does, give them a
/// [`Context`](crate::Context) and cancel it *after* the error was kept ([`TryScope::fail`]), or one
/// of those that it stops could be first; the example `errgroup` shows it whole.
///
/// Where a closure uses `?`, the compiler may have to be told the error type: `let result:
/// Result<(), MyError> = try_scope(..)`.
///
/// # Errors
/// The first error. Later ones are dropped.
///
/// # Panics
/// As `scope` does. A panic that nobody took goes before an error.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// use std::num::ParseIntError;
///
/// fn parse_all(texts: &[&str]) -> Result<Vec<u32>, ParseIntError> {
///     let mut numbers = vec![0; texts.len()];
///     millpond::try_scope(|s| {
///         for (text, number) in texts.iter().zip(&mut numbers) {
///             s.go_try(move || {
///                 *number = text.parse()?;
///                 Ok(())
///             });
///         }
///         Ok(())
///     })?;
///     Ok(numbers)
/// }
/// assert_eq!(parse_all(&["1", "2", "3"]), Ok(vec![1, 2, 3]));
/// assert!(parse_all(&["1", "two", "3"]).is_err());
/// # }).unwrap();
/// ```
#[track_caller]
pub fn try_scope<'env, F, T, E>(body: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: 'env,
{
    Builder::new().try_run(body)
}

impl Builder {
    /// As [`try_scope`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn try_run<'env, F, T, E>(self, body: F) -> Result<T, E>
    where
        F: for<'scope> FnOnce(&'scope TryScope<'scope, 'env, E>) -> Result<T, E>,
        E: 'env,
    {
        let scope = TryScope { scope: Scope::new(self), first: Lock::new(None) };
        let value = scope.scope.enclose(|| match body(&scope) {
            Ok(value) => Some(value),
            // Before the wait: the children can see it.
            Err(error) => {
                scope.fail(error);
                None
            }
        });
        let first = scope.first.lock().take();
        match (first, value) {
            (None, Some(value)) => Ok(value),
            (Some(error), _) => Err(error),
            (None, None) => unreachable!("the body's error was kept, or an earlier one"),
        }
    }
}

/// A [`Scope`] that keeps the first error. From [`try_scope`]. What a scope can do, it can.
pub struct TryScope<'scope, 'env: 'scope, E> {
    scope: Scope<'scope, 'env>,
    /// The first error. Protected by the lock, under which errors are moved and never dropped.
    first: Lock<Option<E>>,
}

impl<'scope, E> TryScope<'scope, '_, E> {
    /// As [`Scope::go`], for an `f` that may fail. The handle's result is `None` if it did: the
    /// error is the scope's.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// let result = millpond::try_scope(|s| {
    ///     let number = s.go_try(|| "7".parse::<u32>());
    ///     let failure = s.go_try(|| "seven".parse::<u32>());
    ///     assert_eq!(number.join().unwrap(), Some(7));
    ///     assert_eq!(failure.join().unwrap(), None);
    ///     assert!(s.is_failed());
    ///     Ok(())
    /// });
    /// assert!(result.is_err());
    /// # }).unwrap();
    /// ```
    ///
    /// # Panics
    /// As `Scope::go`.
    #[track_caller]
    pub fn go_try<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, Option<T>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send,
    {
        self.scope.go(move || f().map_err(|error| self.fail(error)).ok())
    }

    /// Keeps `error` if it is the first, and lets the others see that there is one. For the body,
    /// and for goroutines that were not started with [`go_try`](Self::go_try).
    pub fn fail(&self, error: E) {
        let mut first = self.first.lock();
        let later = match &mut *first {
            Some(_) => Some(error),
            none => {
                *none = Some(error);
                None
            }
        };
        drop(first);
        self.scope.count.fail();
        drop(later);
    }

    /// Whether anything has failed (then the scope's [context](Scope::context) is done too): an error
    /// was kept, the body or a goroutine panicked (also if a join has dealt with it), or a goroutine
    /// could not run. Never waits; cheap enough to ask in a loop.
    pub fn is_failed(&self) -> bool {
        self.scope.count.is_failed()
    }
}

impl<'scope, 'env, E> Deref for TryScope<'scope, 'env, E> {
    type Target = Scope<'scope, 'env>;

    fn deref(&self) -> &Self::Target {
        &self.scope
    }
}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.is_failed();
        f.debug_struct("TryScope").field("scope", &self.scope).field("failed", &failed).finish()
    }
}
