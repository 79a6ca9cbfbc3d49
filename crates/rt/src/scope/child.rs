//! A child of a scope: its closure, its end, its handle. The one place that forgets a lifetime.
//!
//! ```text
//!   goroutine                    Slot (counted)          handle
//!   Child ┬ f                    result, or who          g: the goroutine's own handle
//!         └ End ┬ slot ────────▶ gave it up  ◀────────── claim
//!               └ member         (T: 'scope)
//! ```
//!
//! A goroutine is made of what is `'static`, and `f` borrows from the scope. So the lifetime of the
//! job is taken off ([`start`]), and from there on one thing only keeps the borrow alive: the scope
//! does not return before the child's [`Member`] is dropped. Fields are dropped in the order in
//! which they are declared, and `member` is the last field of the last field. Therefore, whatever
//! becomes of the job, the place is given back after everything that can touch a borrow:
//!
//! | the job | what is dropped, in this order |
//! |---|---|
//! | runs to its end | captures (in the call), result if the handle is gone, slot, member |
//! | panics | captures (unwinding), payload (`'static`) if the handle is gone, slot, member |
//! | never runs: no stack, the runtime ended, `go` panicked | captures, slot, member |
//! | is frozen by the end of its runtime | nothing; the member stays taken and the scope waits |
//!
//! A result that has been handed over is the handle's, and the place is given back without it. For
//! a handle lives at most for `'scope`, which leaves it few places: the body, which has ended when
//! the scope waits; another child, of this scope or of one inside, which keeps its own place until it
//! has dropped the handle; the result of another child, which is that child's handle's; or nowhere,
//! because it was forgotten. Then the slot leaks with the result in it, the drop never runs, and the
//! scope need not wait for it. (`std` gives the place back with the result, so that a forgotten
//! handle hangs the scope.)
//!
//! The last reference to the slot may be dropped by anyone: by then its content is gone, for each
//! side takes out what is left when it leaves.
//!
//! What remains of the goroutine after that holds no borrow: the memory of the job's box, the `()`
//! that it returns, and the runtime's own records.
//!
//! Rejected: making the goroutine's cell itself generic over a lifetime. It saves the job's box
//! and the slot, and spreads the argument above over `g/cell`, the handle, and every place that
//! drops a closure or a result.

use super::Scope;
use super::count::{Count, Failure, Member};
use crate::handle::{JoinError, JoinHandle};
use crate::panics::short_backtrace;
use crate::quiet::drop_quietly;
use crate::select::{JoinArm, Joins};
use crate::spawn::GoBuilder;
use crate::wait::Ticket;
use millpond_prim::sync::{Arc, Lock};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;

type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Where child and handle meet.
struct Slot<T> {
    count: Arc<Count>,
    /// Protected by the lock, under which results are moved and never dropped.
    held: Lock<Held<T>>,
}

enum Held<T> {
    /// The child has not ended.
    Pending,
    /// It has, and this is the handle's to take.
    Ended(thread::Result<T>),
    /// It was dropped without having run.
    Lost,
    /// The handle has taken what was there, or has been told that nothing will be.
    Told,
    /// The handle went away untold.
    Gone,
}

impl<T> Slot<T> {
    /// Drops a result that nobody wants. A drop that panics is a panic of the child.
    fn discard(&self, result: thread::Result<T>) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(result))) {
            self.count.note(Failure::Panic);
            drop_quietly(payload);
        }
    }
}

/// What a goroutine of a scope runs. The order of the fields is the order of their drops.
struct Child<F, T> {
    f: F,
    end: End<T>,
}

impl<F: FnOnce() -> T, T> Child<F, T> {
    fn run(self) {
        let Self { f, mut end } = self;
        end.put(catch_unwind(AssertUnwindSafe(|| short_backtrace(f))));
    }
}

/// The end of a child, whichever it comes to. The order of the fields is the order of their drops.
struct End<T> {
    /// Whether the closure has run.
    ran: bool,
    slot: Arc<Slot<T>>,
    /// Dropped last of all that the child is.
    _member: Member,
}

impl<T> End<T> {
    fn put(&mut self, result: thread::Result<T>) {
        self.ran = true;
        if result.is_err() {
            self.slot.count.note(Failure::Panic);
        }
        let mut held = self.slot.held.lock();
        let unwanted = if matches!(*held, Held::Pending) {
            *held = Held::Ended(result);
            None
        } else {
            Some(result)
        };
        drop(held);
        if let Some(result) = unwanted {
            self.slot.discard(result);
        }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        if self.ran {
            return;
        }
        let mut held = self.slot.held.lock();
        // The goroutine's end comes before the drop of its closure, so a joiner may know already.
        if !matches!(*held, Held::Told) {
            self.slot.count.note(Failure::Lost);
        }
        if matches!(*held, Held::Pending) {
            *held = Held::Lost;
        }
    }
}

/// Starts a child of `scope`, which holds the place `member` in it.
#[track_caller]
pub(super) fn start<'scope, 'env, F, T>(
    scope: &'scope Scope<'scope, 'env>,
    goroutine: &GoBuilder,
    member: Member,
    f: F,
) -> ScopedJoinHandle<'scope, T>
where
    F: FnOnce() -> T + Send + 'scope,
    T: Send + 'scope,
{
    let slot = Arc::new(Slot { count: scope.count.clone(), held: Lock::new(Held::Pending) });
    let claim = Claim(slot.clone());
    let child = Child { f, end: End { ran: false, slot, _member: member } };
    // The method takes the child as a whole, and so does the closure: its fields stay together.
    let job: Job<'scope> = Box::new(move || child.run());
    // SAFETY: only the lifetime changes. What `'scope` stands for is in place until the function that
    // made `scope` returns (there is no other way to have a `&'scope Scope`), and that waits for
    // `member` (`Scope::enclose`: it cannot unwind past the wait). `member` is dropped after all that
    // the job holds and makes, as the table of the module documentation says, and nothing looks
    // into the job afterwards.
    let job = unsafe { mem::transmute::<Job<'scope>, Job<'static>>(job) };
    ScopedJoinHandle { g: goroutine.go(job), claim, scope: PhantomData }
}

/// The right to wait for a goroutine of a [`Scope`] and take its result. Also a `Future`. Dropping
/// it leaves the waiting to the scope, and the result is dropped.
///
/// `Send` if `T` is.
pub struct ScopedJoinHandle<'scope, T> {
    g: JoinHandle<()>,
    claim: Claim<T>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the end and takes the result. Parks the goroutine, or blocks the plain thread.
    ///
    /// A panic that is taken here is dealt with: the scope does not panic because of it.
    ///
    /// # Errors
    /// A [`JoinError`] if it panicked, could not be given a stack, or its runtime ended first.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; }
    /// let words = ["to", "be"];
    /// let length = millpond::scope(|s| {
    ///     let first = s.go(|| words[0].len());
    ///     let second = s.go(|| words[1].len());
    ///     first.join().unwrap() + second.join().unwrap()
    /// });
    /// assert_eq!(length, 4);
    /// ```
    pub fn join(self) -> Result<T, JoinError> {
        let ended = self.g.join();
        self.claim.take(ended)
    }

    /// Whether it has ended. Never waits.
    pub fn is_finished(&self) -> bool {
        self.g.is_finished()
    }
}

/// The arm `handle.join()` of a select: that of the goroutine, and then the result.
impl<T> ScopedJoinHandle<'_, T> {
    #[doc(hidden)]
    pub fn __select_join(&mut self) -> JoinArm<'_, Self> {
        JoinArm::new(self)
    }
}

impl<T> Joins for ScopedJoinHandle<'_, T> {
    type Output = Result<T, JoinError>;

    fn take_now(&mut self) -> Option<Self::Output> {
        let ended = self.g.take_if_ended()?;
        Some(self.claim.take(ended))
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        self.g.leave_ticket(ticket, outcome)
    }

    fn delist(&mut self) {
        self.g.withdraw();
    }
}

impl<T> Unpin for ScopedJoinHandle<'_, T> {}

impl<T> Future for ScopedJoinHandle<'_, T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.g).poll(cx));
        Poll::Ready(self.claim.take(ended))
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedJoinHandle").field(&self.g).finish()
    }
}

/// The handle's side of a slot; dropping it gives up what is there or will be.
struct Claim<T>(Arc<Slot<T>>);

impl<T> Claim<T> {
    /// The result, once the goroutine has `ended`.
    fn take(&self, ended: Result<(), JoinError>) -> Result<T, JoinError> {
        let count = &self.0.count;
        let held = mem::replace(&mut *self.0.held.lock(), Held::Told);
        match held {
            Held::Ended(Ok(value)) => return Ok(value),
            Held::Ended(Err(payload)) => {
                count.forgive(Failure::Panic);
                return Err(JoinError::panicked(payload));
            }
            Held::Lost => count.forgive(Failure::Lost),
            // Frozen half-way by the end of its runtime, or about to be dropped.
            Held::Pending | Held::Told | Held::Gone => {}
        }
        // The goroutine knows why it did not run.
        Err(ended.err().unwrap_or_else(JoinError::cancelled))
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        let mut held = self.0.held.lock();
        if matches!(*held, Held::Told) {
            return;
        }
        let left = mem::replace(&mut *held, Held::Gone);
        drop(held);
        if let Held::Ended(result) = left {
            self.0.discard(result);
        }
    }
}
