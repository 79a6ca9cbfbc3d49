//! The goroutine dump.
//!
//! A process may have a million goroutines, and a dump of them is 100 MB of text that nobody reads.
//! So the text is bounded: entries for the first [`GoroutineDump::LIMIT`], oldest first, each stack in full
//! where it comes first; and for all of them a summary by place and reason, which is what one looks for in a leak
//! anyway, or by stack ([`GoroutineDump::by_stack`]).

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
/// thread), with the stacks of those that do not run (feature `frames`). Nothing is stopped: each M's part is
/// consistent, the whole is not. Stacks at rest stay at rest.
///
/// Parks the calling goroutine (blocks a plain thread) while other threads of the scheduler answer, and while names are
/// looked up, which takes tens of milliseconds the first time. About two microseconds for each goroutine; where
/// that is too much, there is [`goroutines_in_brief`].
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
    #[cfg(feature = "frames")]
    let goroutines = millpond_rt::goroutines_with_stacks();
    #[cfg(not(feature = "frames"))]
    let goroutines = millpond_rt::goroutines();
    GoroutineDump { goroutines }
}

/// As [`goroutines`], without stacks: a few hundred nanoseconds for each goroutine, and does not park.
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub use millpond_observe as debug; }
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// assert_eq!(millpond::debug::goroutines_in_brief().len(), 1);
/// # }).unwrap();
/// ```
pub fn goroutines_in_brief() -> GoroutineDump {
    GoroutineDump { goroutines: millpond_rt::goroutines() }
}

impl GoroutineDump {
    /// Entries that the text shows in full.
    pub const LIMIT: usize = 10_000;

    /// Different stacks that [`Self::profile`] shows.
    pub const STACKS: usize = 1000;

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

    /// Goroutines with equal stacks counted as one, as in Go's profile of goroutines: how many, and the oldest of
    /// them; most first. Those whose stacks were not read are told apart by place of start, state and wait reason.
    ///
    /// ```
    /// # mod millpond { pub use millpond_rt::*; pub use millpond_observe as debug; }
    /// # millpond_rt::Builder::new().procs(1).run(|| {
    /// for (count, goroutine) in millpond::debug::goroutines().by_stack() {
    ///     println!("{count} like {goroutine}");
    /// }
    /// # }).unwrap();
    /// ```
    pub fn by_stack(&self) -> Vec<(usize, &Goroutine)> {
        let mut groups: HashMap<_, (usize, &Goroutine)> = HashMap::new();
        for g in &self.goroutines {
            let kind = (g.location, g.status, g.reason);
            let key = trace(g).map_or((None, Some(kind)), |trace| (Some(trace.as_ptr()), None));
            groups.entry(key).or_insert((0, g)).0 += 1;
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|&(count, g)| (std::cmp::Reverse(count), g.id));
        groups
    }

    /// The text of Go's `debug=1`: each stack once, with how many goroutines have it. At most
    /// [`Self::STACKS`] of them.
    pub fn profile(&self) -> GoroutineProfile<'_> {
        GoroutineProfile(self)
    }
}

/// What was read of a stack: the same slice for goroutines that have equal ones.
#[cfg(feature = "frames")]
fn trace(g: &Goroutine) -> Option<&[millpond_rt::Frame]> {
    g.backtrace.trace().map(|trace| &trace.frames[..])
}

#[cfg(not(feature = "frames"))]
fn trace(_: &Goroutine) -> Option<&[()]> {
    None
}

/// See [`GoroutineDump::profile`].
#[derive(Debug)]
pub struct GoroutineProfile<'a>(&'a GoroutineDump);

impl fmt::Display for GoroutineProfile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.0.by_stack();
        writeln!(f, "goroutine profile: total {}", self.0.len())?;
        for (count, g) in groups.iter().take(GoroutineDump::STACKS) {
            writeln!(f, "\n{count} @ {}", state(g))?;
            for frame in trace(g).into_iter().flatten() {
                #[cfg(feature = "frames")]
                match &frame.place {
                    Some((file, line)) => writeln!(f, "#\t{}\t{file}:{line}", frame.function)?,
                    None => writeln!(f, "#\t{}", frame.function)?,
                }
                #[cfg(not(feature = "frames"))]
                let () = frame;
            }
            writeln!(f, "#\tcreated at {}", g.location)?;
        }
        match groups.len().checked_sub(GoroutineDump::STACKS + 1) {
            Some(more) => writeln!(f, "\n... and {} rarer ones, not shown", more + 1),
            None => Ok(()),
        }
    }
}

fn state(g: &Goroutine) -> String {
    match g.status {
        Status::Waiting => g.reason.to_string(),
        status => format!("{status:?}").to_lowercase(),
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
        let mut shown = HashMap::new();
        for goroutine in self.goroutines.iter().take(Self::LIMIT) {
            let first =
                trace(goroutine).map(|trace| *shown.entry(trace.as_ptr()).or_insert(goroutine.id));
            match first.filter(|&first| first != goroutine.id) {
                Some(first) => writeln!(f, "\n{}", goroutine.like(first))?,
                None => writeln!(f, "\n{goroutine}")?,
            }
        }
        if self.len() > Self::LIMIT {
            writeln!(f, "\n... and {} younger ones, not shown", self.len() - Self::LIMIT)?;
        }
        Ok(())
    }
}
