//! What is known of goroutines by the place that started them.
//!
//! Two things that are true of places rather than of single goroutines: how much of their stacks is
//! live while they wait, which is the figure by which to choose a stack size; and whether other
//! threads use these stacks meanwhile. The first such use ends rest for what that place starts: each
//! further one would fault again.
//!
//! A record is made when a goroutine of the place is looked at first, and lives as long as the process, as
//! the place does: the handler of a fault counts in it. Looked up once per goroutine that is put to rest,
//! with the last one remembered per M.

use super::RestLocal;
use millpond_prim::sync::Lock;
use millpond_stack::Origin;
use std::collections::HashMap;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Sizes that are told apart: up to 64 bytes, up to 128, and so on, to 64 KiB and more.
const SIZES: usize = 11;

/// One place.
pub(super) struct Site {
    pub(super) location: &'static Location<'static>,
    /// What its stacks have in common, and how often other threads have touched them.
    pub(super) origin: Origin,
    said: AtomicBool,
    /// Goroutines by live bytes at the time at which they were looked at. Atomic, statistics only.
    sizes: [AtomicU64; SIZES],
}

type Key = (&'static str, u32, u32);

/// All of them. A leaf lock.
static SITES: Lock<Option<HashMap<Key, &'static Site>>> = Lock::new(None);

fn key(location: &'static Location<'static>) -> Key {
    (location.file(), location.line(), location.column())
}

/// The record of a place.
pub(super) fn of(location: &'static Location<'static>, local: &RestLocal) -> &'static Site {
    if let Some(site) = local.site.get().filter(|site| std::ptr::eq(site.location, location)) {
        return site;
    }
    let mut sites = SITES.lock();
    let site = *sites.get_or_insert_default().entry(key(location)).or_insert_with(|| {
        Box::leak(Box::new(Site {
            location,
            origin: Origin::new(),
            said: AtomicBool::new(false),
            sizes: [const { AtomicU64::new(0) }; SIZES],
        }))
    });
    drop(sites);
    local.site.set(Some(site));
    site
}

impl Site {
    pub(super) fn note_live(&self, bytes: usize) {
        let size = bytes.div_ceil(64).next_power_of_two().trailing_zeros() as usize;
        self.sizes[size.min(SIZES - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether other threads use stacks that were started here. Said when it is found first.
    pub(super) fn is_touched(&self) -> bool {
        let touched = self.origin.touched() > 0;
        if touched && !self.said.swap(true, Ordering::Relaxed) {
            crate::say::line(format_args!(
                "another thread used the stack of a parked goroutine that was started at {}: what is \
                 started there keeps its stacks from now on (Builder::restable(false) says so at once)",
                self.location
            ));
        }
        touched
    }
}

/// One place that starts goroutines, and what their stacks looked like while they were parked for long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestSite {
    /// Where they were started.
    pub location: &'static Location<'static>,
    /// Goroutines by live bytes on their stacks, each counted when it was put to rest: `(most bytes,
    /// how many)`, smallest first, empty ones left out. The last has no upper end.
    pub live_bytes: Vec<(usize, u64)>,
    /// Times that another thread touched a stack of these at rest. After the first, none of them
    /// rests.
    pub foreign_wakes: u32,
}

/// All places of which goroutines were parked for long, by how many.
///
/// ```
/// # mod millpond { pub mod debug { pub use millpond_rt::rest_sites; } }
/// for site in millpond::debug::rest_sites() {
///     println!("{}: {:?}", site.location, site.live_bytes);
/// }
/// ```
pub fn rest_sites() -> Vec<RestSite> {
    let sites: Vec<_> = SITES.lock().iter().flat_map(|sites| sites.values().copied()).collect();
    let picture = |site: &Site| {
        let counts = site.sizes.iter().map(|count| count.load(Ordering::Relaxed));
        RestSite {
            location: site.location,
            live_bytes: counts.enumerate().map(|(size, count)| (64 << size, count)).collect(),
            foreign_wakes: site.origin.touched(),
        }
    };
    let mut all: Vec<RestSite> = sites.into_iter().map(picture).collect();
    all.sort_by_key(|site| {
        let parked: u64 = site.live_bytes.iter().map(|&(_, count)| count).sum();
        (std::cmp::Reverse(parked), key(site.location))
    });
    all.iter_mut().for_each(|site| site.live_bytes.retain(|&(_, count)| count > 0));
    all
}
