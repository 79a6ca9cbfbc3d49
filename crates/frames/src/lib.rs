//! Backtraces of stacks that nobody runs on.
//!
//! The unwinder of the C library walks the stack of whoever calls it. Goroutines that are parked call nobody, and
//! the words of a stack at rest are not even at their addresses. So the walk here reads words through an
//! accessor, from wherever they are:
//!
//! ```text
//!   Registers + words ──▶ Unwinder::walk ──▶ return addresses ──▶ names::of ──▶ Frame: function, file, line
//!   of a stack            by the modules' tables                  by debug information
//! ```
//!
//! Two steps, because the first is cheap (some ten nanoseconds a frame once an address was seen) and is done for
//! each of a hundred thousand goroutines, and the second is not (it reads debug information: tens of milliseconds
//! the first time) and is done once for what all of them have in common.
//!
//! Rejected: following frame pointers, which neither Rust nor the C library keeps by default; and `framehop`,
//! which is made for profilers of other processes, with a cache and formats of three systems, where three rules
//! per address are all that is needed here.
//!
//! Table of contents: [`Registers`], [`Unwinder`]; [`Frame`], [`Names`].

#![forbid(unsafe_code)]

mod names;
mod unwind;

pub use names::{Frame, Names};
pub use unwind::{Registers, SAVED_WORDS, Unwinder};
