//! The select of a goroutine or a plain thread: the four steps, with a park as the third.
//!
//! The order of the arms is drawn once and kept for the rounds of one select: a round that found nothing
//! (a promise that was broken, a tick that another took) begins again with the same odds. Of the arms'
//! deadlines the earliest is the limit of the park; when it has passed, that arm is attempted like any.

use super::order::{self, Order};
use super::{Arms, Enlisted, Tried, attempt_all, delist_but, earliest, enlist_all};
use crate::coop;
use crate::wait::{Outcome, WaitReason, Waiting};

/// So many arms have numbers that can be outcomes.
pub(super) const MAX_ARMS: usize = 1 << 13;

/// Waits until one of the arms is done; its number. With no arm that can ever be possible, waits
/// for ever, as Go's empty `select` does. Parks the goroutine, or blocks the plain thread.
///
/// # Panics
/// With more than 8,192 arms.
#[inline]
pub fn select<A: Arms + ?Sized>(arms: &mut A) -> usize {
    coop::spend();
    let first = order::first(arms.count());
    if let Some(number) = first
        && possible(arms, number)
    {
        return number;
    }
    select_after(arms, first)
}

/// The one that is asked first is possible in most selects of those who have much to do: they draw no
/// order of the others.
#[inline]
fn possible<A: Arms + ?Sized>(arms: &mut A, number: usize) -> bool {
    match arms.arm(number).attempt() {
        Tried::NotReady => false,
        Tried::Ready => true,
        tried => is_done(arms, number, tried),
    }
}

/// A select whose arm `first` was not possible.
#[inline(never)]
fn select_after<A: Arms + ?Sized>(arms: &mut A, first: Option<usize>) -> usize {
    let order = Order::draw_after(arms.count(), first);
    let mut asked = usize::from(first.is_some());
    loop {
        let tried =
            attempt_all(arms, &order.numbers()[asked..]).or_else(|| wait(arms, order.numbers()));
        if let Some((number, tried)) = tried
            && is_done(arms, number, tried)
        {
            return number;
        }
        asked = 0;
    }
}

/// The number of an arm that is possible now. Does not park, except for a value that a select on
/// the other side of a rendezvous has promised and is making.
///
/// # Panics
/// With more than 8,192 arms.
#[inline]
pub fn try_select<A: Arms + ?Sized>(arms: &mut A) -> Option<usize> {
    coop::spend();
    let first = order::first(arms.count());
    if let Some(number) = first
        && possible(arms, number)
    {
        return Some(number);
    }
    let order = Order::draw_after(arms.count(), first);
    let mut asked = usize::from(first.is_some());
    while let Some((number, tried)) = attempt_all(arms, &order.numbers()[asked..]) {
        if is_done(arms, number, tried) {
            return Some(number);
        }
        asked = 0;
    }
    None
}

/// Steps 2 to 4: the arm that the wait made ready, or was promised something.
fn wait<A: Arms + ?Sized>(arms: &mut A, order: &[u16]) -> Option<(usize, Tried)> {
    let waiting = Waiting::begin();
    let outcome = match enlist_all(arms, order, &waiting.ticket()) {
        Enlisted::Over => Outcome::Fired(waiting.cancel().expect("an arm claimed or saw a claim")),
        Enlisted::All => {
            let next = earliest(arms);
            match (waiting.park(WaitReason::Select, next.map(|(at, _)| at)), next) {
                (Outcome::TimedOut, Some((_, number))) => {
                    delist_but(arms, None);
                    return Some((number, arms.arm(number).attempt()));
                }
                (outcome, _) => outcome,
            }
        }
    };
    let Outcome::Fired(number) = outcome else { unreachable!("no deadline, no time-out") };
    let number = usize::from(number);
    delist_but(arms, Some(number));
    Some((number, arms.arm(number).settle()))
}

/// Whether the arm is done, after its promise if it has one.
fn is_done<A: Arms + ?Sized>(arms: &mut A, number: usize, mut tried: Tried) -> bool {
    let arm = arms.arm(number);
    while tried == Tried::Promised {
        let waiting = Waiting::begin();
        if arm.expect(waiting.ticket()) {
            waiting.park(WaitReason::Select, None);
        }
        tried = arm.settle();
    }
    tried == Tried::Ready
}
