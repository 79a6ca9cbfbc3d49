//! Where the futures of blocking code are polled: on one stack per M, not on each goroutine's own.
//!
//! A future keeps what it needs across awaits in its own memory, so the stack below a poll holds
//! nothing between two polls. Which stack that is, nobody can tell, but the processor: a server
//! polls a thousand futures in turn, each poll goes some kilobytes deep, and on a thousand stacks
//! nearly each of these lines is a miss. On one stack they are all warm, and a goroutine that waits
//! in [`block_on`](crate::block_on) has touched the top of its own stack only, which is also all
//! the memory that it keeps.
//!
//! The walk: 1. the M's spare stack is taken, or a fresh one if a poll has it; 2. the poll runs on
//! it (`corosensei::on_stack`), as the same goroutine; if it calls a blocking form it parks there,
//! and keeps the stack for so long, since it has frames on it; 3. the stack becomes the spare one,
//! or goes back to the M's cache if there is one.
//!
//! A poll stays where it is when that could matter: on a plain thread; on a stack larger than the
//! runtime's usual one, which somebody has asked for; under [`with_stack`](crate::with_stack), for
//! the same reason; within another such poll, which is warm already; and when there is no stack.

use crate::m::CurrentM;
use millpond_stack::{SizeClass, Stack};
use std::cell::Cell;

/// On whose stack a goroutine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// On its own.
    Own,
    /// On one that a poll has borrowed.
    Poll,
    /// On one that `with_stack` was asked for.
    Chosen,
}

thread_local! {
    /// The spare stack of an M, of the usual class of its runtime. Gone with the thread.
    static SPARE: Cell<Option<Stack>> = const { Cell::new(None) };
}

/// Runs `poll` where it is warm. See the module documentation.
#[inline]
pub(crate) fn run<R>(poll: impl FnOnce() -> R) -> R {
    let Some(m) = CurrentM::get() else { return poll() };
    let Some((ground, own)) = m.ground_of_running() else { return poll() };
    let usual = m.sched().stack_class;
    if ground.get() != Ground::Own || own > usual {
        return poll();
    }
    let Some(stack) = SPARE.take().or_else(|| fresh(&m, usual)) else { return poll() };
    let mut lent = Lent(Some(stack));
    let _back = Stand::on(Ground::Poll, ground);
    corosensei::on_stack(lent.0.as_mut().expect("lent a line above"), poll)
}

/// The cache may have to ask the pool, which takes more stack than a small goroutine has left.
#[cold]
fn fresh(m: &CurrentM, class: SizeClass) -> Option<Stack> {
    m.on_thread_stack(|| m.local().stacks.borrow_mut().as_mut()?.take(class).ok())
}

/// A stack on which a poll runs. Given back also when the poll panics.
struct Lent(Option<Stack>);

impl Drop for Lent {
    #[inline]
    fn drop(&mut self) {
        if let Some(older) = SPARE.replace(self.0.take()) {
            give(older);
        }
    }
}

#[cold]
fn give(stack: Stack) {
    let m = CurrentM::get().expect("a goroutine stays on its M");
    m.on_thread_stack(|| {
        if let Some(cache) = m.local().stacks.borrow_mut().as_mut() {
            cache.give(stack);
        }
    });
}

/// The running goroutine is on another stack, until this is dropped.
pub(crate) struct Stand<'a> {
    ground: &'a Cell<Ground>,
    before: Ground,
}

impl<'a> Stand<'a> {
    pub(crate) fn on(now: Ground, ground: &'a Cell<Ground>) -> Self {
        Self { ground, before: ground.replace(now) }
    }
}

impl Drop for Stand<'_> {
    fn drop(&mut self) {
        self.ground.set(self.before);
    }
}
