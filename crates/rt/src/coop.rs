//! The cooperative budget.
//!
//! Nothing preempts a goroutine. One that only ever finds its channels full of work and its
//! sockets full of data would never leave its M, so each operation that succeeds without waiting
//! spends one unit of a budget, and the last unit yields. sysmon empties the budget of one that
//! runs for long while others wait.

#[cfg(not(loom))]
use crate::m::CurrentM;

/// Spends one unit; may yield. Free on a plain thread.
#[inline]
pub fn spend() {
    #[cfg(not(loom))]
    if let Some(m) = CurrentM::get() {
        m.spend();
    }
}

/// Lets the others run: the goroutine goes to the end of its M's queue. On a plain thread,
/// [`std::thread::yield_now`].
///
/// ```
/// # mod millpond { pub use millpond_rt::{*, GoBuilder as Builder}; pub mod runtime { pub use millpond_rt::Builder; } }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let other = millpond::go(|| 1);
/// while !other.is_finished() {
///     millpond::yield_now();
/// }
/// # }).unwrap();
/// ```
#[cfg(not(loom))]
#[inline(always)]
pub fn yield_now() {
    match CurrentM::get() {
        Some(m) if m.is_running() => m.yield_now(),
        _ => std::thread::yield_now(),
    }
}

/// As [`yield_now`], for a task: returns `Pending` once and lets the others be polled.
pub async fn yield_async() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
