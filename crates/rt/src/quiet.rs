//! Running code of users where an unwinding must not go on.
//!
//! Wakers, and the drops of closures, futures, results and panic payloads, are user code that the
//! scheduler runs on its own stack. A panic there has been reported by the hook already; what is
//! left is to keep it from unwinding through the scheduler, whose queues it would leave half done
//! and whose thread, with all the stacks on it, it would end.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f` and stops a panic of it. The payload of that panic may panic in its own drop; then it
/// is leaked.
pub(crate) fn quietly(f: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { return };
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Drops `value`, [`quietly`].
pub(crate) fn drop_quietly<T>(value: T) {
    quietly(|| drop(value));
}

/// Ends the process if it is dropped, which is to say by an unwinding; defused by [`Bomb::defuse`].
/// For the threads of the runtime, which must not end while stacks are at home on them.
pub(crate) struct Bomb(pub(crate) &'static str);

impl Bomb {
    pub(crate) fn defuse(self) {
        std::mem::forget(self);
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        crate::say::die(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Grudge(u32);

    impl Drop for Grudge {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::resume_unwind(Box::new(Grudge(self.0 - 1)));
            }
        }
    }

    #[test]
    fn payloads_that_panic_in_their_drop_end_here() {
        quietly(|| std::panic::resume_unwind(Box::new(Grudge(2))));
        drop_quietly(Grudge(2));
    }
}
