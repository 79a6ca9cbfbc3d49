//! The only caller of the kernel: memory, guards, faults, thread states, clocks.
//!
//! Everything above this crate asks it, and nothing above it names a system call. That keeps the
//! `unsafe` of foreign functions in one place, and it makes the list of what Millpond needs from
//! a kernel (or from a container's seccomp profile) readable: it is this crate.
//!
//! Table of contents:
//! - [`mem`]: huge reservations of address space, giving pages back, limits on mappings;
//! - [`guard`]: three ways to make the lowest page of a stack fault;
//! - [`rest`]: taking pages away from under their readers, and putting them back, in one step each;
//! - [`fault`]: the process-wide handler for `SIGSEGV` and `SIGBUS`, which forwards what is not ours;
//! - [`altstack`]: a signal stack per thread, without which an overflow cannot be reported;
//! - [`report`]: text to standard error from inside a signal handler;
//! - [`task`]: states of this process's threads, its memory, its CPUs;
//! - [`clock`]: monotonic time as one number;
//! - [`arena`], [`barrier`], [`hooks`]: the same for an allocator, which must not allocate meanwhile;
//! - [`unwind`]: return addresses, without allocating; [`modules`]: the tables by which others unwind;
//! - [`epoll`]: readiness of descriptors, a bell, and poll(2) for one descriptor.
//!
//! Rule for every module: what a kernel can do is found by *calling* it, never by its version.
//! Distributions backport, containers filter, and both lie about versions.

#[cfg(not(target_os = "linux"))]
compile_error!("Millpond runs on Linux: it needs epoll, eventfd and madvise of that kernel");

pub mod altstack;
pub mod arena;
pub mod barrier;
pub mod clock;
pub mod epoll;
pub mod fault;
pub mod guard;
pub mod hooks;
pub mod mem;
pub mod modules;
pub mod report;
pub mod rest;
pub mod task;
mod uffd;
pub mod unwind;

pub use altstack::AltStack;
