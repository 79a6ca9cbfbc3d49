//! The queues between threads, each a protocol small enough to be explored whole.
//!
//! | queue | who puts | who takes | protocol |
//! |---|---|---|---|
//! | [`ring`] | the M that owns it | that M from the front; thieves in batches | Go's run queue: head by compare-and-swap, tail by its owner |
//! | [`inbox`] | anyone | the M that owns it, all at once | an intrusive stack, reversed on taking |
//! | [`idle`] | an M that found nothing | whoever has made work | the hand-shake that keeps a wake-up from being missed |
//!
//! They know nothing of goroutines: a ring carries words, an inbox carries anything with a link.
//! That is why they can be run under the model checker without stacks.

pub(crate) mod idle;
pub(crate) mod inbox;
pub(crate) mod ring;
