//! What loom shows of the order that this crate promises: the edges of `ORDERING.md` that begin or
//! end in the runtime, one model each.
//!
//! As in the `edges` of the crate `sync`, each model has a [`Word`] that one side writes before the
//! first half of the edge and the other reads after the second half, with nothing else between
//! them. The runtime's own parts cannot be modelled whole, since loom does not follow a stack; what
//! is modelled is each place where a goroutine passes from one thread to another:
//!
//! | from, to | through |
//! |---|---|
//! | `go` to the first step, stolen | [`Ring`], a thief |
//! | `go` or a wake-up to the next step, on another M | [`Inbox`] |
//! | the party that ended a wait to the waiter | [`Waiting`], [`FutureWait`] |
//! | a goroutine's end to its joiner | [`JoinWord`] |
//! | a cancellation to those who learn of it | [`Context`] |
//!
//! Who only loads comes last in each model: loom looks for a race with the last access to an atomic
//! alone, so it does not see that a load could have come after a compare-and-swap if whoever does
//! that has loaded before it.
//!
//! On one M what is before and what is after follow each other on one thread.

use crate::context::{Context, ContextError};
use crate::join::{Ended, JoinWord};
use crate::queue::inbox::{Inbox, Linked};
use crate::queue::ring::Ring;
use crate::select::{Arm, Finish, IntoArm, Selection, select};
use crate::wait::{FutureWait, Outcome, Ticket, WaitReason, Waiting};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::atomic::AtomicPtr;
use loom::thread;
use std::future::poll_fn;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Written before, read after. Protected by the edge that a model is about, and by nothing else; its
/// count is `std`'s, which loom does not see.
#[derive(Clone)]
struct Word(Arc<UnsafeCell<u32>>);

impl Word {
    fn new() -> Self {
        Self(Arc::new(UnsafeCell::new(0)))
    }

    fn write(&self) {
        // SAFETY: the edge orders this access with the others; without it loom fails the model.
        self.0.with_mut(|word| unsafe { *word = 1 });
    }

    fn read(&self) {
        // SAFETY: as in `write`.
        assert_eq!(self.0.with(|word| unsafe { *word }), 1, "the write is not seen");
    }
}

/// A model whose operation may find nothing to do: `model` says whether it did this time. Some
/// interleaving must have.
fn met(model: impl Fn() -> bool + Sync + Send + 'static) {
    let times = Arc::new(AtomicUsize::new(0));
    let count = times.clone();
    loom::model(move || {
        count.fetch_add(usize::from(model()), Ordering::Relaxed);
    });
    assert!(times.load(Ordering::Relaxed) > 0, "no interleaving came to the edge");
}

/// The guard of all models here: two accesses without an edge fail.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_word_without_an_edge_fails_the_model() {
    loom::model(|| {
        let word = Word::new();
        let writer = word.clone();
        let _unordered = thread::spawn(move || writer.write());
        word.0.with(|word| word.is_null());
    });
}

/// A closure that waits for its first run: what the words in a ring and the nodes of an inbox stand
/// for. As a goroutine's cell, it is made by one thread and opened by another.
struct Fresh {
    link: AtomicPtr<Fresh>,
    /// What was done before `go`.
    word: Word,
}

// SAFETY: one field, which only the inbox uses; a node is leaked until it is taken.
unsafe impl Linked for Fresh {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

impl Fresh {
    /// `go`: writes, then gives the closure away.
    fn go() -> NonNull<Self> {
        let word = Word::new();
        word.write();
        NonNull::from(Box::leak(Box::new(Self { link: AtomicPtr::new(ptr::null_mut()), word })))
    }

    /// The first step.
    fn run(this: NonNull<Self>) {
        // SAFETY: leaked by `go`, and whoever took it out has it alone.
        let this = unsafe { Box::from_raw(this.as_ptr()) };
        this.word.read();
    }
}

fn run_word(word: usize) {
    Fresh::run(NonNull::new(word as *mut Fresh).expect("a word is never zero"));
}

/// Runs all that is in the ring; how many.
fn run_all(ring: &Ring) -> usize {
    std::iter::from_fn(|| ring.pop()).map(run_word).count()
}

#[test]
fn what_precedes_go_comes_before_the_first_step_on_a_thief() {
    met(|| {
        let ring = Arc::new(Ring::new());
        let from = ring.clone();
        let thief = thread::spawn(move || {
            let mine = Ring::new();
            from.steal_into(&mine, u32::MAX);
            run_all(&mine)
        });
        ring.push(Fresh::go().as_ptr() as usize).unwrap();
        ring.push(Fresh::go().as_ptr() as usize).unwrap();
        let here = run_all(&ring);
        let there = thief.join().unwrap();
        assert_eq!(here + there, 2);
        there > 0
    });
}

/// A slot of the ring is used again after its taker has read it, a thief too: the second lap never
/// overtakes the first.
#[test]
fn a_steal_comes_before_the_reuse_of_its_slots() {
    met(|| {
        let ring = Arc::new(Ring::new());
        (0..4).for_each(|_| ring.push(Fresh::go().as_ptr() as usize).unwrap());
        let (from, mine) = (ring.clone(), ring);
        let thief = thread::spawn(move || {
            let mine = Ring::new();
            from.steal_into(&mine, u32::MAX);
            run_all(&mine)
        });
        let owner = thread::spawn(move || {
            let fifth = mine.push(Fresh::go().as_ptr() as usize);
            let refused = fifth.map_err(run_word).is_err();
            (run_all(&mine) + usize::from(refused), !refused)
        });
        let there = thief.join().unwrap();
        let (here, made_room) = owner.join().unwrap();
        assert_eq!(here + there, 5);
        made_room
    });
}

/// Runs all that is in the inbox; how many.
fn take_all(inbox: &Inbox<Fresh>) -> usize {
    let mut count = 0;
    inbox.take(|node| {
        Fresh::run(node);
        count += 1;
    });
    count
}

#[test]
fn what_precedes_a_push_comes_before_the_step_on_the_owner_of_the_inbox() {
    met(|| {
        let inbox = Arc::new(Inbox::new());
        let pushers = [inbox.clone(), inbox.clone()].map(|inbox| {
            thread::spawn(move || {
                // SAFETY: fresh, and leaked until it is taken.
                unsafe { inbox.push(Fresh::go()) };
            })
        });
        let taken = inbox.clone();
        let owner = thread::spawn(move || take_all(&taken));
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        let early = owner.join().unwrap();
        assert_eq!(early + take_all(&inbox), 2);
        early > 0
    });
}

/// Two parties: the winner's word is the one that is read.
fn claim_before_resume(wait: fn(&dyn Fn(Ticket, u16)) -> u16) {
    loom::model(move || {
        let words = [Word::new(), Word::new()];
        let parties = std::cell::RefCell::new(Vec::new());
        let won = wait(&|ticket, outcome| {
            let word = words[usize::from(outcome)].clone();
            parties.borrow_mut().push(thread::spawn(move || {
                word.write();
                ticket.fire(outcome)
            }));
        });
        words[usize::from(won)].read();
        let fired = parties.into_inner().into_iter().map(|party| party.join().unwrap());
        assert_eq!(fired.filter(|fired| *fired).count(), 1);
    });
}

#[test]
fn what_a_party_did_comes_before_the_end_of_the_wait_that_it_ends() {
    claim_before_resume(|start| {
        let waiting = Waiting::begin();
        (0..2).for_each(|outcome| start(waiting.ticket(), outcome));
        match waiting.park(WaitReason::ChanRecv, None) {
            Outcome::Fired(won) => won,
            other => panic!("{other:?}"),
        }
    });
    claim_before_resume(|start| {
        let mut wait = FutureWait::new();
        let ticket = wait.arm();
        (0..2).for_each(|outcome| start(ticket.clone(), outcome));
        block_on(poll_fn(|cx| wait.poll(cx)))
    });
}

/// A goroutine that writes and ends, beside a handle that `join`s.
fn end_before_join(join: impl Fn(&JoinWord) + Copy + Sync + Send + 'static) {
    loom::model(move || {
        let (shared, word) = (Arc::new(JoinWord::new()), Word::new());
        let (theirs, writer) = (shared.clone(), word.clone());
        let goroutine = thread::spawn(move || {
            writer.write();
            theirs.complete()
        });
        join(&shared);
        word.read();
        assert_eq!(goroutine.join().unwrap(), Ended::HandleOwns);
    });
}

/// The handle leaves its ticket.
fn leave(join: &JoinWord, ticket: Ticket) -> bool {
    // SAFETY: each model has one handle, with one wait at a time.
    unsafe { join.wait(ticket, 0) }
}

#[test]
fn the_end_of_a_goroutine_comes_before_join_returns() {
    end_before_join(|join| {
        let waiting = Waiting::begin();
        if leave(join, waiting.ticket()) {
            waiting.park(WaitReason::Join, None);
        }
    });
}

#[test]
fn the_end_of_a_goroutine_comes_before_an_await_of_its_handle_returns() {
    end_before_join(|join| {
        let mut wait = FutureWait::new();
        if leave(join, wait.arm()) {
            block_on(poll_fn(|cx| wait.poll(cx)));
        }
    });
}

/// The arm of a handle, as `select::join` has it, without the cell of the goroutine.
struct JoinArm<'a>(&'a JoinWord);

impl Arm for JoinArm<'_> {
    fn attempt(&mut self) -> crate::select::Tried {
        if self.0.is_done() { crate::select::Tried::Ready } else { crate::select::Tried::NotReady }
    }

    fn enlist(&mut self, ticket: &Ticket, outcome: u16) -> bool {
        debug_assert_eq!(outcome, 0, "`leave` says 0");
        let in_line = leave(self.0, ticket.clone());
        if !in_line {
            ticket.fire(outcome);
        }
        in_line
    }

    fn delist(&mut self) {
        self.0.withdraw();
    }

    fn settle(&mut self) -> crate::select::Tried {
        self.attempt()
    }
}

#[test]
fn the_end_of_a_goroutine_comes_before_a_select_that_joins_it() {
    end_before_join(|join| {
        let (ctx, _cancel) = Context::background().with_cancel();
        let (mut arm, mut idle) = (JoinArm(join), ctx.done().into_arm());
        let arms: [&mut dyn Arm; 2] = [&mut arm, &mut idle];
        assert_eq!(select(&mut { arms }), 0);
    });
}

#[test]
fn the_end_of_a_goroutine_comes_before_an_is_finished_that_says_so() {
    met(|| {
        let (shared, word) = (Arc::new(JoinWord::new()), Word::new());
        let (theirs, reader) = (shared.clone(), word.clone());
        let handle = thread::spawn(move || {
            let finished = theirs.is_done();
            if finished {
                reader.read();
            }
            finished
        });
        word.write();
        shared.complete();
        handle.join().unwrap()
    });
}

/// Who cancels writes before; `learn` returns when the context is done.
fn cancel_before(learn: fn(&Context)) {
    loom::model(move || {
        let (ctx, cancel) = Context::background().with_cancel();
        let word = Word::new();
        let writer = word.clone();
        let canceller = thread::spawn(move || {
            writer.write();
            cancel.cancel();
            cancel
        });
        learn(&ctx);
        word.read();
        drop(canceller.join().unwrap());
    });
}

#[test]
fn a_cancel_comes_before_done_returns() {
    cancel_before(|ctx| assert_eq!(ctx.done().wait(), ContextError::Cancelled));
    cancel_before(|ctx| assert_eq!(block_on(ctx.done()), ContextError::Cancelled));
}

#[test]
fn a_cancel_comes_before_a_select_on_done_returns() {
    cancel_before(|ctx| {
        let (other, _cancel) = Context::background().with_cancel();
        let (mut arm, mut idle) = (ctx.done().into_arm(), other.done().into_arm());
        let arms: [&mut dyn Arm; 2] = [&mut arm, &mut idle];
        assert_eq!(select(&mut { arms }), 0);
        assert_eq!(arm.finish(), ContextError::Cancelled);
    });
    cancel_before(|ctx| {
        let mut arm = ctx.done().into_arm();
        let mut selection = Selection::new();
        block_on(poll_fn(|cx| {
            let arms: [&mut dyn Arm; 1] = [&mut arm];
            selection.poll(cx, &mut { arms })
        }));
    });
}

/// The context that is waited for was made from the one that is cancelled, before or meanwhile.
#[test]
fn a_cancel_comes_before_done_of_a_descendant_returns() {
    cancel_before(|ctx| {
        let (child, _cancel) = ctx.with_cancel();
        assert_eq!(child.done().wait(), ContextError::Cancelled);
    });
    loom::model(|| {
        let (top, cancel) = Context::background().with_cancel();
        let (middle, _middle) = top.with_cancel();
        let (bottom, _bottom) = middle.with_cancel();
        let word = Word::new();
        let writer = word.clone();
        let canceller = thread::spawn(move || {
            writer.write();
            cancel.cancel();
        });
        assert_eq!(bottom.done().wait(), ContextError::Cancelled);
        word.read();
        canceller.join().unwrap();
    });
}

#[test]
fn a_cancel_comes_before_an_is_done_that_says_so() {
    met(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let word = Word::new();
        let reader = word.clone();
        let looker = thread::spawn(move || {
            let done = ctx.is_done();
            if done {
                reader.read();
            }
            done
        });
        word.write();
        cancel.cancel();
        looker.join().unwrap()
    });
}
