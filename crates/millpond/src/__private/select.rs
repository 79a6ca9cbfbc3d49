//! What `select!` and `select_async!` expand to: [`millpond_rt::select`], with arrays of arms.
//!
//! An array of trait objects as a parameter makes the compiler turn `&mut arm` into what is wanted, so the
//! expansion names no type, and needs none that a user could not name either.

pub use millpond_rt::select::{Finish, IntoArm, Selection};

use millpond_rt::select::{self as imp, Arm, Tried};
use millpond_rt::wait::Ticket;
use std::task::{Context, Poll};

/// The arm that is done first.
pub fn select<const N: usize>(mut arms: [&mut dyn Arm; N]) -> usize {
    imp::select(&mut arms)
}

/// The arm that is possible now.
pub fn try_select<const N: usize>(mut arms: [&mut dyn Arm; N]) -> Option<usize> {
    imp::try_select(&mut arms)
}

/// One poll of a select.
pub fn poll<const N: usize>(
    selection: &mut Selection,
    cx: &mut Context<'_>,
    mut arms: [&mut dyn Arm; N],
) -> Poll<usize> {
    selection.poll(cx, &mut arms)
}

/// One poll of a select with a default.
pub fn poll_now<const N: usize>(
    selection: &mut Selection,
    cx: &mut Context<'_>,
    mut arms: [&mut dyn Arm; N],
) -> Poll<Option<usize>> {
    selection.poll_now(cx, &mut arms)
}

/// An arm that has lost leaves its line. (Lints have something to say about a `drop` of what needs
/// none, and users are not to hear it.)
pub fn give_up<A: Arm>(arm: A) {
    drop(arm);
}

/// An arm that `#[cfg]` has taken away: never possible.
#[derive(Debug)]
pub struct Off;

impl Arm for Off {
    fn attempt(&mut self) -> Tried {
        Tried::NotReady
    }

    fn enlist(&mut self, _ticket: &Ticket, _outcome: u16) -> bool {
        true
    }

    fn delist(&mut self) {}

    fn settle(&mut self) -> Tried {
        Tried::NotReady
    }
}

/// `select! {}`.
pub fn forever() -> ! {
    imp::select::<[&mut dyn Arm; 0]>(&mut []);
    unreachable!("a select without arms has returned")
}
