//! The queue of waiters that the primitives of this crate share: that of `rt`, which its own
//! primitives (contexts, tickers) use as well. Its rules are in the essay there; this is the name
//! by which the modules here know it.

pub(crate) use millpond_rt::wait::{FiredList, Key, WaitList};
