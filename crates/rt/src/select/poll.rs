//! The select of a future: the same steps, with `Pending` as the third.
//!
//! What a parked goroutine has on its stack, the stage and the earliest deadline, is a field here, since a
//! poll returns in between. The deadline needs a timer of its own, because a future's wait has no limit.
//! Dropping the future drops the arms, which leave their lines and hand on what they were given.
//!
//! A select spends of the budget of whoever polls it, as a blocking one does, since a task whose arms are
//! always ready never returns `Pending`; and it spends when it begins, with nothing in hand.

use super::order::Order;
use super::{Arms, Enlisted, Tried, attempt_all, delist_but, earliest, enlist_all};
use crate::coop;
use crate::wait::FutureWait;
use std::task::{Context, Poll, ready};

/// A select that is polled. Drop it before the arms or after them: both withdraw.
#[derive(Debug)]
#[must_use = "nothing is selected until this is polled"]
pub struct Selection {
    stage: Stage,
    wait: FutureWait,
    /// Set to the earliest deadline of the arms in line, and for whose.
    #[cfg(not(loom))]
    sleep: Option<(crate::time::Sleep, usize)>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// No arm is in line.
    Begin,
    /// All are, with the ticket of `wait`.
    Waits,
    /// This one has been promised something, and `wait` ends when that is decided.
    Promised(usize),
}

impl Selection {
    /// A select that has not begun.
    pub const fn new() -> Self {
        Self {
            stage: Stage::Begin,
            wait: FutureWait::new(),
            #[cfg(not(loom))]
            sleep: None,
        }
    }

    /// Ready with the number of the arm that is done. The arms must be the same each time.
    ///
    /// # Panics
    /// With more than 8,192 arms.
    pub fn poll<A: Arms + ?Sized>(&mut self, cx: &mut Context<'_>, arms: &mut A) -> Poll<usize> {
        self.spend();
        loop {
            let (number, tried) = match self.stage {
                Stage::Begin => match self.begin(arms) {
                    Some(tried) => tried,
                    None => continue,
                },
                Stage::Waits => match ready!(self.wait_for(cx, arms)) {
                    Some(tried) => tried,
                    None => continue,
                },
                Stage::Promised(number) => {
                    ready!(self.wait.poll(cx));
                    (number, arms.arm(number).settle())
                }
            };
            match tried {
                Tried::Ready => {
                    self.stage = Stage::Begin;
                    return Poll::Ready(number);
                }
                Tried::NotReady => self.stage = Stage::Begin,
                Tried::Promised => self.expect(arms, number),
            }
        }
    }

    /// As [`poll`](Self::poll), once and without waiting: `None` if no arm is possible now.
    pub fn poll_now<A: Arms + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        arms: &mut A,
    ) -> Poll<Option<usize>> {
        self.spend();
        loop {
            let (number, tried) = match self.stage {
                Stage::Promised(number) => {
                    ready!(self.wait.poll(cx));
                    (number, arms.arm(number).settle())
                }
                _ => match attempt_all(arms, Order::draw(arms.count()).numbers()) {
                    Some(tried) => tried,
                    None => return Poll::Ready(None),
                },
            };
            match tried {
                Tried::Ready => {
                    self.stage = Stage::Begin;
                    return Poll::Ready(Some(number));
                }
                Tried::NotReady => self.stage = Stage::Begin,
                Tried::Promised => self.expect(arms, number),
            }
        }
    }

    fn spend(&self) {
        if matches!(self.stage, Stage::Begin) {
            coop::spend();
        }
    }

    /// Steps 1 and 2: an arm that is ready at once; `None` after which the stage says what is.
    fn begin<A: Arms + ?Sized>(&mut self, arms: &mut A) -> Option<(usize, Tried)> {
        let order = Order::draw(arms.count());
        if let Some(tried) = attempt_all(arms, order.numbers()) {
            return Some(tried);
        }
        let ticket = self.wait.arm();
        match enlist_all(arms, order.numbers(), &ticket) {
            Enlisted::Over => {
                let number = self.wait.cancel().expect("an arm claimed or saw a claim");
                Some(settle(arms, number))
            }
            Enlisted::All => {
                self.set_sleep(arms);
                self.stage = Stage::Waits;
                None
            }
        }
    }

    /// Step 3, and 4 when it is over. `None`: begin again.
    fn wait_for<A: Arms + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        arms: &mut A,
    ) -> Poll<Option<(usize, Tried)>> {
        if let Poll::Ready(number) = self.wait.poll(cx) {
            self.clear_sleep();
            return Poll::Ready(Some(settle(arms, number)));
        }
        let number = ready!(self.poll_sleep(cx));
        self.clear_sleep();
        Poll::Ready(Some(match self.wait.cancel() {
            Some(number) => settle(arms, number),
            None => {
                delist_but(arms, None);
                (number, arms.arm(number).attempt())
            }
        }))
    }

    fn expect<A: Arms + ?Sized>(&mut self, arms: &mut A, number: usize) {
        self.stage = Stage::Promised(number);
        let ticket = self.wait.arm();
        if !arms.arm(number).expect(ticket.clone()) {
            // Decided already: the wait is over as soon as it is polled.
            drop(ticket.claim(0));
        }
    }
}

/// Step 4.
fn settle<A: Arms + ?Sized>(arms: &mut A, number: u16) -> (usize, Tried) {
    let number = usize::from(number);
    delist_but(arms, Some(number));
    (number, arms.arm(number).settle())
}

#[cfg(not(loom))]
impl Selection {
    fn set_sleep<A: Arms + ?Sized>(&mut self, arms: &mut A) {
        self.sleep = earliest(arms).map(|(at, number)| (crate::time::Sleep::until(at), number));
    }

    fn clear_sleep(&mut self) {
        self.sleep = None;
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        match &mut self.sleep {
            None => Poll::Pending,
            Some((sleep, number)) => std::pin::Pin::new(sleep).poll(cx).map(|()| *number),
        }
    }
}

#[cfg(not(loom))]
use std::future::Future;

/// A model has no clock.
#[cfg(loom)]
impl Selection {
    fn set_sleep<A: Arms + ?Sized>(&mut self, arms: &mut A) {
        assert!(earliest(arms).is_none(), "a model has no clock");
    }

    fn clear_sleep(&mut self) {}

    fn poll_sleep(&mut self, _cx: &mut Context<'_>) -> Poll<usize> {
        Poll::Pending
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::new()
    }
}
