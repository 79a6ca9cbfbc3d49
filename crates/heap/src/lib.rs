//! The allocator: three tiers, explicit free, and resident memory that comes back.
//!
//! ```text
//!  thread ── cache (per thread: no atomic instructions) ──┐   small blocks: 67 classes to 32 KiB
//!            │ owns spans; its frees go straight back     │
//!            ▼                                            ▼
//!         central (per class: spans with room and no owner, changes of owner)
//!            ▼
//!         pages (a bitmap of 8 KiB pages with summaries) ◄──── large objects
//!            ▼                          ▲
//!         one reservation of the kernel  └── scavenger: idle caches, holes, idle pages go back
//! ```
//!
//! The walk of a small allocation down and of a free back up is in [`heap`]'s essay; what a span is, in
//! `span`; how memory goes back, in `scavenge`; who may touch what, at each field.
//!
//! Table of contents, bottom up:
//! - `classes`: sizes; `ground`: from an address to its span; `pages`: the page heap;
//! - `span`, `list`: blocks and links; `remote`: frees from other threads; `claim`: a cache without its thread;
//! - `central`, `cache`, `threads`: the tiers; `slot`: the way to a thread's record; `lock`: the order of locks;
//! - `heap`, `large`: the operations; [`c`]: what C's ask for beyond them; `misuse`: the messages;
//! - `scavenge`: giving back; `stats`: the balance sheet; `pooled`: what of it idles in pools; `sample`, `checked`:
//!   looking at some objects;
//! - `setup`, `fork`: the process.
//!
//! It is used as the global allocator ([`Alloc`]), and works beside any other: nothing here is reached
//! by a program that does not choose it. The protocols between threads (`remote`, `claim`, `central`) are
//! written against `millpond-prim` and explored by loom.

#[cfg_attr(loom, allow(dead_code, reason = "in a model, the protocol's user is the model"))]
mod claim;
#[cfg_attr(loom, allow(dead_code, reason = "in a model, the protocol's user is the model"))]
mod remote;

#[cfg(not(loom))]
mod alloc;
#[cfg(not(loom))]
pub mod c;
#[cfg(not(loom))]
mod cache;
#[cfg(not(loom))]
mod central;
#[cfg(all(test, loom))]
#[allow(dead_code, reason = "in a model, the protocol's user is the model")]
mod central;
#[cfg(not(loom))]
mod checked;
#[cfg(not(loom))]
mod classes;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod ground;
#[cfg(not(loom))]
pub mod heap;
#[cfg(not(loom))]
mod large;
#[cfg(not(loom))]
mod list;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
mod loose;
#[cfg(not(loom))]
mod misuse;
#[cfg(not(loom))]
mod pages;
#[cfg(not(loom))]
mod pooled;
#[cfg(not(loom))]
mod sample;
#[cfg(not(loom))]
mod scavenge;
#[cfg(not(loom))]
mod setup;
#[cfg(not(loom))]
mod slot;
#[cfg(not(loom))]
mod span;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
mod threads;

#[cfg(not(loom))]
pub use crate::{
    alloc::Alloc,
    pooled::{Pooled, PooledFn, set_pooled},
    sample::{
        FRAMES, Hook, MEAN_BYTES, Sample, mean_bytes as sampling_mean, set_hook,
        set_mean_bytes as set_sampling_mean, unsampled,
    },
    scavenge::{limit, release, set_limit},
    stats::{ClassStats, Stats, check, stats},
};
