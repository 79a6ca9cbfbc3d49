//! Stacks at rest: the live bytes in a small block, the pages with the kernel, the addresses in place.
//!
//! A parked goroutine uses some hundred bytes of a page of 4 KiB. Put to rest, it costs what these bytes
//! say ([`pack`]); woken, it finds them at the addresses where they were. Safe code can let another
//! thread hold a reference into a parked stack (`std::thread::scope` in a goroutine that then
//! parks). Such a thread faults, and the handler of the fault ([`on_fault`]) puts the stack back: it never
//! reads zeros that were not there, and no write of it is lost.
//!
//! ```text
//! Pool::rest ─▶ engine   a batch of parked stacks, in runs of neighbours     block ─▶ pack
//!                 │      the owner's thread only                             the copy
//! Pool::wake ─▶ wake ◀── on_fault   any thread
//!                 │
//!               word     who may touch what: one word per stack, one per chunk
//!               table    the words of a region
//! ```
//!
//! Which road there is, is found when the pool is made ([`millpond_sys::rest`]): copying by
//! userfaultfd over guard markers; else closing, with `/proc/self/mem`; else none, and
//! [`Pool::describe_rest`] says why. `MILLPOND_REST` forces one (`copy`, `closed`, `off`).
//!
//! What a thread meets that touches a resting stack without a fault of its own: a system call that is
//! given an address in it fails with `EFAULT`. A debugger and `process_vm_readv` read an error or zeros.

mod block;
mod engine;
mod pack;
mod shape;
mod stats;
mod table;
mod word;

pub(crate) use engine::Engine;
pub use engine::Parked;
pub use shape::Origin;
pub use stats::{RestStats, RestTimes};
pub(crate) use table::Table;

use crate::class::GUARD_BYTES;
use crate::guard::GuardMode;
use crate::pool::Pool;
use crate::region::Region;
use block::Block;
use millpond_sys::rest::{Marks, PAGE_BYTES, Road, discard};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::str::FromStr;
use word::Woke;

/// The environment variable that forces a mode.
const VARIABLE: &str = "MILLPOND_REST";

/// A way in which stacks rest, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestMode {
    /// No stack ever rests.
    Off,
    /// `UFFDIO_COPY`: needs userfaultfd and `install` guards.
    Copy,
    /// `/proc/self/mem`: works with `install` and with `mprotect` guards.
    Closed,
}

impl RestMode {
    /// The mode that `MILLPOND_REST` forces, if it is set and not empty.
    ///
    /// # Errors
    /// `InvalidInput` if it names no mode.
    pub fn from_env() -> io::Result<Option<Self>> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => name.to_string_lossy().parse().map(Some),
            _ => Ok(None),
        }
    }

    /// Name as in `MILLPOND_REST`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Copy => "copy",
            Self::Closed => "closed",
        }
    }

    fn open(self, guard: GuardMode) -> io::Result<Road> {
        let marks = match guard {
            GuardMode::Install => Marks::Guards,
            GuardMode::Mprotect => Marks::Closed,
            GuardMode::Userfault => {
                let why = "the guards of mode userfault do not survive it";
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        };
        match (self, marks) {
            (Self::Copy, Marks::Guards) => Road::copying(),
            (Self::Copy, Marks::Closed) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "it needs guards of mode install"))
            }
            _ => Road::closing(marks),
        }
    }
}

impl fmt::Display for RestMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RestMode {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<Self> {
        let known = [Self::Off, Self::Copy, Self::Closed].into_iter();
        known.into_iter().find(|mode| mode.name() == name).ok_or_else(|| {
            let why = format!(
                "{VARIABLE}={name:?}: expected off, copy or closed (or unset it to let the kernel \
                 decide)"
            );
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })
    }
}

/// The forced mode, or the first that works; the inner error says why there is none.
///
/// # Errors
/// `Unsupported` if a forced mode is not to be had.
pub(crate) fn choose(
    forced: Option<RestMode>,
    guard: GuardMode,
) -> io::Result<Result<&'static Engine, String>> {
    let leak = |road| &*Box::leak(Box::new(Engine::new(road)));
    if cfg!(feature = "sanitizer") && forced.is_none() {
        return Ok(Err("AddressSanitizer keeps its own account of stacks".into()));
    }
    match forced {
        Some(RestMode::Off) => Ok(Err(format!("{VARIABLE}=off"))),
        Some(mode) => mode.open(guard).map(|road| Ok(leak(road))).map_err(|error| {
            let why = format!(
                "{VARIABLE}={mode} is not to be had with guards of mode {guard}: {error}; use \
                 {VARIABLE}=closed or off"
            );
            io::Error::new(io::ErrorKind::Unsupported, why)
        }),
        None => {
            let road = RestMode::Copy.open(guard).or_else(|_| RestMode::Closed.open(guard));
            Ok(road.map(leak).map_err(|error| error.to_string()))
        }
    }
}

impl Pool {
    /// Whether stacks of this pool can rest.
    pub fn can_rest(&self) -> bool {
        self.rest.is_ok()
    }

    /// One line for the start of a program: how stacks rest, or why they do not.
    pub fn describe_rest(&self) -> String {
        match &self.rest {
            Ok(engine) => format!("stacks at rest: {}", engine.road().name()),
            Err(why) => format!("stacks at rest: off: {why}"),
        }
    }

    /// Puts suspended stacks to rest; `copy_bytes` of each says whether it is. The slice is sorted by
    /// address on the way.
    ///
    /// Costs about a microsecond for each stack when they are neighbours.
    ///
    /// # Safety
    /// Each `sp` is the saved stack pointer of a suspended coroutine on a stack of this pool, below
    /// which nothing is live. The caller is the only one who ever resumes it, and calls [`Self::wake`]
    /// before.
    pub unsafe fn rest(&self, stacks: &mut [Parked]) {
        match &self.rest {
            // SAFETY: the caller's promise.
            Ok(engine) => unsafe { engine.rest(stacks) },
            Err(_) => stacks.iter_mut().for_each(|parked| parked.copy_bytes = 0),
        }
    }

    /// Puts the stack around `sp` back, if it is at rest, and frees the copy. `true` if another
    /// thread had put it back before.
    ///
    /// # Safety
    /// The caller is the one who has put it to rest, and about to resume it.
    pub unsafe fn wake(&self, sp: usize) -> bool {
        let woke = engine::wake(sp, false);
        let Some((region, slot, ..)) = Region::find(sp) else { return false };
        if let Some(table) = region.table()
            && let Some(address) = table.slot(slot).take()
        {
            // SAFETY: taken: no word holds the address any more, and the copy is the owner's.
            let block = unsafe { Block::at(address) };
            table.engine.counters.freed(block);
            // SAFETY: as above.
            unsafe { block.free() };
        }
        woke == Some(Woke::Others)
    }

    /// Gives the pages below `sp` back, which stays warm: of a deep stack that has become shallow.
    /// Returns the bytes of addresses that were given back, touched or not.
    ///
    /// # Safety
    /// As [`Self::rest`].
    pub unsafe fn shrink(&self, sp: usize) -> usize {
        let (Ok(engine), Some((_, _, limit, _))) = (&self.rest, Region::find(sp)) else { return 0 };
        let dead = limit + GUARD_BYTES..sp & !(PAGE_BYTES - 1);
        // SAFETY: what is below the stack pointer is dead, and the caller's promise says whose it is.
        if dead.is_empty() || unsafe { discard(dead.clone()) }.is_err() {
            return 0;
        }
        engine.counters.shrunk(dead.len());
        dead.len()
    }

    /// Reads words of a suspended stack, from `at` upwards, for whoever wants to know what is on it: from the
    /// stack, or from its copy if it is at rest, which it stays. At most `most` are appended to `words`, and none
    /// if `at` lies in no stack, or below what is live on one at rest.
    ///
    /// Any thread may do this. What other threads write to the stack meanwhile may be missing.
    ///
    /// # Safety
    /// The stack belongs to a suspended coroutine, which is neither resumed nor [put to rest](Self::rest) nor
    /// [woken](Self::wake) by its owner meanwhile. (Others may touch it, and so put it back.)
    pub unsafe fn read(&self, at: usize, most: usize, words: &mut Vec<u64>) {
        let at = at.next_multiple_of(8);
        let Some((region, slot, limit, base)) = Region::find(at) else { return };
        if !(limit + GUARD_BYTES..base).contains(&at) {
            return;
        }
        let end = base.min(at.saturating_add(most.saturating_mul(8)));
        let away = region.table().map(|table| table.slot(slot).block()).filter(|&copy| copy != 0);
        let Some(address) = away else {
            // SAFETY: above the guard, and its pages do not go away meanwhile, as the caller promises.
            return words.extend(unsafe { block::words(at, end) });
        };
        // SAFETY: the word holds it, and its owner, who alone frees it, does not take it meanwhile.
        let copy = unsafe { Block::at(address) };
        if let Some(below) = at.checked_sub(base - copy.live_bytes()) {
            words.extend(copy.unpack(base, &mut [0; 32]).skip(below / 8).take((end - at) / 8));
        }
    }

    /// What rest has done in this pool.
    pub fn rest_stats(&self) -> RestStats {
        self.rest.as_ref().map(|engine| engine.counters.read()).unwrap_or_default()
    }
}

thread_local! {
    /// Faults in a row on a stack that was not away: the address, how many, and what was the number
    /// of batches then.
    static VAIN: Cell<(usize, u32, u64)> = const { Cell::new((0, 0, 0)) };
}

/// How often the same address may fault in a row, with nothing put to rest meanwhile, before it is
/// somebody else's fault. Once is usual: another thread has put the stack back before the handler ran.
const VAIN_FAULTS: u32 = 100;

/// For the handler of a fault: puts the stack that `addr` lies in back if it is away, or waits for
/// whom does that. `true`: try the instruction again. `false`: it is no stack that could be away.
///
/// Async-signal-safe.
pub fn on_fault(addr: usize) -> bool {
    let Some((region, _, limit, _)) = Region::find(addr) else { return false };
    let Some(table) = region.table().filter(|_| addr - limit >= GUARD_BYTES) else { return false };
    if engine::wake(addr, true) == Some(Woke::Ours) {
        return true;
    }
    let batches = table.engine.counters.batches();
    let (last, count, then) = VAIN.get();
    let count = if last == addr && then == batches { count + 1 } else { 0 };
    VAIN.set((addr, count, batches));
    count < VAIN_FAULTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_known_by_its_name() {
        for mode in [RestMode::Off, RestMode::Copy, RestMode::Closed] {
            assert_eq!(mode.to_string().parse::<RestMode>().unwrap(), mode);
        }
        let refused = "on".parse::<RestMode>().unwrap_err();
        assert!(refused.to_string().contains("expected off, copy or closed"));
    }

    #[test]
    fn where_stacks_cannot_rest_it_is_said_why() {
        let off = choose(Some(RestMode::Off), GuardMode::Install).unwrap().unwrap_err();
        assert!(off.contains("MILLPOND_REST=off"));
        let refused = choose(Some(RestMode::Copy), GuardMode::Mprotect).unwrap_err();
        assert!(refused.to_string().contains("guards of mode install"));
    }
}
