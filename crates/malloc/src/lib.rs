//! Millpond's allocator as a `malloc`: for programs that nobody here wrote.
//!
//! ```text
//!   LD_PRELOAD=target/malloc/libmillpond_malloc.so redis-server
//!
//!   program, libc, libstdc++ ──► malloc, free, new, delete ─┐   c, cpp, glibc: the names, and what C asks of each
//!                                                           ▼
//!                                       millpond-heap: c, heap   (caches, spans, pages, scavenger)
//! ```
//!
//! A dynamic linker binds every object's `malloc` to the first one that it finds, and a preloaded library comes
//! before the C library: from then on `strdup` and `getline` use this one as well. So all names have to be here that
//! give out a block or take one back, or a block would come back to another heap:
//!
//! - `c`: the functions of the C standards and of POSIX;
//! - `glibc`: what glibc has beyond them, and its own names for the same functions;
//! - `cpp`: `operator new` and `delete` in all forms;
//! - `info`: questions about the heap, in glibc's words;
//! - `start`: what the environment asks for; `signal`: what a signal asks for; `profile`: heap profiles;
//! - `fail`: errors, as C and C++ report them.
//!
//! *When it runs.* The first call comes before any constructor, this library's included, so nothing is prepared:
//! all of the heap's state is constant until the first thread asks for a cache. `start` only adds what is asked for.
//!
//! *What it runs in.* Threads that are about to end, destructors of thread-locals and of keys, a `fork` while others
//! allocate: those are the heap's business (`threads`, `fork`). The record of a thread is reached without a call
//! (`slot`), because the call could come back here.
//!
//! *Re-entry.* `std`, where this library uses it, allocates by `malloc`, which is us: only on roads that hold no lock
//! of the heap (installing a handler for faults, starting a thread, writing a profile).
//!
//! *Panics.* No frame of Rust unwinds into C: `extern "C"` ends the process. What passes through is an exception of
//! C++, thrown by the C++ library for a failed `new` (`fail`), through frames that have nothing to drop.
//!
//! Rejected: an archive to link statically. The names would meet those of the C library in the order of the link, and
//! half of them could win.

mod c;
mod cpp;
mod fail;
mod glibc;
mod info;
mod profile;
mod signal;
mod start;
