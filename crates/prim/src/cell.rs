//! `UnsafeCell` in loom's shape: the pointer is lent to a closure for the length of one access.
//!
//! Under `std` the two methods compile to nothing. Under loom each call is an access that the
//! model records, and two accesses that race are a failed model. Keeping the pointer beyond the
//! closure hides an access from the model: don't.

#[cfg(loom)]
pub use loom::cell::UnsafeCell;

/// A cell whose content may be changed through a shared reference by whoever can prove that
/// nobody else is looking. See the module documentation.
#[cfg(not(loom))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// Lends a pointer for reading.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Lends a pointer for writing.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}
