//! Running code of users where an unwinding must not go on: hooks that run as a guard is dropped,
//! perhaps while unwinding already; jobs, whose worker has more to do; drops in a caller that only
//! came along. A panic there has been reported by the hook of the process, and goes no further.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`; neither its panic nor what the drop of the payload does goes further.
pub(super) fn quietly(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        std::mem::forget(again);
    }
}
