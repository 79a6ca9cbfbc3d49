//! The queues between threads, each a protocol small enough to be explored whole.
//!
//! - [`ring`]: the owner puts; the owner takes from the front, thieves in batches. Go's run queue:
//!   the head moves by compare-and-swap, the tail belongs to the owner.
//! - [`inbox`]: anyone puts; the owner takes all at once. An intrusive stack, reversed on taking.
//! - [`idle`]: an M that found nothing meets whoever has made work. The hand-shake that keeps a
//!   wake-up from being missed.
//! - `questions`: what an M is asked by whoever takes a dump.
//!
//! They know nothing of goroutines: a ring carries words, an inbox carries anything with a link.
//! That is why they can be run under the model checker without stacks.

pub(crate) mod idle;
pub(crate) mod inbox;
#[cfg(any(feature = "frames", loom))]
pub(crate) mod questions;
pub(crate) mod ring;
