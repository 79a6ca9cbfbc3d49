//! Waiting and waking: one face for goroutines, tasks and plain threads.
//!
//! A primitive above this crate (a channel, a lock, a socket) never asks who is calling. It does:
//!
//! ```text
//! let waiting = Waiting::begin();            // 1. arm the caller's wait word
//! { lock; if possible now { return .. }      // 2. under the primitive's own lock: look once
//!   queue.push(waiting.ticket()); }          //    more, then publish a ticket
//! match waiting.park(reason, deadline) {     // 3. leave; the commit happens after the switch
//!     Outcome::Fired(code) => ..             // 4. exactly one party ended the wait
//!     Outcome::TimedOut => { lock; remove the entry }
//! }
//! ```
//!
//! (with [`Waiting::park_until`] in place of `park` if a context may end the wait as well)
//!
//! and the other side, under the same lock, takes a ticket off the queue and calls
//! [`Ticket::claim`]: `None` means that this wait ended otherwise (skip it), `Some(fired)` means
//! that it is ours, so hand over what there is to hand over, release the lock, and let
//! [`Fired::ready`] resume the waiter.
//!
//! | caller | what its wait word lives in | how it leaves | how it is resumed |
//! |---|---|---|---|
//! | goroutine | its `G` | switch to the scheduler, which commits | into its M's queue or inbox |
//! | plain thread | a cell in a thread-local | `std::thread::park` | `unpark` |
//! | task, or any future | a cell in the future ([`FutureWait`]) | `Poll::Pending` | its waker |
//!
//! A task that calls a *blocking* form is a goroutine for that while: the runner that polls it.
//!
//! The queue of step 2 is a [`WaitList`], unless the primitive has a better one: a [`line`](mod@line) of those who
//! wait without a limit, for one thing, and are handed a value.
//!
//! Nothing here is kept on the waiter's stack: tickets hold references to the `G` or the cell.

mod cell;
mod future;
pub mod line;
#[cfg(all(test, loom))]
mod line_models;
mod list;
mod place;
mod reason;
mod ticket;
mod until;
mod waiting;
mod word;

pub use future::FutureWait;
pub use list::{FiredList, Key, WaitList};
pub use reason::WaitReason;
pub use ticket::{Fired, Ticket};
pub use until::Until;
pub(crate) use waiting::CANCELLED;
#[cfg(not(loom))]
pub(crate) use waiting::TIMED_OUT;
pub use waiting::{Outcome, Waiting};

#[cfg(not(loom))]
pub(crate) use cell::blocked_threads;
pub(crate) use cell::wake;
pub(crate) use place::Place;
pub(crate) use word::WaitWord;
