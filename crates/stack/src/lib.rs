//! Pooled stacks for goroutines: huge reservations, guards, reuse.
//!
//! A goroutine's stack is a *slot* of fixed size in a huge range of reserved addresses. Addresses
//! are never given back and never move; pages are. The structures, from the thread to the kernel:
//!
//! ```text
//! Cache    one per M, owner thread only     warm stacks per size class, last in first out
//!   │ by the batch
//! Depot    one lock, process-wide           what the caches have too much of, still warm
//!   │ by the batch, when somebody is idle
//! Pool     process-wide                     one `Chunks` per size class
//!   │
//! Chunks   one lock per size class          which slots of which 2 MiB chunk are free
//!   │ a whole chunk at a time
//! Region   immutable once made              a reservation, its guards; found again by `lookup`
//! ```
//!
//! The walk down, when a goroutine starts: 1. [`Cache::take`] pops a warm stack (nanoseconds, no
//! atomics); 2. an empty cache takes all free slots of one chunk from the pool; 3. a pool without
//! free slots opens a chunk: all its guards are set at once; 4. a class without chunks reserves a
//! region. The walk back: 1. [`Cache::give`] pushes; 2. a cache beyond its budget gives the pages
//! of its coldest stacks back in one call, and their slots to the pool, at once or by way of the
//! [`depot`](Pool::settle); 3. a chunk that is wholly
//! free is closed: guards cleared, range discarded, page tables returned; 4. regions stay.
//!
//! ```text
//! one slot, addresses growing to the right
//! ┌────────┬───────────────────────────────────────────┬────────┐
//! │ guard  │ usable, grows to the left                 │ colour │
//! └────────┴───────────────────────────────────────────┴────────┘
//! limit    limit + 4 KiB                            base        limit + stack_bytes
//! ```
//!
//! The *colour* is `(slot % 16) * 128` unused bytes: without it the hot top of every stack would
//! compete for the same few cache sets.
//!
//! What a guard cannot do: it is one page. Rust code touches every page of a large frame in turn
//! (stack probes) and cannot step over it; foreign code built without
//! `-fstack-clash-protection` can, and belongs on a larger stack.
//!
//! Rejected: a mapping per stack (two of `vm.max_map_count` each, and a page table walk at every
//! birth), growing stacks by copying (interior pointers into a Rust stack cannot be found),
//! segmented stacks (foreign code does not check).
//!
//! A stack that is parked for long can be put to *rest*: its live bytes move into a small block, its
//! pages go, its addresses stay ([`RestMode`], [`Pool::rest`]).
//!
//! Table of contents: [`SizeClass`] and [`class_for`]; [`GuardMode`]; [`Pool`], [`Config`] and
//! [`Stats`]; [`Cache`]; [`Stack`]; [`lookup`]; [`Parked`], [`Origin`], [`RestMode`], [`RestStats`],
//! [`RestTimes`] and [`on_fault`].
//! Under loom only the protocols are built.

#![cfg_attr(loom, allow(dead_code))]

mod chunks;
mod class;
#[cfg(loom)]
#[path = "rest/word.rs"]
mod rest_word;

#[cfg(not(loom))]
mod cache;
#[cfg(not(loom))]
mod depot;
#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod region;
#[cfg(not(loom))]
mod rest;
#[cfg(not(loom))]
mod slot;
#[cfg(not(loom))]
mod stats;

#[cfg(not(loom))]
pub use cache::Cache;
pub use class::{SizeClass, TooLarge, class_for, default_class};
#[cfg(not(loom))]
pub use guard::GuardMode;
#[cfg(not(loom))]
pub use pool::{Config, Pool};
#[cfg(not(loom))]
pub use region::{SlotInfo, lookup};
#[cfg(not(loom))]
pub use rest::{Origin, Parked, RestMode, RestStats, RestTimes, on_fault};
#[cfg(not(loom))]
pub use slot::Stack;
#[cfg(not(loom))]
pub use stats::{ClassStats, Stats};
