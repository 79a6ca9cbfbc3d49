//! Which way of guarding this process uses, and what that way cannot do.
//!
//! Chosen once per pool, by trying: `MADV_GUARD_INSTALL`, else `mprotect`. The environment
//! variable `MILLPOND_GUARD` (`install`, `userfault` or `mprotect`) forces one; a forced way that
//! is not to be had is an error and never a quiet substitute, and there is no way without a
//! guard. Userfaultfd is taken only when forced: its guards let reads pass and do not survive a
//! `fork`.
//!
//! `mprotect` costs two mappings per stack, and the kernel allows a process
//! `vm.max_map_count` of them. When they are gone `mmap` fails everywhere, in the allocator as
//! well, so [`Budget`] stops before the kernel does and leaves the rest of the process a reserve.

use millpond_sys::guard::Guards;
use millpond_sys::mem;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The environment variable that forces a mode.
pub(crate) const VARIABLE: &str = "MILLPOND_GUARD";

/// Mappings left to the rest of the process: its libraries, its heap, its threads.
const RESERVED_MAPPINGS: usize = 2048;

/// Stacks guarded by `mprotect` in this process now, over all pools: the limit is the process's.
static SPLITTING: AtomicUsize = AtomicUsize::new(0);

/// How the lowest page of a stack is made to fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuardMode {
    /// `MADV_GUARD_INSTALL` (Linux 6.13): no mapping is split.
    Install,
    /// Userfaultfd write-protect markers (Linux 6.4, where allowed): only when forced.
    Userfault,
    /// `mprotect`: works everywhere, for as many stacks as `vm.max_map_count` allows.
    Mprotect,
}

impl GuardMode {
    /// The mode that `MILLPOND_GUARD` forces, if it is set and not empty.
    ///
    /// # Errors
    /// `InvalidInput` if it names no mode.
    pub fn from_env() -> io::Result<Option<Self>> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => name.to_string_lossy().parse().map(Some),
            _ => Ok(None),
        }
    }

    /// Name as in `MILLPOND_GUARD`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Userfault => "userfault",
            Self::Mprotect => "mprotect",
        }
    }

    /// One line for the start of a program: the mode, and what it cannot do.
    pub(crate) fn describe(self, budget: &Budget) -> String {
        match self {
            Self::Install => {
                "stack guards: install (MADV_GUARD_INSTALL), no limit on stacks".into()
            }
            Self::Userfault => "stack guards: userfault (write-protect markers): a read below a \
                                stack is not caught, and a forked child has no guards"
                .into(),
            Self::Mprotect => format!(
                "stack guards: mprotect, 2 mappings per stack: at most {} stacks while \
                 vm.max_map_count is {}; {}",
                budget.limit,
                mem::max_map_count(),
                Self::remedy()
            ),
        }
    }

    fn remedy() -> &'static str {
        "for more, raise it with `sysctl -w vm.max_map_count=2100000` (enough for a million) or \
         use Linux 6.13 or later"
    }

    fn open(self) -> io::Result<Guards> {
        match self {
            Self::Install => Guards::install(),
            Self::Userfault => Guards::userfault(),
            Self::Mprotect => Guards::mprotect(),
        }
    }
}

impl fmt::Display for GuardMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for GuardMode {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<Self> {
        [Self::Install, Self::Userfault, Self::Mprotect]
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| {
                let why = format!(
                    "{VARIABLE}={name:?}: expected install, userfault or mprotect (or unset it \
                     to let the kernel decide)"
                );
                io::Error::new(io::ErrorKind::InvalidInput, why)
            })
    }
}

/// Opens the forced mode, or the first that works.
pub(crate) fn choose(forced: Option<GuardMode>) -> io::Result<(GuardMode, Guards)> {
    if let Some(mode) = forced {
        let guards = mode.open().map_err(|error| unavailable(mode, &error))?;
        return Ok((mode, guards));
    }
    if let Ok(guards) = GuardMode::Install.open() {
        return Ok((GuardMode::Install, guards));
    }
    let mode = GuardMode::Mprotect;
    let guards = mode.open().map_err(|error| unavailable(mode, &error))?;
    Ok((mode, guards))
}

fn unavailable(mode: GuardMode, error: &io::Error) -> io::Error {
    let remedy = match mode {
        GuardMode::Install => "needs Linux 6.13; use MILLPOND_GUARD=mprotect",
        GuardMode::Userfault => {
            "needs Linux 6.4 and `sysctl -w vm.unprivileged_userfaultfd=1` or CAP_SYS_PTRACE, and \
             a seccomp profile that lets it pass; use MILLPOND_GUARD=mprotect"
        }
        GuardMode::Mprotect => "raise vm.max_map_count, or look for a sandbox that refuses it",
    };
    let why = format!("stack guards in mode {mode} are not to be had: {error}; {remedy}");
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// How many stacks `mprotect` may guard. Counts for the process, with a limit per pool.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) limit: usize,
}

impl Budget {
    /// The kernel's limit less the reserve, or what a test asked for.
    pub(crate) fn new(asked: Option<usize>) -> Self {
        let limit =
            asked.unwrap_or_else(|| mem::max_map_count().saturating_sub(RESERVED_MAPPINGS) / 2);
        Self { limit }
    }

    /// Pays for `stacks` guards, or says which sysctl to raise.
    pub(crate) fn pay(&self, stacks: usize) -> io::Result<()> {
        let paid = SPLITTING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            Some(now + stacks).filter(|&sum| sum <= self.limit)
        });
        match paid {
            Ok(_) => Ok(()),
            Err(now) => {
                let why = format!(
                    "guard {stacks} more stacks: {now} are guarded by mprotect, 2 mappings each, \
                     of at most {} while vm.max_map_count is {}; {}",
                    self.limit,
                    mem::max_map_count(),
                    GuardMode::remedy()
                );
                Err(io::Error::new(io::ErrorKind::OutOfMemory, why))
            }
        }
    }

    /// The guards are cleared.
    pub(crate) fn refund(&self, stacks: usize) {
        SPLITTING.fetch_sub(stacks, Ordering::Relaxed);
    }
}

/// What `mprotect` said when the kernel's own limit came first.
pub(crate) fn refused(error: &io::Error) -> io::Error {
    let why = format!(
        "guard a chunk of stacks with mprotect: {error}; the process has no mapping left of \
         vm.max_map_count = {}; {}",
        mem::max_map_count(),
        GuardMode::remedy()
    );
    io::Error::new(io::ErrorKind::OutOfMemory, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_known_by_its_name() {
        for mode in [GuardMode::Install, GuardMode::Userfault, GuardMode::Mprotect] {
            assert_eq!(mode.to_string().parse::<GuardMode>().unwrap(), mode);
        }
        let refused = "none".parse::<GuardMode>().unwrap_err();
        assert!(refused.to_string().contains("expected install, userfault or mprotect"));
    }

    #[test]
    fn mprotect_says_at_start_how_far_it_goes() {
        let line = GuardMode::Mprotect.describe(&Budget::new(Some(77)));
        assert!(line.contains("at most 77 stacks") && line.contains("sysctl -w vm.max_map_count"));
    }

    #[test]
    fn a_spent_budget_names_the_sysctl_and_a_refund_ends_it() {
        // A limit that other tests of this process cannot come near, from either side.
        let budget = Budget::new(Some(1 << 40));
        budget.pay((1 << 40) - (1 << 20)).unwrap();
        let refused = budget.pay(1 << 21).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::OutOfMemory);
        assert!(refused.to_string().contains("vm.max_map_count"));
        budget.refund((1 << 40) - (1 << 20));
        budget.pay(1 << 21).unwrap();
        budget.refund(1 << 21);
    }
}
