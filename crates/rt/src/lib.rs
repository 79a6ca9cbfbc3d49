//! The scheduler of Millpond: goroutines on pooled stacks, tasks, timers, and waiting.
//!
//! # The three letters
//! - **G** ([`go`]): a goroutine. Before its first run a closure; then a coroutine on a stack of
//!   its own, at home on one M for ever.
//! - **M**: a thread. Runs goroutines that are at home on it, polls descriptors, fires timers.
//! - **P**: a licence to take *fresh* work (goroutines that have not started, tasks), with a queue
//!   of it. As many as processors.
//!
//! # The walk of a goroutine
//! 1. `go` ([`spawn`](mod@crate)) makes the G (`g/cell`) and puts it into its P's `next`
//!    (`m/place`), waking a sleeper if a licence is free (`queue/idle`).
//! 2. An M picks it (`m/run`), perhaps after stealing it (`m/search`); attaches a stack; switches.
//! 3. It waits: arms its wait word, leaves tickets ([`wait`]), switches back; the M commits.
//! 4. A party claims the wait and readies it: into the M's `next`, or from elsewhere its inbox.
//! 5. It ends: the stack goes back, the result to its handle (`g/join`).
//!
//! When an M finds nothing it sleeps in its poller (`m/sleep`); when one is stuck, `sysmon` moves
//! its licence and poller to another. Runtimes begin and end in `runtime`.
//!
//! # Environment
//! - `MILLPOND_PROCS`: how many Ps, 1 to 512. Default: the processors that affinity and the cgroup's
//!   CPU quota leave to the process.
//! - `MILLPOND_STACK`: stack of a goroutine, in bytes or with `K`, `KiB`, `M`, `MiB`. Default: 64 KiB,
//!   256 KiB in debug builds.
//! - `MILLPOND_GUARD`: `install`, `userfault` or `mprotect` forces the way stacks are guarded.
//! - `MILLPOND_REST`: `copy`, `closed` or `off` forces the way stacks rest, or that they do not.
//! - `MILLPOND_WARM`: how many stacks of parked goroutines each M keeps warm. Default: 1024.
//! - `MILLPOND_DEBUG`: words. `stuck` reports goroutines that block their thread, `guard` says at
//!   start how stacks are guarded, `heap` prints the balance sheet of Millpond's allocator at exit.
//!
//! # Under a model
//! Built with `--cfg loom`, only the protocols exist: the wait word and tickets, the queues, the
//! join word, a scope's count, timers, readiness, contexts, selects. The rest needs stacks and a kernel.

// Links the allocator into every test of the layers above, which then run on it.
#[cfg(all(millpond_alloc, not(loom)))]
use millpond_heap as _;

#[cfg(loom)]
#[path = "g/absent.rs"]
mod g;
#[cfg(not(loom))]
mod g;
#[cfg(loom)]
#[allow(dead_code, reason = "in a model, the protocol's user is the model")]
#[path = "g/join.rs"]
mod join;
#[cfg(loom)]
#[allow(dead_code, reason = "in a model, the protocol's user is the model")]
#[path = "scope/count.rs"]
mod scope_count;

pub mod context;
#[cfg(all(test, loom))]
mod edges;
pub mod io;
#[cfg_attr(loom, allow(dead_code, reason = "in a model, the protocol's user is the model"))]
mod queue;
pub mod select;
#[cfg_attr(loom, allow(dead_code, reason = "in a model, the protocol's user is the model"))]
mod timers;
pub mod wait;

#[cfg(not(loom))]
mod block_on;
#[cfg(not(loom))]
mod blocking;
#[cfg(not(loom))]
mod clock;
pub mod coop;
#[cfg(not(loom))]
mod deadlock;
#[cfg(not(loom))]
mod dump;
#[cfg(not(loom))]
mod env;
#[cfg(not(loom))]
mod errands;
#[cfg(not(loom))]
mod exit;
mod first_run;
#[cfg(not(loom))]
mod global;
#[cfg(not(loom))]
mod handle;
#[cfg(not(loom))]
mod m;
#[cfg(not(loom))]
mod overflow;
#[cfg(not(loom))]
mod p;
#[cfg(not(loom))]
mod panics;
#[cfg(not(loom))]
pub mod place;
#[cfg(not(loom))]
mod poll_stack;
#[cfg(not(loom))]
mod quiet;
#[cfg(not(loom))]
mod rest;
#[cfg(not(loom))]
mod runtime;
#[cfg(not(loom))]
mod say;
#[cfg(not(loom))]
mod sched;
#[cfg(not(loom))]
pub mod scope;
#[cfg(not(loom))]
mod spawn;
#[cfg(not(loom))]
mod stacks;
#[cfg(not(loom))]
mod sysmon;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
pub mod time;
#[cfg(all(feature = "frames", not(loom)))]
mod trace;
#[cfg(not(loom))]
mod with_stack;
#[cfg(not(loom))]
mod work;

pub use crate::context::Context;
#[cfg(all(feature = "frames", not(loom)))]
pub use crate::trace::{Backtrace, Frame, Trace, goroutines_with_stacks};
#[cfg(not(loom))]
pub use crate::{
    block_on::{block_on, block_on_ctx},
    blocking::{blocking, blocking_async, blocking_ctx},
    coop::{yield_async, yield_now},
    dump::{Counts, Goroutine, counts, goroutines},
    exit::exit,
    g::Status,
    handle::{JoinError, JoinHandle, LocalJoinHandle},
    rest::{Rest, RestSite, RestStats, RestTimes, rest_sites, rest_stats, set_warm_stacks},
    runtime::Builder,
    scope::{scope, try_scope},
    spawn::{GoBuilder, go, go_local},
    task::spawn,
    with_stack::with_stack,
};
