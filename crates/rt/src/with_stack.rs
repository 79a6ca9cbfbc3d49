//! Running a piece of code on a bigger stack.
//!
//! For deep recursion and for foreign code that does not check its stack. The goroutine stays what
//! it is: it may park in there, because a switch saves wherever the stack pointer is. The stack
//! comes from the pool and goes back to it, also when `f` panics.

use crate::m::CurrentM;
use crate::poll_stack::{Ground, Stand};
use crate::stacks;
use millpond_stack::{Stack, class_for};

/// Runs `f` on a pooled stack of at least `bytes` and returns what it returns. On a plain thread
/// too.
///
/// # Panics
/// If `f` does, with its payload; if no size class is that large (8 MiB); if the pool has no stack
/// to give, with the reason.
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// fn depth(n: u64) -> u64 {
///     if n == 0 { 0 } else { 1 + std::hint::black_box(depth(n - 1)) }
/// }
/// assert_eq!(millpond::with_stack(8 << 20, || depth(10_000)), 10_000);
/// ```
#[track_caller]
pub fn with_stack<R>(bytes: usize, f: impl FnOnce() -> R) -> R {
    let class = class_for(bytes).unwrap_or_else(|error| panic!("with_stack: {error}"));
    // On a plain thread there may be no runtime yet that would explain an overflow.
    crate::overflow::install()
        .unwrap_or_else(|error| panic!("with_stack: no handler for overflows: {error}"));
    let take = || stacks::pool().and_then(|pool| pool.take(class));
    let stack = roomy(take)
        .unwrap_or_else(|error| panic!("with_stack: no stack of {bytes} bytes: {error}"));
    let mut taken = Taken(Some(stack));
    let m = CurrentM::get();
    let ground = m.as_ref().and_then(CurrentM::ground_of_running);
    let _back = ground.map(|(ground, _)| Stand::on(Ground::Chosen, ground));
    corosensei::on_stack(taken.0.as_mut().expect("taken a line above"), f)
}

/// The pool opens and closes whole chunks, which takes more stack than a small goroutine has left:
/// on the thread's own.
fn roomy<R>(f: impl FnOnce() -> R) -> R {
    match CurrentM::get() {
        Some(m) => m.on_thread_stack(f),
        None => f(),
    }
}

/// Gives the stack back, also when `f` panics.
struct Taken(Option<Stack>);

impl Drop for Taken {
    fn drop(&mut self) {
        roomy(|| drop(self.0.take()));
    }
}
