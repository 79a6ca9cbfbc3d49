//! The stacks of samples, and what was counted at each: a table of fixed size without locks.
//!
//! It is written to in the middle of allocations and frees, so it neither allocates nor waits: a slot is taken by one
//! compare-and-swap, filled, and then announced. Who meets a slot that is being filled goes on to the next; the same
//! stack may thus have two slots, which a reader of profiles adds up. A `fork` in that moment costs the child the
//! slot.
//!
//! Stacks that find no slot within [`PROBES`] are counted together as [`OTHERS`].
//!
//! A sample stands for `1 / (1 - exp(-bytes / mean))` objects, and is scaled when it is counted: with its own
//! distance, so that a free takes off exactly what the allocation has put on.

use millpond_heap::FRAMES;
use millpond_sys::arena::Arena;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Different stacks.
const SLOTS: usize = 1 << 14;

/// Places that a stack may be at.
const PROBES: usize = 64;

/// The only frame of the stack that stands for those without a slot.
pub const OTHERS: usize = 2;

/// Binary places of a counted object behind the point.
const FRACTION: u32 = 16;

/// States of a slot; all others are the hash of the stack that it holds.
const EMPTY: u64 = 0;
const TAKEN: u64 = 1;

/// One stack. Zeros are an empty slot.
#[repr(C)]
struct Slot {
    /// Atomic: from [`EMPTY`] by [`TAKEN`] to the hash. The frames are written before the hash, and never again.
    hash: AtomicU64,
    /// Frames used.
    depth: AtomicUsize,
    frames: [AtomicUsize; FRAMES],
    /// Atomic: sums, see [`Counts`].
    sums: [AtomicU64; 4],
}

/// All stacks.
pub struct Stacks {
    /// [`SLOTS`] slots, or null. Written once, before anybody counts.
    slots: AtomicPtr<Slot>,
}

/// The stacks of this process.
pub static STACKS: Stacks = Stacks { slots: AtomicPtr::new(std::ptr::null_mut()) };

/// What is added to a stack: objects allocated, bytes allocated, objects freed, bytes freed. Objects have a
/// [`FRACTION`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; 4]);

impl Counts {
    /// An object that was allocated.
    pub fn allocated(bytes: usize, mean_bytes: u64) -> Self {
        let (objects, bytes) = scaled(bytes, mean_bytes);
        Self([objects, bytes, 0, 0])
    }

    /// An object that was freed.
    pub fn freed(bytes: usize, mean_bytes: u64) -> Self {
        let (objects, bytes) = scaled(bytes, mean_bytes);
        Self([0, 0, objects, bytes])
    }

    /// Objects allocated, bytes allocated, objects in use, bytes in use.
    pub fn values(self) -> [i64; 4] {
        let Self([objects, bytes, freed_objects, freed_bytes]) = self;
        let whole = |objects: u64| ((objects + (1 << (FRACTION - 1))) >> FRACTION) as i64;
        // What is freed was allocated before; the sums are read one after the other.
        let in_use = (objects.saturating_sub(freed_objects), bytes.saturating_sub(freed_bytes));
        [whole(objects), bytes as i64, whole(in_use.0), in_use.1 as i64]
    }
}

/// What a sample stands for.
fn scaled(bytes: usize, mean_bytes: u64) -> (u64, u64) {
    // An object without bytes is sampled by the one that follows it.
    let share = -(-(bytes.max(1) as f64) / mean_bytes.max(1) as f64).exp_m1();
    let objects = 1.0 / share;
    ((objects * f64::from(1 << FRACTION)) as u64, (objects * bytes as f64) as u64)
}

impl Stacks {
    /// Makes the table; `false` if there is no memory. Before the first sample.
    pub fn make(&self) -> bool {
        let arena = Arena::reserve(SLOTS * size_of::<Slot>(), 4096, c"millpond heap profile");
        let Some(arena) =
            arena.filter(|arena| arena.open(arena.start()..arena.start() + arena.bytes()))
        else {
            return false;
        };
        self.slots.store(arena.start() as *mut Slot, Ordering::Release);
        true
    }

    fn slots(&self) -> &[Slot] {
        let slots = self.slots.load(Ordering::Acquire);
        if slots.is_null() {
            return &[];
        }
        // SAFETY: memory for so many slots that is never given back; zeros, which are valid, and then whatever the
        // atomic fields were set to.
        unsafe { std::slice::from_raw_parts(slots, SLOTS) }
    }

    /// Adds to what was counted at a stack.
    pub fn count(&self, stack: &[usize], counts: Counts) {
        let slots = self.slots();
        let stack = &stack[..stack.len().min(FRAMES)];
        let slot = find(slots, stack).or_else(|| find(slots, &[OTHERS]));
        if let Some(slot) = slot {
            for (sum, more) in slot.sums.iter().zip(counts.0) {
                if more > 0 {
                    sum.fetch_add(more, Ordering::Relaxed);
                }
            }
        }
    }

    /// How many slots are used.
    pub fn used(&self) -> usize {
        self.slots().iter().filter(|slot| slot.hash.load(Ordering::Relaxed) > TAKEN).count()
    }

    /// Each stack and what was counted there.
    pub fn each(&self, mut f: impl FnMut(&[usize], Counts)) {
        for slot in self.slots().iter().filter(|slot| slot.hash.load(Ordering::Acquire) > TAKEN) {
            let mut counts = Counts::default();
            // Frees first: what is freed meanwhile was allocated before it.
            for place in [3, 2, 1, 0] {
                counts.0[place] = slot.sums[place].load(Ordering::Acquire);
            }
            let frames: [usize; FRAMES] =
                std::array::from_fn(|n| slot.frames[n].load(Ordering::Relaxed));
            f(&frames[..slot.depth.load(Ordering::Relaxed).min(FRAMES)], counts);
        }
    }
}

/// The slot of a stack, taken if need be.
fn find<'a>(slots: &'a [Slot], stack: &[usize]) -> Option<&'a Slot> {
    let hash = hash(stack);
    let probes = PROBES.min(slots.len());
    (0..probes).map(|n| &slots[(hash as usize).wrapping_add(n) % slots.len()]).find(|slot| {
        match slot.hash.compare_exchange(EMPTY, TAKEN, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                slot.frames.iter().zip(stack).for_each(|(frame, &address)| {
                    frame.store(address, Ordering::Relaxed);
                });
                slot.depth.store(stack.len(), Ordering::Relaxed);
                slot.hash.store(hash, Ordering::Release);
                true
            }
            Err(found) => found == hash && slot.holds(stack),
        }
    })
}

impl Slot {
    fn holds(&self, stack: &[usize]) -> bool {
        let same =
            |(frame, address): (&AtomicUsize, &usize)| frame.load(Ordering::Relaxed) == *address;
        self.depth.load(Ordering::Relaxed) == stack.len() && self.frames.iter().zip(stack).all(same)
    }
}

/// No state of a slot.
fn hash(stack: &[usize]) -> u64 {
    // As FNV-1a, a word at a time, and then mixed (Stafford's variant 13 of MurmurHash3's).
    let step = |sum: u64, word: &usize| (sum ^ *word as u64).wrapping_mul(0x0000_0100_0000_01B3);
    let mut sum = stack.iter().fold(0xCBF2_9CE4_8422_2325, step);
    sum = (sum ^ sum >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    sum = (sum ^ sum >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (sum ^ sum >> 31).max(TAKEN + 1)
}
