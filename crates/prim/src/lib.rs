//! One face for atomics, locks, cells and threads: `std` in a program, `loom` in a model.
//!
//! Every protocol of Millpond that two threads can race on is written against this crate and
//! against nothing else. Built normally, each name below is the one of `std`, or a wrapper that
//! inlines to it. Built with `RUSTFLAGS="--cfg loom"`, each name is loom's, so that the *same
//! source* that runs in production is explored under every interleaving that the C11 memory model
//! allows. A second, simplified copy of an algorithm for the model checker would prove only
//! itself.
//!
//! What differs between the two worlds is smoothed over here, once:
//! - [`cell::UnsafeCell`] has loom's `with`/`with_mut` shape, because loom must see each access;
//! - [`sync::Lock`] does not poison. A goroutine that panics while its neighbour on the same
//!   thread holds a guard would poison `std`'s mutex for a reason that has nothing to do with the
//!   data (the panic count is per thread), so poison carries no information here;
//! - [`hint::spin_loop`] yields to the model's scheduler under loom.
//!
//! Rejected: `parking_lot` (an uncontended `std` lock costs the same, one dependency less), and
//! features instead of a `cfg` (features unify across a workspace; a model must not leak into a
//! normal build).
#![forbid(unsafe_code)]

pub mod cell;
pub mod hint;
pub mod sync;
pub mod thread;
