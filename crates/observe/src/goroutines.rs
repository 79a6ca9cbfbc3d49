//! The goroutine dump.
//!
//! A process may have a million goroutines, and a dump of them is 100 MB of text that nobody reads.
//! So the text is bounded: full entries for the first [`GoroutineDump::LIMIT`], oldest first, and
//! for all of them a summary by place and reason, which is what one looks for in a leak anyway.

use millpond_rt::{Goroutine, Status, wait::WaitReason};
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;

/// A picture of the goroutines of a runtime. `Display` gives the text of Go's `debug=2`.
#[derive(Debug, Clone)]
pub struct GoroutineDump {
    goroutines: Vec<Goroutine>,
}

/// Takes a picture of the started goroutines of the caller's runtime (or the process's, on a plain
/// thread). Nothing is stopped: each M's part is consistent, the whole is not. About a microsecond
/// for each goroutine.
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub use millpond_observe as debug; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let dump = millpond::debug::goroutines();
/// assert!(dump.to_string().contains("goroutine"));
/// assert_eq!(dump.iter().filter(|g| g.name.as_deref() == Some("main")).count(), 1);
/// # }).unwrap();
/// ```
pub fn goroutines() -> GoroutineDump {
    GoroutineDump { goroutines: millpond_rt::goroutines() }
}

impl GoroutineDump {
    /// Entries that the text shows in full.
    pub const LIMIT: usize = 10_000;

    /// How many there are.
    pub fn len(&self) -> usize {
        self.goroutines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.goroutines.is_empty()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Goroutine> {
        self.goroutines.iter()
    }

    /// How many there are of each kind: place of start, state, wait reason; most first.
    pub fn summary(&self) -> Vec<(usize, &'static Location<'static>, Status, WaitReason)> {
        let mut counts: HashMap<_, usize> = HashMap::new();
        for g in &self.goroutines {
            *counts.entry((g.location, g.status, g.reason)).or_default() += 1;
        }
        let mut rows: Vec<_> =
            counts.into_iter().map(|((at, status, why), count)| (count, at, status, why)).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.0), row.1.to_string()));
        rows
    }
}

impl<'a> IntoIterator for &'a GoroutineDump {
    type Item = &'a Goroutine;
    type IntoIter = std::slice::Iter<'a, Goroutine>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for GoroutineDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} goroutines", self.len())?;
        for (count, location, status, reason) in self.summary().into_iter().take(50) {
            match status {
                Status::Waiting => writeln!(f, "{count:>8}  {reason:<20} {location}")?,
                _ => writeln!(f, "{count:>8}  {:<20} {location}", format!("{status:?}"))?,
            }
        }
        for goroutine in self.goroutines.iter().take(Self::LIMIT) {
            writeln!(f, "\n{goroutine}")?;
        }
        if self.len() > Self::LIMIT {
            writeln!(f, "\n... and {} younger ones, not shown", self.len() - Self::LIMIT)?;
        }
        Ok(())
    }
}
