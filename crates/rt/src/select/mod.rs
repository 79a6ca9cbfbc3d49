//! Waiting for the first of several operations: what `select!` is made of.
//!
//! An *arm* is one operation that may become possible: a receive, a send, the end of a goroutine, a
//! cancellation, a point in time. Whoever owns the operation implements [`Arm`]; this module owns
//! the order in which arms are asked, the one wait that all of them share, and nothing of what
//! they do.
//!
//! ```text
//!  1. attempt   each arm, in a random order: possible at once? then that was it
//!  2. enlist    each arm, with one ticket and its number as the outcome. An arm that has become
//!               possible meanwhile claims the ticket itself: the claim, not the look, decides
//!  3. park      until a party has claimed the ticket, or the earliest deadline of an arm passes
//!  4. delist    all arms but the winner; settle the winner. If it finds nothing (it was promised
//!               something that did not come), begin again
//! ```
//!
//! One ticket in several lists is all the protocol there is. Ending a wait is one compare-and-swap,
//! so exactly one arm wins, and no step holds the locks of two operations: two selects that cross
//! cannot deadlock, and neither can one that has both ends of a channel. In step 2 an arm must not
//! serve itself: with both ends of a rendezvous in one select, the entry of the first arm is in
//! line when the second looks. It has the same ticket, which is how it is told apart.
//!
//! *Promises.* `tx.send(x)` in a `select!` makes `x` only when its arm has won, so a receiver that
//! meets such a sender is promised a value and has to wait once more, for this one party
//! ([`Tried::Promised`], [`Arm::expect`]). If making `x` panics, the promise is broken, and the
//! receiver's select begins again.
//!
//! *Fairness.* Arms are asked in an order that is drawn anew for each select, every order alike: of
//! several arms that stay ready each wins as often as the others. (A random start with a fixed
//! order after it would favour an arm that follows idle ones.)
//!
//! Deadlines are not arms with a timer each: the earliest becomes the deadline of the one wait.
//!
//! Rejected: a closure per arm (a `return`, `?` or `break` in the body would leave the closure and
//! not the function); locking all channels in address order, as Go does (a lock order over objects
//! of every kind, for one that is needed for rendezvous only); an arm that retries after it was
//! told "possible now" (another takes it first, without bound).

mod deadline;
mod done;
mod order;
mod park;
mod poll;

#[cfg(not(loom))]
mod join;
#[cfg(not(loom))]
mod tick;
#[cfg(not(loom))]
mod waker;

pub use deadline::DeadlineArm;
pub use done::DoneArm;
#[cfg(not(loom))]
pub use join::{JoinArm, Joins};
pub use park::{select, try_select};
pub use poll::Selection;
#[cfg(not(loom))]
pub use tick::TickArm;

#[cfg(not(loom))]
pub(crate) use waker::waker;

use crate::wait::Ticket;
use std::time::Instant;

/// What came of trying an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// The operation is done; the arm holds its result.
    Ready,
    /// It is not possible now.
    NotReady,
    /// It is done but for a value that another party is about to make: [`Arm::expect`] it.
    Promised,
}

/// One operation of a select. For those who make primitives; users write `select!`.
///
/// An arm is in line from an [`enlist`](Self::enlist) that said so to the next
/// [`delist`](Self::delist) or [`settle`](Self::settle). Dropping it gives up whatever it then
/// holds, as dropping a future does.
pub trait Arm {
    /// Does the operation if it is possible now. Never called while in line.
    fn attempt(&mut self) -> Tried;

    /// Gets in line: a party that makes the operation possible claims `ticket` with `outcome`. If
    /// it is possible already, to somebody else than the holder of this very ticket, claims
    /// `ticket` itself, and does the operation if that succeeds.
    ///
    /// `false` if it is not in line because the wait is over, whoever ended it.
    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool;

    /// Leaves the line, if it is in it, and hands on what it was given there.
    fn delist(&mut self);

    /// Its number was the outcome of the wait: leaves the line, and takes what was handed over.
    /// [`Tried::NotReady`] if that is nothing.
    fn settle(&mut self) -> Tried;

    /// After [`Tried::Promised`]: leaves a ticket that is claimed when the promise is kept or
    /// broken; `false` if it is by now. Then comes [`settle`](Self::settle).
    fn expect(&mut self, ticket: Ticket) -> bool {
        let _ = ticket;
        false
    }

    /// When the arm becomes possible by the mere passing of time. Asked while in line; when that
    /// time has come, the arm is delisted and attempted.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// An arm whose result can be taken out once it is done.
pub trait Finish: Arm {
    /// What the operation gives.
    type Output;

    /// The result.
    ///
    /// # Panics
    /// If the arm is not done.
    fn finish(self) -> Self::Output;
}

/// What can stand by itself as an arm of a `select!`: `_ = after(d) => ..`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no arm of a `select!`",
    label = "nothing that a `select!` can wait for",
    note = "an arm is `rx.recv()`, `tx.send(value)`, `handle.join()`, `ctx.done()`, `ticker.tick()`, \
            `signals.recv()` or `after(duration)`",
    note = "let a goroutine wait for anything else, and send what comes of it on a channel; where the \
            other arms are a context or a time, use the `*_ctx` or `*_timeout` form instead"
)]
pub trait IntoArm {
    /// The arm.
    type Arm: Finish;

    /// Makes the arm.
    fn into_arm(self) -> Self::Arm;
}

/// An arm behind a guard that said no: never possible.
impl<A: Arm> Arm for Option<A> {
    fn attempt(&mut self) -> Tried {
        self.as_mut().map_or(Tried::NotReady, Arm::attempt)
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        self.as_mut().is_none_or(|arm| arm.enlist(ticket, outcome))
    }

    fn delist(&mut self) {
        if let Some(arm) = self {
            arm.delist();
        }
    }

    fn settle(&mut self) -> Tried {
        self.as_mut().map_or(Tried::NotReady, Arm::settle)
    }

    fn expect(&mut self, ticket: Ticket) -> bool {
        self.as_mut().is_some_and(|arm| arm.expect(ticket))
    }

    fn deadline(&self) -> Option<Instant> {
        self.as_ref().and_then(Arm::deadline)
    }
}

/// The arms of one select, by number.
pub trait Arms {
    /// How many there are.
    fn count(&self) -> usize;
    /// The arm with this number.
    fn arm(&mut self, number: usize) -> &mut dyn Arm;
}

impl Arms for [&mut dyn Arm] {
    fn count(&self) -> usize {
        self.len()
    }

    fn arm(&mut self, number: usize) -> &mut dyn Arm {
        self[number]
    }
}

impl<const N: usize> Arms for [&mut dyn Arm; N] {
    fn count(&self) -> usize {
        N
    }

    fn arm(&mut self, number: usize) -> &mut dyn Arm {
        self[number]
    }
}

/// How step 2 ended.
enum Enlisted {
    /// All arms are in line.
    All,
    /// The wait ended before that: its outcome says how.
    Over,
}

/// Step 1. The arm that is ready or was promised something.
fn attempt_all<A: Arms + ?Sized>(arms: &mut A, order: &[u16]) -> Option<(usize, Tried)> {
    order.iter().map(|number| usize::from(*number)).find_map(|number| {
        match arms.arm(number).attempt() {
            Tried::NotReady => None,
            tried => Some((number, tried)),
        }
    })
}

/// Step 2.
fn enlist_all<A: Arms + ?Sized>(arms: &mut A, order: &[u16], ticket: &Ticket) -> Enlisted {
    let all = order.iter().all(|number| arms.arm(usize::from(*number)).enlist(ticket, *number));
    if all { Enlisted::All } else { Enlisted::Over }
}

/// Step 4, the losers. Arms that were never enlisted have nothing to leave.
fn delist_but<A: Arms + ?Sized>(arms: &mut A, winner: Option<usize>) {
    (0..arms.count()).filter(|number| Some(*number) != winner).for_each(|n| arms.arm(n).delist());
}

/// The earliest deadline and whose it is.
fn earliest<A: Arms + ?Sized>(arms: &mut A) -> Option<(Instant, usize)> {
    (0..arms.count()).filter_map(|n| arms.arm(n).deadline().map(|at| (at, n))).min()
}
