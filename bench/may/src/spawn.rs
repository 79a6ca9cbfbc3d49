//! Starting coroutines.
//!
//! may's `spawn` is unsafe, and its macro `go!` hides that; here the contract is stated once, and the rows call a safe
//! function. It is private to this program, because it is not safe in general: the closures have to keep what is
//! said below.

use may::coroutine::{self, JoinHandle};

/// Starts a coroutine. `f` uses no thread-locals across a wait, and little stack.
pub(crate) fn go<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    // SAFETY: may asks that a coroutine neither reaches a thread-local before and after a switch, because it may go on
    // elsewhere, nor overflows its stack. The rows of this program hold numbers, channels and sockets, and call nothing
    // that is deep.
    unsafe { coroutine::spawn(f) }
}
