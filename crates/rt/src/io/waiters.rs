//! Those who wait for one direction of one descriptor.
//!
//! Nearly always there is one, so the first has its place in the list itself and costs no
//! allocation; clones of a socket may add more. Four kinds stand in the same line:
//!
//! | kind | who | taken out |
//! |---|---|---|
//! | `Ticket` | a goroutine, or a future that owns its wait | by an event, or by its owner |
//! | `Arm` | an arm of a select; boxed, since sources keep room for a waiter | by an event, or by its owner |
//! | `Task` | the waker of a `poll_*` call, which leaves nothing behind to withdraw with | by an event |
//! | `Thread` | a plain thread in poll(2): it hears only that a limit changed | by its owner |
//!
//! A `Task` whose future was dropped stays until the next event and is then woken for nothing.
//! So that a socket which never speaks again cannot collect them without bound, at most
//! [`MOST_TASKS`] stand in line; one more wakes the oldest, which asks again if it is still there.
//!
//! Rejected: an intrusive list through the waiters (a future may be dropped and a goroutine's
//! stack may be at rest: a node would need an owner of its own anyway), and one place per
//! direction, as in tokio's `poll_read` (clones are read by several goroutines here).

use crate::wait::Ticket;
use std::task::Waker;

/// How many wakers of `poll_*` calls one direction keeps.
pub(crate) const MOST_TASKS: usize = 64;

/// The outcome that a ticket is fired with: look again. The descriptor's state says the rest.
pub(crate) const LOOK_AGAIN: u16 = 1;

/// One who waits. See the module documentation.
#[derive(Debug)]
pub(crate) enum Waiter {
    Ticket(Ticket),
    /// With the number of the arm, which becomes the outcome.
    Arm(Box<(Ticket, u16)>),
    Task(Waker),
    Thread(Waker),
}

impl Waiter {
    /// Ends the wait. Not under a lock: a waker may run any code.
    pub(crate) fn wake(self) {
        match self {
            Self::Ticket(ticket) => {
                ticket.fire(LOOK_AGAIN);
            }
            Self::Arm(arm) => {
                arm.0.fire(arm.1);
            }
            Self::Task(waker) | Self::Thread(waker) => crate::wait::wake(waker),
        }
    }

    /// Whether the poller has to stay alive for this one: a plain thread asks the kernel itself.
    pub(crate) fn needs_poller(&self) -> bool {
        !matches!(self, Self::Thread(_))
    }

    /// Another entry for the same waiter.
    pub(crate) fn duplicate(&self) -> Self {
        match self {
            Self::Ticket(ticket) => Self::Ticket(ticket.clone()),
            Self::Arm(arm) => Self::Arm(arm.clone()),
            Self::Task(waker) => Self::Task(waker.clone()),
            Self::Thread(waker) => Self::Thread(waker.clone()),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ticket(a), Self::Ticket(b)) => a.same_wait(b),
            (Self::Arm(a), Self::Arm(b)) => a.0.same_wait(&b.0) && a.1 == b.1,
            (Self::Task(a), Self::Task(b)) | (Self::Thread(a), Self::Thread(b)) => a.will_wake(b),
            _ => false,
        }
    }
}

/// What became of a waiter that asked for a place.
#[derive(Debug)]
pub(crate) enum Enqueued {
    /// Something happened meanwhile: try the operation again instead of waiting.
    Refused,
    /// In line.
    Added,
    /// This task is in line already.
    Already,
    /// In line, and this one, the oldest task, must be woken for it.
    Displaced(Waiter),
}

/// The line, oldest first: `first`, then `rest`. Empty `first` means empty `rest`.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    first: Option<Waiter>,
    rest: Vec<Waiter>,
}

impl Waiters {
    pub(crate) fn push(&mut self, waiter: Waiter) -> Enqueued {
        let mut displaced = None;
        if matches!(waiter, Waiter::Task(_)) {
            if self.iter().any(|other| other.is_same(&waiter)) {
                return Enqueued::Already;
            }
            displaced = self.make_room_for_a_task();
        }
        match &self.first {
            None => self.first = Some(waiter),
            Some(_) => self.rest.push(waiter),
        }
        displaced.map_or(Enqueued::Added, Enqueued::Displaced)
    }

    fn make_room_for_a_task(&mut self) -> Option<Waiter> {
        let is_task = |waiter: &Waiter| matches!(waiter, Waiter::Task(_));
        if self.iter().filter(|waiter| is_task(waiter)).count() < MOST_TASKS {
            return None;
        }
        let oldest = self.iter().position(is_task)?;
        Some(self.remove_at(oldest))
    }

    /// Takes `waiter` out; whether it was in line.
    pub(crate) fn remove(&mut self, waiter: &Waiter) -> bool {
        let Some(at) = self.iter().position(|other| other.is_same(waiter)) else {
            return false;
        };
        drop(self.remove_at(at));
        true
    }

    fn remove_at(&mut self, at: usize) -> Waiter {
        if at > 0 {
            return self.rest.remove(at - 1);
        }
        let next = if self.rest.is_empty() { None } else { Some(self.rest.remove(0)) };
        std::mem::replace(&mut self.first, next).expect("position found it")
    }

    /// Moves everybody to `woken`. A long line gives its memory back.
    pub(crate) fn take_all(&mut self, woken: &mut Vec<Waiter>) {
        woken.extend(self.first.take());
        if !self.rest.is_empty() {
            woken.append(&mut std::mem::take(&mut self.rest));
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.first.iter().chain(&self.rest)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), count.into())
    }

    #[test]
    fn a_task_stands_in_line_once() {
        let mut line = Waiters::default();
        let (_, waker) = task();
        assert!(matches!(line.push(Waiter::Task(waker.clone())), Enqueued::Added));
        assert!(matches!(line.push(Waiter::Task(waker.clone())), Enqueued::Already));
        assert!(matches!(line.push(Waiter::Thread(waker)), Enqueued::Added));
    }

    #[test]
    fn forgotten_tasks_are_bounded_and_the_oldest_is_woken() {
        let mut line = Waiters::default();
        let (oldest, waker) = task();
        line.push(Waiter::Task(waker));
        for _ in 1..MOST_TASKS {
            assert!(matches!(line.push(Waiter::Task(task().1)), Enqueued::Added));
        }
        match line.push(Waiter::Task(task().1)) {
            Enqueued::Displaced(waiter) => waiter.wake(),
            other => panic!("{other:?}"),
        }
        assert_eq!(oldest.0.load(Ordering::Relaxed), 1);
        let mut all = Vec::new();
        line.take_all(&mut all);
        assert_eq!(all.len(), MOST_TASKS);
    }

    #[test]
    fn removal_keeps_the_order_of_the_others() {
        let mut line = Waiters::default();
        let wakers: Vec<Waker> = (0..4).map(|_| task().1).collect();
        for waker in &wakers {
            line.push(Waiter::Thread(waker.clone()));
        }
        assert!(line.remove(&Waiter::Thread(wakers[0].clone())));
        assert!(line.remove(&Waiter::Thread(wakers[2].clone())));
        assert!(!line.remove(&Waiter::Thread(wakers[2].clone())));
        let mut all = Vec::new();
        line.take_all(&mut all);
        for (waiter, waker) in all.iter().zip([&wakers[1], &wakers[3]]) {
            assert!(waiter.is_same(&Waiter::Thread(waker.clone())));
        }
        assert_eq!(all.len(), 2);
    }
}
