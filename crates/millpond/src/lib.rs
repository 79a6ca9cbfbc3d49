//! Millpond: a Go-style runtime for Rust services.
//!
//! Write straight-line blocking code; each connection and each job is a goroutine. A goroutine
//! that waits parks, its thread goes on with others, and its stack is one of millions in a pooled
//! reservation.
//!
//! ```no_run
//! use millpond::{go, net::TcpListener};
//! use std::io::{self, Read, Write};
//!
//! #[millpond::main] // the body is the first goroutine
//! fn main() -> io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:7000")?;
//!     loop {
//!         let (mut conn, _peer) = listener.accept()?; // parks the goroutine, not the thread
//!         go(move || -> io::Result<()> {
//!             let mut buf = [0u8; 1024];
//!             loop {
//!                 let n = conn.read(&mut buf)?;
//!                 if n == 0 {
//!                     return Ok(());
//!                 }
//!                 conn.write_all(&buf[..n])?;
//!             }
//!         });
//!     }
//! }
//! ```
//!
//! # What there is
//! | | |
//! |---|---|
//! | start | [`go`], [`go_local`], [`spawn`] (a task), [`Builder`], [`main`], [`test`] |
//! | start and wait | [`scope()`], [`try_scope`]: goroutines that borrow; [`mod@scope`] |
//! | wait | [`JoinHandle`], [`block_on`], [`yield_now`], [`time`] |
//! | talk | [`chan`], [`select!`], [`select_async!`], [`sync`] |
//! | sockets and signals | [`net`], [`signal`] |
//! | stop | [`Context`] |
//! | what blocks anyway | [`blocking`], [`blocking_async`], [`with_stack`] |
//! | look inside | [`debug`] |
//! | runtimes | [`runtime`] |
//! | memory | [`Alloc`], [`mem`] |
//!
//! Who comes from Go finds each line's counterpart in `docs/from-go.md`, and whole patterns
//! (pipeline, fan-out and fan-in, actor, error group, rate limit, bounded crawl) in `examples`.
//!
//! Goroutine, task, plain thread: everything works from all three. A goroutine parks, a task
//! registers its waker, a plain thread blocks.
//!
//! # What to know
//! - A goroutine that has started stays on its thread: `Rc`, guards and thread-locals are safe
//!   across a park. A task moves at each await; `Send` checks it.
//! - A stack has a fixed size (64 KiB, 256 KiB in debug builds; [`Builder::stack_size`],
//!   `MILLPOND_STACK`). Overflow is reported with the goroutine's name and ends the process.
//! - `std::thread::sleep`, `std::sync::Mutex` and other calls that block the *thread* block its
//!   goroutines too; the runtime moves the others' fresh work elsewhere. Use [`blocking`].
//! - When the first goroutine returns, the process ends, as in Go.
//!
//! # Memory
//! Millpond's allocator gives memory back when load falls, keeps below a limit if it can, and accounts
//! for every byte ([`mem`]). It is chosen for the whole program; the runtime works with any other.
//!
//! ```
//! # #[cfg(not(millpond_alloc))]
//! #[global_allocator]
//! static ALLOC: millpond::Alloc = millpond::Alloc;
//! # fn main() {}
//! ```

#![forbid(unsafe_code)]

pub use millpond_heap::Alloc;
pub use millpond_macros::{main, select, select_async, test};
#[doc(inline)]
pub use millpond_net as net;
pub use millpond_net::signal;
pub use millpond_rt::{
    Context, GoBuilder as Builder, JoinError, JoinHandle, LocalJoinHandle, block_on, block_on_ctx,
    blocking, blocking_async, blocking_ctx, context, exit, go, go_local, scope, spawn, time,
    try_scope, with_stack, yield_async, yield_now,
};
#[doc(inline)]
pub use millpond_service as service;
#[doc(inline)]
pub use millpond_sync::{self as sync, chan, pool};

/// Making runtimes. `#[millpond::main]` does it for most programs.
pub mod runtime {
    pub use millpond_rt::Builder;
}

/// Memory: what it is used for, its limit, and giving it back.
///
/// About programs that have chosen [`Alloc`]; in others the heap is empty and these do
/// nothing. Stacks, and what pools keep, are on the sheet of every program:
///
/// ```
/// let pool = millpond::sync::Pool::new(|| [0u8; 1024]);
/// drop(pool.get());
/// let pooled = millpond::mem::stats().heap.pooled.unwrap_or_default();
/// assert!(pooled.objects >= 1 && pooled.bytes >= 1024);
/// ```
pub mod mem {
    pub use millpond_heap::{Pooled, limit, release, set_limit};
    pub use millpond_observe::{MemoryStats as Stats, memory as stats, stacks_resident_bytes};
    pub use millpond_rt::set_warm_stacks;
}

/// Looking into a running process.
pub mod debug {
    #[cfg(feature = "frames")]
    pub use millpond_observe::{Backtrace, Frame, Trace};
    pub use millpond_observe::{
        Counts, Goroutine, GoroutineDump, GoroutineProfile, Rest, RestSite, RestStats, RestTimes,
        Status, WaitReason, counts, goroutines, goroutines_in_brief, rest_sites, rest_stats,
    };
}

#[doc(hidden)]
pub mod __private;

/// The page for Go programmers: its pieces of Rust are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-go.md")]
mod from_go {}
