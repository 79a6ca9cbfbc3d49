//! The one block of a goroutine ([`super::store`]): header, closure, result.
//!
//! ```text
//!   ┌────────────┬───────────────────────────────────────────┐
//!   │ G (header) │ stage: Entry(F) → Running → Output(..) → Gone │
//!   └────────────┴───────────────────────────────────────────┘
//! ```
//!
//! The header does not know `F` and `T`; four functions in a table do. Who may touch the stage:
//!
//! | stage | touched by |
//! |---|---|
//! | Entry | the M that starts or cancels the goroutine; before that the queue's owner |
//! | Running | the goroutine itself; its M once it will never run again (the runtime ended) |
//! | Output | whom [`super::join`] says: the handle, or the goroutine's end |
//! | Gone | nobody; `free` gives the memory back |
//!
//! `free` runs wherever the last reference is dropped, so it drops no closure and no result: both
//! may be at home on one thread only. By then the stage is Gone, or it is leaked with its handle.

use super::store::{self, Kind};
use super::{G, GRef, Spec, Status};
use crate::handle::JoinError;
use crate::panics::short_backtrace;
use crate::quiet::drop_quietly;
use std::any::Any;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

/// What can be done with a goroutine without knowing its types.
pub(crate) struct VTable {
    /// Runs the closure and stores the result; never unwinds. On the goroutine's stack.
    pub(crate) run: unsafe fn(NonNull<G>),
    /// Stores this error as the result; gives out the closure, if it is still there, to be dropped.
    pub(crate) fail: unsafe fn(NonNull<G>, JoinError) -> Option<Leftover>,
    /// Moves the result (`Result<T, JoinError>`) to the pointer.
    pub(crate) take_output: unsafe fn(NonNull<G>, *mut ()),
    /// Whether the result is there.
    has_output: unsafe fn(NonNull<G>) -> bool,
    /// Drops the result in place.
    pub(crate) drop_output: unsafe fn(NonNull<G>),
    /// Gives the memory back.
    pub(super) free: unsafe fn(NonNull<G>),
}

enum Stage<F, T> {
    Entry(F),
    Running,
    Output(Result<T, JoinError>),
    Gone,
}

#[repr(C)]
struct GCell<F, T> {
    header: G,
    /// Protected as the module documentation says.
    stage: UnsafeCell<Stage<F, T>>,
}

/// Makes a goroutine with two references: the queue's and the handle's.
pub(crate) fn make<F, T>(id: u64, spec: Spec, f: F) -> (GRef, GRef)
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let vtable = const {
        &VTable {
            run: run::<F, T>,
            fail: fail::<F, T>,
            take_output: take_output::<F, T>,
            has_output: has_output::<F, T>,
            drop_output: drop_output::<F, T>,
            free: free::<F, T>,
        }
    };
    let cell = store::take(const { Kind::of::<GCell<F, T>>() }).cast::<GCell<F, T>>();
    // SAFETY: room for a cell that is ours alone. Each part is written where it stays.
    unsafe {
        (&raw mut (*cell.as_ptr()).header).write(G::new(vtable, id, spec, 2));
        (&raw mut (*cell.as_ptr()).stage).write(UnsafeCell::new(Stage::Entry(f)));
    }
    let g = cell.cast::<G>();
    // SAFETY: made with two counts, and these are the two.
    unsafe { (GRef::from_raw(g), GRef::from_raw(g)) }
}

/// # Safety
/// `g` was made by `make::<F, T>` and is not freed.
unsafe fn stage<'a, F, T>(g: NonNull<G>) -> &'a UnsafeCell<Stage<F, T>> {
    // SAFETY: the header is the first field of a repr(C) cell, and the pointer came from the block
    // of the whole cell.
    unsafe { &g.cast::<GCell<F, T>>().as_ref().stage }
}

unsafe fn run<F: FnOnce() -> T, T>(g: NonNull<G>) {
    // SAFETY: called through this goroutine's table, by the goroutine.
    let stage = unsafe { stage::<F, T>(g) };
    // SAFETY: Entry and Running are the goroutine's own. The borrow ends before user code runs.
    let Stage::Entry(f) = (unsafe { stage.get().replace(Stage::Running) }) else {
        crate::say::die("goroutine: started twice");
    };
    // SAFETY: the header of a goroutine that runs.
    let header = unsafe { g.as_ref() };
    let output = if header.abort_requested() {
        // Here and not in the scheduler: the closure's drop may wait, and this stack can.
        drop_quietly(f);
        Err(JoinError::cancelled())
    } else {
        catch_unwind(AssertUnwindSafe(|| short_backtrace(f))).map_err(JoinError::panicked)
    };
    if header.join.is_detached() {
        // For good: the handle is gone. Dropped here for the same reason.
        drop_quietly(output);
        // SAFETY: still Running. A plain write: nothing to drop there.
        unsafe { stage.get().write(Stage::Gone) };
    } else {
        // SAFETY: as above.
        unsafe { stage.get().write(Stage::Output(output)) };
    }
}

unsafe fn fail<F: 'static, T: 'static>(g: NonNull<G>, error: JoinError) -> Option<Leftover> {
    // SAFETY: called through this goroutine's table, by its M, when it will not run (again).
    match unsafe { stage::<F, T>(g).get().replace(Stage::Output(Err(error))) } {
        Stage::Entry(f) => Some(Leftover(Box::new(f))),
        _ => None,
    }
}

unsafe fn take_output<F, T>(g: NonNull<G>, to: *mut ()) {
    // SAFETY: called by the handle once DONE, so the result is the handle's.
    match unsafe { stage::<F, T>(g).get().replace(Stage::Gone) } {
        // SAFETY: the handle passes a place for exactly this type.
        Stage::Output(output) => unsafe {
            to.cast::<MaybeUninit<Result<T, JoinError>>>().write(MaybeUninit::new(output));
        },
        _ => crate::say::die("goroutine: its result was taken twice"),
    }
}

unsafe fn has_output<F, T>(g: NonNull<G>) -> bool {
    // SAFETY: called by whom the join word gave the result.
    matches!(unsafe { &*stage::<F, T>(g).get() }, Stage::Output(_))
}

unsafe fn drop_output<F, T>(g: NonNull<G>) {
    // SAFETY: called by whom the join word gave the result.
    let output = unsafe { stage::<F, T>(g).get().replace(Stage::Gone) };
    drop_quietly(output);
}

unsafe fn free<F, T>(g: NonNull<G>) {
    debug_assert!(
        // SAFETY: the last count is ours.
        matches!(unsafe { &*stage::<F, T>(g).get() }, Stage::Gone),
        "goroutine freed with its closure or result in place ({:?})",
        // SAFETY: as above.
        unsafe { g.as_ref() }.status()
    );
    // SAFETY: taken as this kind in `make`, and nobody refers to it any more. The stage is not
    // dropped.
    unsafe {
        std::ptr::drop_in_place(g.as_ptr());
        store::give(const { Kind::of::<GCell<F, T>>() }, g.cast());
    }
}

/// The goroutine's end, on its M: hands the result over, or gives out what nobody wants.
#[must_use]
pub(crate) fn end(g: &GRef) -> Option<Unwanted> {
    g.set_status(Status::Done);
    (g.join.complete() == super::join::Ended::NobodyWants).then(|| Unwanted(g.clone()))
}

/// The right and the duty to drop a result. It is user code, and may wait: not for the scheduler's
/// stack. At home on the goroutine's thread.
pub(crate) struct Unwanted(GRef);

impl Drop for Unwanted {
    fn drop(&mut self) {
        // SAFETY: the join word gave the result to us. Nothing happens if it is dropped already.
        unsafe { (self.0.vtable().drop_output)(self.0.as_nonnull()) };
    }
}

impl Unwanted {
    /// Whether there is anything to drop.
    pub(crate) fn is_there(&self) -> bool {
        // SAFETY: as above.
        unsafe { (self.0.vtable().has_output)(self.0.as_nonnull()) }
    }
}

/// A closure that will not run. Dropping it is user code; it happens quietly.
pub(crate) struct Leftover(Box<dyn Any>);

impl Drop for Leftover {
    fn drop(&mut self) {
        drop_quietly(std::mem::replace(&mut self.0, Box::new(())));
    }
}

/// Ends a goroutine that will not run (again), on its M or before it has one. Its closure is the
/// caller's to drop: after everything that the closure's drop could wait for.
#[must_use]
pub(crate) fn end_without_running(g: &GRef, error: JoinError) -> Option<Leftover> {
    // SAFETY: the caller has taken it out of its queue, or its M will not resume it: the stage is
    // the caller's.
    let leftover = unsafe { (g.vtable().fail)(g.as_nonnull(), error) };
    // The result is an error of ours: nothing of the user's to drop.
    drop(end(g));
    leftover
}
