//! Profiles in the format of pprof: stacks with values, and what is needed to give addresses their names.
//!
//! A profile is a message of protocol buffers (`profile.proto` of <https://github.com/google/pprof>), packed by gzip:
//!
//! ```text
//!   sample ──► locations ──► mapping (file, build id)      found out by the reader: function, file, line
//!   values        │
//!                 └──────► function (name)                 where we know one
//! ```
//!
//! - [`Profile`] collects: kinds of values, mappings, samples; equal addresses become one location, equal texts one
//!   entry of the table of strings. [`Profile::gzipped`] makes the file.
//! - `message` writes fields of protocol buffers; `gzip` packs; `elf` finds a file's build id and [`maps`] what is
//!   mapped where, which is what readers identify a binary by.
//!
//! It knows nothing of who samples what, and so stands below everybody who does.
//!
//! Rejected: a generator of code from `profile.proto`. The message has six kinds of records, of numbers and of
//! references to strings, and a generator brings a compiler into the build and a run-time library into the program.
#![forbid(unsafe_code)]

mod elf;
mod gzip;
pub mod maps;
mod message;
mod profile;

pub use self::gzip::gzip;
pub use self::profile::{Mapping, Profile};
