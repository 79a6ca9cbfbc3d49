//! A `select!` whose arms are known at run time only.
//!
//! The arms stay from one wait to the next: a loop over a thousand channels makes them once. Each
//! is a box with the arm and what to do with its result; a wait is [`millpond_rt::select`] over all
//! of them, and then one call.
//!
//! Rejected: a select that gives a number and leaves it to the caller to complete the operation, as
//! crossbeam's does. The caller may then complete another one, or none; both are panics there.

use super::{Receiver, RecvArm, RecvError, SendArm, SendError, Sender};
use millpond_rt::select::{self, Arm, Arms, DeadlineArm, Finish, IntoArm, Selection, Tried};
use millpond_rt::wait::Ticket;
use std::fmt;
use std::future::poll_fn;
use std::time::{Duration, Instant};

/// Waits for the first of any number of operations, each with what is to be done then: a `select!`
/// for arms that are known at run time only. `R` is what the arms' closures return.
///
/// A closure runs when no arm is in line any more, so it may use the channels freely.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub use millpond_sync::{self as sync, chan}; }
/// use millpond::chan::{self, Select};
///
/// let channels: Vec<_> = (0..10).map(|_| chan::bounded(1)).collect();
/// channels[7].0.send("hello").unwrap();
///
/// let mut select = Select::new();
/// for (number, (_tx, rx)) in channels.iter().enumerate() {
///     select.recv(rx, move |value| (number, value));
/// }
/// assert_eq!(select.wait(), (7, Ok("hello")));
/// ```
pub struct Select<'a, R> {
    arms: Vec<(ArmId, Box<dyn Choice<R> + 'a>)>,
    next: u64,
}

/// Which arm of a [`Select`], for [`Select::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArmId(u64);

impl<'a, R> Select<'a, R> {
    /// Without arms.
    pub fn new() -> Self {
        Self { arms: Vec::new(), next: 0 }
    }

    /// Adds the receive of a value. It stays after it was done; the receive from a closed channel
    /// is possible for ever, so remove it then.
    pub fn recv<T>(
        &mut self,
        receiver: &'a Receiver<T>,
        then: impl FnMut(Result<T, RecvError>) -> R + 'a,
    ) -> ArmId
    where
        T: 'a,
    {
        self.push(Recv { arm: receiver.__select_recv(), then })
    }

    /// Adds the send of a value, which `make` makes each time when it is decided that it is sent.
    /// Stays after it was done.
    pub fn send<T>(
        &mut self,
        sender: &'a Sender<T>,
        make: impl FnMut() -> T + 'a,
        then: impl FnMut(Result<(), SendError<T>>) -> R + 'a,
    ) -> ArmId
    where
        T: 'a,
    {
        self.push(Send { arm: sender.__select_send(), make, then })
    }

    /// Adds what can happen once: the end of a goroutine (`&mut handle`), of a context
    /// (`ctx.done()`), of a time (`after(duration)`). Once done, it is not waited for any more.
    pub fn once<A>(
        &mut self,
        arm: A,
        then: impl FnOnce(<A::Arm as Finish>::Output) -> R + 'a,
    ) -> ArmId
    where
        A: IntoArm,
        A::Arm: 'a,
    {
        self.push(Once(Some((arm.into_arm(), then))))
    }

    /// Takes an arm out; `false` if it is not there any more.
    pub fn remove(&mut self, arm: ArmId) -> bool {
        let found = self.arms.iter().position(|(id, _)| *id == arm);
        found.map(|place| self.arms.swap_remove(place)).is_some()
    }

    /// How many arms there are, those that are over included.
    pub fn len(&self) -> usize {
        self.arms.len()
    }

    /// Whether there is no arm.
    pub fn is_empty(&self) -> bool {
        self.arms.is_empty()
    }

    /// Waits until an arm is done, and does what is to be done then. Without arms it waits for ever.
    /// Parks the goroutine, or blocks the plain thread.
    ///
    /// # Panics
    /// With more than 8,192 arms, and if the closure of the arm panics.
    pub fn wait(&mut self) -> R {
        let number = select::select(&mut Round { arms: &mut self.arms, limit: None });
        self.finish(number)
    }

    /// As [`wait`](Self::wait), if an arm is possible now. Does not park, except for a value that a
    /// select on the other side of a rendezvous is making.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> Option<R> {
        let number = select::try_select(&mut Round { arms: &mut self.arms, limit: None })?;
        Some(self.finish(number))
    }

    /// As [`wait`](Self::wait), for at most `limit`; `None` if that passed first.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, limit: Duration) -> Option<R> {
        let limit = Instant::now().checked_add(limit).map(DeadlineArm::new);
        let number = select::select(&mut Round { arms: &mut self.arms, limit });
        (number < self.arms.len()).then(|| self.finish(number))
    }

    /// As [`wait`](Self::wait), for tasks. Dropping the future loses no value.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub async fn wait_async(&mut self) -> R {
        let mut round = Leaves(Round { arms: &mut self.arms, limit: None });
        let mut selection = Selection::new();
        let number = poll_fn(|cx| selection.poll(cx, &mut round.0)).await;
        drop(round);
        self.finish(number)
    }

    fn push(&mut self, arm: impl Choice<R> + 'a) -> ArmId {
        let id = ArmId(self.next);
        self.next += 1;
        self.arms.push((id, Box::new(arm)));
        id
    }

    fn finish(&mut self, number: usize) -> R {
        self.arms[number].1.finish()
    }
}

impl<R> Default for Select<'_, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> fmt::Debug for Select<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("arms", &self.arms.len()).finish_non_exhaustive()
    }
}

/// The arms of one wait: those of the select, and a limit.
struct Round<'s, 'a, R> {
    arms: &'s mut Vec<(ArmId, Box<dyn Choice<R> + 'a>)>,
    limit: Option<DeadlineArm>,
}

impl<R> Arms for Round<'_, '_, R> {
    fn count(&self) -> usize {
        self.arms.len() + usize::from(self.limit.is_some())
    }

    fn arm(&mut self, number: usize) -> &mut dyn Arm {
        match self.arms.get_mut(number) {
            Some((_, arm)) => arm.arm(),
            None => &mut self.limit,
        }
    }
}

/// A round that may be dropped while its arms are in line: they outlive it, and must leave.
struct Leaves<'s, 'a, R>(Round<'s, 'a, R>);

impl<R> Drop for Leaves<'_, '_, R> {
    fn drop(&mut self) {
        self.0.arms.iter_mut().for_each(|(_, arm)| arm.arm().delist());
    }
}

/// An arm and what is to be done when it is done.
trait Choice<R> {
    fn arm(&mut self) -> &mut dyn Arm;
    fn finish(&mut self) -> R;
}

struct Recv<'a, T, F> {
    arm: RecvArm<'a, T>,
    then: F,
}

impl<T, R, F: FnMut(Result<T, RecvError>) -> R> Choice<R> for Recv<'_, T, F> {
    fn arm(&mut self) -> &mut dyn Arm {
        &mut self.arm
    }

    fn finish(&mut self) -> R {
        (self.then)(self.arm.take())
    }
}

struct Send<'a, T, M, F> {
    arm: SendArm<'a, T>,
    make: M,
    then: F,
}

impl<T, R, M, F> Choice<R> for Send<'_, T, M, F>
where
    M: FnMut() -> T,
    F: FnMut(Result<(), SendError<T>>) -> R,
{
    fn arm(&mut self) -> &mut dyn Arm {
        &mut self.arm
    }

    fn finish(&mut self) -> R {
        // If making the value panics, the arm that won is dropped, which gives its permit back.
        let won = self.arm.renew();
        let value = (self.make)();
        (self.then)(won.finish(value))
    }
}

struct Once<A, F>(Option<(A, F)>);

impl<A: Finish, R, F: FnOnce(A::Output) -> R> Choice<R> for Once<A, F> {
    fn arm(&mut self) -> &mut dyn Arm {
        self
    }

    fn finish(&mut self) -> R {
        let (arm, then) = self.0.take().expect("an arm that won was there");
        then(arm.finish())
    }
}

impl<A: Arm, F> Arm for Once<A, F> {
    fn attempt(&mut self) -> Tried {
        self.0.as_mut().map_or(Tried::NotReady, |(arm, _)| arm.attempt())
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        self.0.as_mut().is_none_or(|(arm, _)| arm.enlist(ticket, outcome))
    }

    fn delist(&mut self) {
        if let Some((arm, _)) = &mut self.0 {
            arm.delist();
        }
    }

    fn settle(&mut self) -> Tried {
        self.0.as_mut().map_or(Tried::NotReady, |(arm, _)| arm.settle())
    }

    fn expect(&mut self, ticket: Ticket) -> bool {
        self.0.as_mut().is_some_and(|(arm, _)| arm.expect(ticket))
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|(arm, _)| arm.deadline())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::chan::{Sender, bounded};
    use std::future::Future;
    use std::sync::{Arc, mpsc};
    use std::task::{Context, Wake, Waker};

    struct Holds(#[expect(dead_code, reason = "only dropped")] Sender<()>);

    impl Wake for Holds {
        fn wake(self: Arc<Self>) {}
    }

    /// The drop of a waker closes the channel in whose line it stood: no lock of that is held then.
    #[test]
    fn a_waker_that_holds_the_channel_may_go_with_a_select_that_is_given_up() {
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let (tx, rx) = bounded::<()>(1);
            let mut select = Select::new();
            select.recv(&rx, |_| ());
            let waker = Waker::from(Arc::new(Holds(tx)));
            let mut future = Box::pin(select.wait_async());
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            drop(future);
            done.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(60)).expect("it waits for a lock of its own");
    }
}
