//! Ending the process from a goroutine.
//!
//! `std::process::exit` runs the thread's destructors of thread-locals on the stack that it is
//! called from. On a goroutine's stack one of them could park, and the thread would go on with a
//! neighbour whose thread-locals are gone. Here the thread counts as a plain one from the call on, so
//! that nothing in the exit can switch.

use crate::m::CurrentM;

/// Ends the process with `code`, as [`std::process::exit`] does, from whatever caller. Destructors
/// of values on stacks do not run.
///
/// In a goroutine, use this one: see SOUNDNESS.md, "`process::exit` inside a goroutine".
pub fn exit(code: i32) -> ! {
    match CurrentM::get() {
        Some(m) => m.on_thread_stack(|| std::process::exit(code)),
        None => std::process::exit(code),
    }
}
