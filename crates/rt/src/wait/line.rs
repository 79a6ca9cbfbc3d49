//! Lines of goroutines and threads that wait for one thing, without a limit, and are handed a value.
//!
//! Most waits are of this kind: a plain `recv`, a plain `send`. Who waits so can be ended by one party
//! only, the one that holds the lock of the object, and only from the front of the line. So it needs no
//! ticket, no entry that is taken back afterwards and no way out of the middle: the line is linked
//! through the waiters themselves, and so is what passes between them.
//!
//! ```text
//!   waiter                                            party, under the lock
//!     lock; arm; put a value into the slot (give);
//!     join the line; unlock; park ───────────────────▶ take the front off the line
//!                                                      move the value out of its slot, or into it
//!     FIRED: the outcome says what is in the slot ◀─── claim with that outcome; unlock; ready
//! ```
//!
//! *Whose the slot is*: the lock's while its owner is in the line, the owner's otherwise. The claim is the
//! party's last access (it releases), the look at the outcome the owner's first (it acquires). So the
//! owner comes back without a second lock; the outcome alone says what it has.
//!
//! *When a claim fails*: only for a goroutine that will never run again, because its runtime has ended and
//! withdrew its wait. It is passed over, and a value in its slot stays there, as what is on its stack does.
//!
//! Lines do not allocate, and neither a line nor a slot lies on a waiter's stack. The link counts the
//! waiter, so a line that outlives a runtime refers to what is there.
//!
//! *In two steps*: a goroutine joins in a call that returns, and leaves in the frame of the operation's
//! caller. Processors predict a return by the call that came before it. With the switch in a function
//! that returns to its caller afterwards, each return of one goroutine is predicted by a call of another
//! one, and wrong: that was 44 of the 112 ns of a round trip with two parks. A goroutine that joined and
//! does not leave would come back to a wait that is open, which its next wait refuses (`WaitWord::arm`).
//!
//! Who may withdraw (a time limit, a context, a `select!`, a future) stands in a [`WaitList`](super::WaitList).
//! An object that has both keeps the order by letting nobody into a line while somebody is in the
//! list: everyone in the line has then waited longer.
//!
//! Rejected: a slot for values of every size (a goroutine at rest would pay for it); telling apart what
//! is in the slot by a tag in it (the outcome has room for that).

use super::place::Place;
pub use super::place::fits;
use super::reason::WaitReason;
#[cfg(not(loom))]
use super::ticket::CELL;
use super::ticket::{Fired, Target};
use super::waiting::{block, thread_cell};
use super::word::Claimed;
#[cfg(not(loom))]
use crate::g::G;
use millpond_prim::sync::Guard;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ptr::{self, NonNull};

/// Outcome: the slot is empty.
const EMPTY: u16 = 0;
/// Outcome: a value is in the slot.
const FULL: u16 = 1;
/// Outcome: a number is in the slot.
const TOLD: u16 = 2;

/// What the waiters of both kinds of lines are linked by. Each link owns one count.
#[derive(Debug)]
struct Line {
    head: Option<NonNull<()>>,
    /// Means nothing while the line is empty; else the place of the last, whom its link keeps alive.
    tail: *const Place,
}

impl Line {
    const fn new() -> Self {
        Self { head: None, tail: ptr::null() }
    }

    /// # Safety
    /// The waiter is in no line, and has armed its word for this one.
    #[inline(always)]
    unsafe fn push(&mut self, waiter: Target) {
        let place: *const Place = waiter.place();
        let waiter = waiter.into_raw();
        match self.head {
            None => self.head = Some(waiter),
            Some(_) => {
                // SAFETY: the last in the line lives, and `&mut self` is the right to its link.
                unsafe { &*self.tail }.next.with_mut(|next| unsafe { *next = Some(waiter) });
            }
        }
        self.tail = place;
    }

    /// Takes the first off the line, with its count.
    #[inline(always)]
    fn pop(&mut self) -> Option<Target> {
        // SAFETY: a link owns one count, and this one is gone from the line below.
        let waiter = unsafe { Target::from_raw(self.head?) };
        // SAFETY: `&mut self` is the right to the link of whoever is in the line.
        self.head = waiter.place().next.with_mut(|next| unsafe { (*next).take() });
        Some(waiter)
    }

    /// The first, if it is a goroutine whose wait can be ended.
    #[cfg(not(loom))]
    #[inline(always)]
    fn front(&self) -> Option<&G> {
        let raw = self.head.filter(|raw| raw.addr().get() & CELL == 0)?;
        // SAFETY: without the bit, a goroutine's; counted by its link.
        Some(unsafe { raw.cast::<G>().as_ref() })
    }

    /// Takes the first off the line, a goroutine whose wait was ended while it was parked.
    #[cfg(not(loom))]
    #[inline(always)]
    fn pop_claimed(&mut self) -> Fired {
        let raw = self.head.expect("claimed at the front");
        // SAFETY: a goroutine's, counted by its link; and as it is owed its resumption it does not run.
        let next = unsafe { raw.cast::<G>().as_ref() }.place().next.with_mut(|next| {
            // SAFETY: `&mut self` is the right to the link of whoever is in the line.
            unsafe { (*next).take() }
        });
        self.head = next;
        // SAFETY: the link's count goes over.
        unsafe { Fired::of_raw(raw) }
    }

    fn len(&self) -> usize {
        let mut count = 0;
        let mut next = self.head;
        while let Some(raw) = next {
            count += 1;
            // SAFETY: the count is the link's, so it is not dropped here.
            let waiter = ManuallyDrop::new(unsafe { Target::from_raw(raw) });
            // SAFETY: a shared reference to the line is the right to look at its links.
            next = waiter.place().next.with(|next| unsafe { *next });
        }
        count
    }

    /// Takes everyone off the line and tells each that nothing has changed: `outcome`.
    fn end_all(&mut self, outcome: u16, fired: &mut Vec<Fired>) {
        while let Some(waiter) = self.pop() {
            fired.extend(claim(waiter, outcome));
        }
    }
}

/// Ends the wait of who was taken off a line; `None` if its runtime has ended.
#[inline(always)]
fn claim(waiter: Target, outcome: u16) -> Option<Fired> {
    let claimed = waiter.word().claim_current(outcome)?;
    Some(fired(waiter, claimed))
}

#[inline(always)]
fn fired(waiter: Target, claimed: Claimed) -> Fired {
    match claimed {
        Claimed::Parked => Fired::of(waiter),
        // It has not left yet and still counts itself.
        Claimed::BeforePark => Fired::of_nobody(),
    }
}

/// A line of those who wait for a value. Protected by the lock that it stands under. (A `*mut T`, since
/// those in it count on this very type.)
#[derive(Debug)]
pub struct Takers<T>(Line, PhantomData<*mut T>);

/// A line of those who wait for their value to be taken. Protected by the lock that it stands under.
#[derive(Debug)]
pub struct Givers<T>(Line, PhantomData<*mut T>);

// SAFETY: a line is moved with the lock's content; what goes through it are values of `T`.
unsafe impl<T: Send> Send for Takers<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Givers<T> {}

/// What somebody was handed who waited for a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// Nothing: [`Takers::end_all`].
    Nothing,
    /// A value: [`Takers::give`].
    Value(T),
    /// A number: [`Takers::tell`].
    Number(usize),
}

impl<T> Default for Takers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Takers<T> {
    /// An empty line.
    pub const fn new() -> Self {
        Self(Line::new(), PhantomData)
    }

    /// Whether nobody waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.head.is_none()
    }

    /// How many wait. For tests: it goes through the line.
    #[doc(hidden)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Hands `value` to the one that has waited longest. Gives it back if nobody waits.
    ///
    /// # Errors
    /// Then.
    #[inline(always)]
    pub fn give(&mut self, value: T) -> Result<Fired, T> {
        if self.is_empty() {
            return Err(value);
        }
        #[cfg(not(loom))]
        if let Some(g) = self.0.front() {
            // SAFETY: it is in the line, so its slot is ours until the claim; and `T` fits, or it could
            // not have joined. Should the claim fail, nobody has seen what we write here.
            unsafe { g.place().put(ptr::read((&raw const value).cast::<MaybeUninit<T>>())) };
            if g.wait_word().claim_parked(FULL) {
                std::mem::forget(value);
                return Ok(self.0.pop_claimed());
            }
        }
        self.give_to_any(value)
    }

    /// To a thread, to one that has not left yet, past those who will never run again.
    #[cold]
    #[inline(never)]
    fn give_to_any(&mut self, mut value: T) -> Result<Fired, T> {
        while let Some(waiter) = self.0.pop() {
            // SAFETY: as above.
            unsafe { waiter.place().put(value) };
            match waiter.word().claim_current(FULL) {
                Some(claimed) => return Ok(fired(waiter, claimed)),
                // SAFETY: it will not run again, so its slot is ours still.
                None => value = unsafe { waiter.place().get() },
            }
        }
        Err(value)
    }

    /// Hands `number` to the one that has waited longest.
    pub fn tell(&mut self, number: usize) -> Option<Fired> {
        loop {
            let waiter = self.0.pop()?;
            // SAFETY: it was in the line, so its slot is ours until the claim; a number fits.
            unsafe { waiter.place().put(number) };
            if let Some(fired) = claim(waiter, TOLD) {
                return Some(fired);
            }
        }
    }

    /// Tells everyone that nothing comes.
    pub fn end_all(&mut self, fired: &mut Vec<Fired>) {
        self.0.end_all(EMPTY, fired);
    }
}

impl<T> Default for Givers<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Givers<T> {
    /// An empty line.
    pub const fn new() -> Self {
        Self(Line::new(), PhantomData)
    }

    /// Whether nobody waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.0.head.is_none()
    }

    /// How many wait. For tests: it goes through the line.
    #[doc(hidden)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the value of the one that has waited longest.
    #[inline(always)]
    pub fn take(&mut self) -> Option<(T, Fired)> {
        if self.is_empty() {
            return None;
        }
        #[cfg(not(loom))]
        if let Some(g) = self.0.front() {
            // SAFETY: it is in the line, so its slot is ours until the claim, with the value that it
            // joined with. The bits are a value only if the claim says that they are ours for good.
            let value = unsafe { g.place().get::<MaybeUninit<T>>() };
            if g.wait_word().claim_parked(EMPTY) {
                // SAFETY: as above.
                return Some((unsafe { value.assume_init() }, self.0.pop_claimed()));
            }
        }
        self.take_from_any()
    }

    /// From a thread, from one that has not left yet, past those who will never run again.
    #[cold]
    #[inline(never)]
    fn take_from_any(&mut self) -> Option<(T, Fired)> {
        loop {
            let waiter = self.0.pop()?;
            // SAFETY: as above.
            let value = unsafe { waiter.place().get::<MaybeUninit<T>>() };
            if let Some(claimed) = waiter.word().claim_current(EMPTY) {
                // SAFETY: as above.
                return Some((unsafe { value.assume_init() }, fired(waiter, claimed)));
            }
        }
    }

    /// Tells everyone that nobody takes anything.
    pub fn end_all(&mut self, fired: &mut Vec<Fired>) {
        self.0.end_all(FULL, fired);
    }
}

/// What came of joining a line of takers.
#[derive(Debug)]
pub enum Taking<T> {
    /// A plain thread, which has waited in the call.
    Over(Taken<T>),
    /// A goroutine, which is to leave.
    Leaving(Taker<T>),
}

/// What came of joining a line of givers.
#[derive(Debug)]
pub enum Giving<T> {
    /// A plain thread, which has waited in the call: the value, if nobody took it.
    Over(Option<T>),
    /// A goroutine, which is to leave.
    Leaving(Giver<T>),
}

/// The calling goroutine, in a line of takers and about to leave. Forgotten, it makes the goroutine's
/// next wait panic.
#[derive(Debug)]
#[must_use = "the goroutine is in line: it has to leave"]
pub struct Taker<T>(Who, PhantomData<*mut T>);

/// The calling goroutine, in a line of givers and about to leave. As [`Taker`].
#[derive(Debug)]
#[must_use = "the goroutine is in line: it has to leave"]
pub struct Giver<T>(Who, PhantomData<*mut T>);

/// The goroutine, not counted: it is compared with the running one before it is followed.
#[cfg(not(loom))]
type Who = NonNull<G>;

/// Nobody: no goroutine exists in a model.
#[cfg(loom)]
type Who = std::convert::Infallible;

/// Joins the line of takers that `line` finds under the lock, and unlocks. A plain thread blocks here
/// until that is over; a goroutine is told to [leave](Taker::leave).
///
/// # Panics
/// If `T` does not [fit](fits).
#[inline(always)]
pub fn take<S, T>(
    guard: Guard<'_, S>,
    line: impl FnOnce(&mut S) -> &mut Takers<T>,
    reason: WaitReason,
) -> Taking<T> {
    assert!(fits::<T>(), "line: a value of {} bytes does not fit", size_of::<T>());
    match join(guard, line, |_| (), reason, taken) {
        Ok(who) => Taking::Leaving(Taker(who, PhantomData)),
        Err(taken) => Taking::Over(taken),
    }
}

/// Joins the line of givers that `line` finds under the lock, and unlocks. A plain thread blocks here
/// until the value is taken or comes back; a goroutine is told to [leave](Giver::leave).
///
/// # Panics
/// If `T` does not [fit](fits).
#[inline(always)]
pub fn give<S, T>(
    guard: Guard<'_, S>,
    line: impl FnOnce(&mut S) -> &mut Givers<T>,
    value: T,
    reason: WaitReason,
) -> Giving<T> {
    assert!(fits::<T>(), "line: a value of {} bytes does not fit", size_of::<T>());
    // SAFETY: `put` runs before the waiter joins, so the slot is its own.
    let put = |place: &Place| unsafe { place.put(value) };
    match join(guard, line, put, reason, kept) {
        Ok(who) => Giving::Leaving(Giver(who, PhantomData)),
        Err(kept) => Giving::Over(kept),
    }
}

impl<T> Taker<T> {
    /// Leaves the stack until the wait is over. Belongs into the frame of who called the operation: see
    /// the module documentation.
    ///
    /// # Panics
    /// In another goroutine than the one that joined.
    #[inline(always)]
    pub fn leave(self) -> Taken<T> {
        leave(self.0, taken)
    }
}

impl<T> Giver<T> {
    /// Leaves the stack until the wait is over: the value, if nobody took it. As [`Taker::leave`].
    ///
    /// # Panics
    /// As there.
    #[inline(always)]
    pub fn leave(self) -> Option<T> {
        leave(self.0, kept)
    }
}

/// What a taker has whose wait is over.
#[inline(always)]
fn taken<T>(place: &Place, outcome: u16) -> Taken<T> {
    match outcome {
        // SAFETY: the wait is over, so the slot is the taker's; the outcome says what was put there.
        FULL => Taken::Value(unsafe { place.get() }),
        // SAFETY: as above.
        TOLD => Taken::Number(unsafe { place.get() }),
        _ => Taken::Nothing,
    }
}

/// What a giver has whose wait is over.
#[inline(always)]
fn kept<T>(place: &Place, outcome: u16) -> Option<T> {
    // SAFETY: the wait is over, so the slot is the giver's; nobody took the value.
    (outcome == FULL).then(|| unsafe { place.get() })
}

/// Both kinds of lines.
trait Lined {
    fn line(&mut self) -> &mut Line;
}

impl<T> Lined for Takers<T> {
    #[inline(always)]
    fn line(&mut self) -> &mut Line {
        &mut self.0
    }
}

impl<T> Lined for Givers<T> {
    #[inline(always)]
    fn line(&mut self) -> &mut Line {
        &mut self.0
    }
}

#[inline(always)]
fn join<S, L: Lined, R>(
    mut guard: Guard<'_, S>,
    line: impl FnOnce(&mut S) -> &mut L,
    put: impl FnOnce(&Place),
    reason: WaitReason,
    end: impl FnOnce(&Place, u16) -> R,
) -> Result<Who, R> {
    let line = line(&mut guard).line();
    #[cfg(not(loom))]
    if let Some(m) = crate::m::CurrentM::get()
        && let Some(g) = m.this()
    {
        let seq = g.wait_word().arm();
        put(g.place());
        // SAFETY: armed above, so it waits for nothing else and is in no other line.
        unsafe { line.push(Target::Goroutine(crate::g::GRef::clone(&g))) };
        drop(guard);
        m.ask_to_park(&g, seq, reason);
        return Ok(g.as_nonnull());
    }
    let cell = thread_cell();
    let seq = cell.word.arm();
    put(cell.place());
    // SAFETY: as above.
    unsafe { line.push(Target::Cell(cell.clone())) };
    drop(guard);
    block(&cell, seq, None);
    let outcome = cell.word.finish();
    let _ = reason;
    Err(end(cell.place(), outcome))
}

#[cfg(not(loom))]
#[inline(always)]
fn leave<R>(who: Who, end: impl FnOnce(&Place, u16) -> R) -> R {
    let g = crate::m::CurrentM::get().and_then(|m| m.this()).filter(|g| g.as_nonnull() == who);
    let g = g.expect("line: another goroutine joined it");
    crate::m::CurrentM::depart(&g);
    end(g.place(), g.wait_word().finish())
}

#[cfg(loom)]
fn leave<R>(who: Who, _: impl FnOnce(&Place, u16) -> R) -> R {
    match who {}
}
