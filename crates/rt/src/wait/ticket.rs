//! Tickets: the right to try to end one particular wait.
//!
//! A ticket may be cloned into as many queues as the wait has ways to end. It keeps the waiter's
//! word alive, so a ticket that is left over in a queue is harmless: its claim fails. Primitives
//! still remove left-over tickets, or a loop of time-outs would grow their queues without bound.

use super::cell::Cell;
use super::place::Place;
use super::waiting::{CANCELLED, TIMED_OUT};
use super::word::{Claimed, WaitWord};
use crate::g::GRef;
use millpond_prim::sync::Arc;
use std::ptr::NonNull;

/// The bit of a raw target that is a cell's. Both types are aligned to more than this.
pub(super) const CELL: usize = 1;

/// Whose wait it is.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Goroutine(GRef),
    Cell(Arc<Cell>),
}

impl Target {
    #[inline]
    pub(super) fn word(&self) -> &WaitWord {
        match self {
            Self::Goroutine(g) => g.wait_word(),
            Self::Cell(cell) => &cell.word,
        }
    }

    #[inline]
    pub(super) fn place(&self) -> &Place {
        match self {
            Self::Goroutine(g) => g.place(),
            Self::Cell(cell) => cell.place(),
        }
    }

    /// Gives the count away as a pointer, which says in its lowest bit which kind it is.
    #[inline(always)]
    pub(super) fn into_raw(self) -> NonNull<()> {
        match self {
            Self::Goroutine(g) => g.into_raw().cast(),
            Self::Cell(cell) => {
                let cell = Arc::into_raw(cell).cast_mut().cast::<()>();
                NonNull::new(cell.map_addr(|addr| addr | CELL)).expect("an `Arc` is not null")
            }
        }
    }

    /// Takes over one count.
    ///
    /// # Safety
    /// `raw` came from [`into_raw`](Self::into_raw), and its count is given away by the caller.
    #[inline(always)]
    pub(super) unsafe fn from_raw(raw: NonNull<()>) -> Self {
        #[cfg(not(loom))]
        if raw.addr().get() & CELL == 0 {
            // SAFETY: without the bit, a goroutine's.
            return Self::Goroutine(unsafe { GRef::from_raw(raw.cast()) });
        }
        let cell = raw.as_ptr().map_addr(|addr| addr & !CELL).cast_const().cast::<Cell>();
        // SAFETY: with the bit, a cell's.
        Self::Cell(unsafe { Arc::from_raw(cell) })
    }
}

/// The right to try to end one wait, once. See the module documentation.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub(super) target: Target,
    pub(super) seq: u64,
}

impl Ticket {
    /// A ticket for wait `seq` of a goroutine.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn for_goroutine(g: GRef, seq: u64) -> Self {
        Self { target: Target::Goroutine(g), seq }
    }

    /// Ends the wait with `outcome` unless it has ended. On `Some`, the caller is the one that ended
    /// it and owes the waiter a [`Fired::ready`] (dropping `Fired` does it too).
    ///
    /// # Panics
    /// If `outcome` is 2^14 - 2 (a context's), 2^14 - 1 (a timer's) or more.
    #[inline]
    pub fn claim(&self, outcome: u16) -> Option<Fired> {
        self.claim_any(Self::unreserved(outcome))
    }

    /// The outcome, if a primitive may use it.
    #[inline]
    pub(super) fn unreserved(outcome: u16) -> u16 {
        if outcome >= CANCELLED {
            reserved(outcome);
        }
        outcome
    }

    /// A timer's claim and resumption; `false` if the wait had ended.
    pub(crate) fn fire_timer(&self) -> bool {
        self.claim_any(TIMED_OUT).is_some()
    }

    /// As [`claim`](Self::claim), also with a reserved outcome.
    #[inline]
    pub(crate) fn claim_any(&self, outcome: u16) -> Option<Fired> {
        match self.target.word().claim(self.seq, outcome)? {
            Claimed::BeforePark => Some(Fired::of_nobody()),
            Claimed::Parked => Some(Fired::of(self.target.clone())),
        }
    }

    /// As [`claim`](Self::claim), of a ticket that has done its work then: the reference to the waiter
    /// becomes that of the [`Fired`]. The ticket stays where it is if there is nobody to resume.
    #[inline]
    pub(super) fn claim_out_of(place: &mut Option<Ticket>, outcome: u16) -> Option<Fired> {
        let ticket = place.as_ref()?;
        match ticket.target.word().claim(ticket.seq, outcome)? {
            Claimed::BeforePark => Some(Fired::of_nobody()),
            Claimed::Parked => place.take().map(|ticket| Fired::of(ticket.target)),
        }
    }

    /// Claims and resumes in one step; `false` if the wait had ended.
    #[inline]
    pub fn fire(&self, outcome: u16) -> bool {
        self.claim(outcome).is_some()
    }

    /// Whether the wait is still open. A hint for skipping and sweeping: the answer may be old.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.target.word().is_open(self.seq)
    }

    /// Whether both tickets are for the same wait.
    pub fn same_wait(&self, other: &Ticket) -> bool {
        self.seq == other.seq && std::ptr::eq(self.target.word(), other.target.word())
    }
}

#[cold]
#[inline(never)]
fn reserved(outcome: u16) -> ! {
    panic!("Ticket::claim: outcome {outcome}, expected below {CANCELLED}")
}

/// A wait that the holder has ended and whose waiter is owed its resumption.
///
/// One word, counted, so that it travels in a register.
#[derive(Debug)]
#[must_use = "the waiter stays parked until this is readied or dropped"]
pub struct Fired(Option<NonNull<()>>);

// SAFETY: it is a `Target`, which is `Send` and `Sync`, in another form.
unsafe impl Send for Fired {}
// SAFETY: as above.
unsafe impl Sync for Fired {}

impl Fired {
    #[inline]
    pub(super) fn of(waiter: Target) -> Self {
        Self(Some(waiter.into_raw()))
    }

    /// Of a waiter in its raw form, with its count.
    ///
    /// # Safety
    /// As [`Target::from_raw`].
    #[cfg(not(loom))]
    #[inline(always)]
    pub(super) unsafe fn of_raw(waiter: NonNull<()>) -> Self {
        Self(Some(waiter))
    }

    /// There is nobody to resume: the wait was ended before its owner had left, or there was none.
    #[inline(always)]
    pub fn of_nobody() -> Self {
        Self(None)
    }

    /// The goroutine that is owed its resumption, for an M that resumes it itself.
    #[cfg(not(loom))]
    pub(crate) fn into_goroutine(mut self) -> Option<GRef> {
        // SAFETY: of one that we were made with, and out of here now.
        match unsafe { Target::from_raw(self.0.take()?) } {
            Target::Goroutine(g) => Some(g),
            cell => {
                self.0 = Some(cell.into_raw());
                None
            }
        }
    }

    /// Makes the waiter runnable. Call it after releasing the primitive's lock: it may write to
    /// an eventfd or run a waker.
    #[inline(always)]
    pub fn ready(mut self) {
        let waiter = self.0.take();
        std::mem::forget(self);
        if let Some(waiter) = waiter {
            // SAFETY: of one that we were made with, and out of here now.
            unsafe { resume(waiter) };
        }
    }
}

impl Drop for Fired {
    #[inline]
    fn drop(&mut self) {
        if let Some(waiter) = self.0.take() {
            // SAFETY: as in `ready`.
            unsafe { resume(waiter) };
        }
    }
}

/// Apart from those who wake, since it stands in every operation that may wake somebody.
///
/// # Safety
/// As [`Target::from_raw`].
#[inline(never)]
unsafe fn resume(waiter: NonNull<()>) {
    // SAFETY: the caller's.
    match unsafe { Target::from_raw(waiter) } {
        Target::Goroutine(g) => crate::g::ready(g),
        Target::Cell(cell) => cell.resume(),
    }
}
