//! Sampling: one allocation in so many bytes, told to a hook with its stack.
//!
//! Each thread counts the bytes that it allocates down to its next sample ([`Local::countdown`]); the
//! distance is drawn from an exponential distribution, so that every *byte* is equally likely to be
//! sampled (a Poisson process) and a profile can be scaled up without bias. An object that is sampled
//! gets pages of its own, and so costs the others nothing when it is freed: its free is on the slow
//! road anyway. Its stack is kept behind it:
//!
//! ```text
//!   │ the object │ padding │ Trace: bytes, frames │      at the end of the object's pages
//! ```
//!
//! The hook runs outside of turns and locks, and may allocate: what it allocates is not sampled.
//! Without a hook nothing is sampled, and each thread looks again after 64 MiB.
//!
//! Rejected: a table of sampled objects, which would have to be looked into at every free.

use crate::large;
use crate::misuse;
use crate::pages;
use crate::span::{Span, State};
use crate::threads::{LOCAL, Local};
use millpond_sys::{hooks, unwind};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Frames of a stack that are kept.
pub const FRAMES: usize = 32;

/// Bytes between two samples, unless somebody says otherwise.
pub const MEAN_BYTES: u64 = 512 << 10;

/// Bytes after which a thread looks again whether there is a hook.
const LOOK_AGAIN: i64 = 64 << 20;

/// Mean of the distance; 0 is off.
static MEAN: AtomicU64 = AtomicU64::new(MEAN_BYTES);

/// The hook, or null.
static HOOK: AtomicPtr<Hook> = AtomicPtr::new(std::ptr::null_mut());

/// A sampled object.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Its address, while it lives its name.
    pub address: usize,
    /// Bytes that were asked for.
    pub bytes: usize,
    /// Mean bytes between samples when it was taken: an object of `bytes` stands for
    /// `1 / (1 - exp(-bytes / mean))` objects.
    pub mean_bytes: u64,
    /// Return addresses of the allocation, innermost first.
    pub stack: &'a [usize],
}

/// Who is told. Both are called in the middle of the allocation or free that they are about, with whatever
/// locks its caller holds: they must not wait for one of those, nor park. A panic in them ends the process.
#[derive(Debug)]
pub struct Hook {
    /// An object was allocated.
    pub allocated: fn(&Sample<'_>),
    /// A sampled object is about to be freed.
    pub freed: fn(&Sample<'_>),
}

/// Behind a sampled object.
#[derive(Debug)]
#[repr(C)]
struct Trace {
    bytes: usize,
    mean_bytes: u64,
    depth: usize,
    frames: [usize; FRAMES],
}

/// Sets who is told of samples; `None`: nothing is sampled. Objects
/// that were sampled before are told of when they are freed. The calling thread follows at once.
///
/// ```
/// use millpond_heap::{Hook, Sample, set_hook};
///
/// fn allocated(sample: &Sample<'_>) {
///     println!("{} B at {:?}", sample.bytes, sample.stack.first());
/// }
/// fn freed(_: &Sample<'_>) {}
///
/// static HOOK: Hook = Hook { allocated, freed };
/// set_hook(Some(&HOOK));
/// ```
pub fn set_hook(hook: Option<&'static Hook>) {
    let hook = hook.map_or(std::ptr::null_mut(), |hook| std::ptr::from_ref(hook).cast_mut());
    HOOK.store(hook, Ordering::Release);
    // It may have looked for a hook a moment ago, and be far from looking again.
    LOCAL.with(|local| local.countdown.set(0));
}

/// Sets the mean distance of samples; 0 is off. A thread follows at its next sample.
pub fn set_mean_bytes(bytes: u64) {
    MEAN.store(bytes.min(i64::MAX as u64 / 64), Ordering::Relaxed);
}

/// The mean distance of samples.
pub fn mean_bytes() -> u64 {
    MEAN.load(Ordering::Relaxed)
}

/// Does something of which no sample is taken on this thread, such as writing a profile. Frees of samples
/// are not told of meanwhile.
///
/// ```
/// let text = millpond_heap::unsampled(|| "a profile".to_owned());
/// # drop(text);
/// ```
pub fn unsampled<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            LOCAL.with(|local| local.in_hook.set(self.0));
        }
    }
    let _restore = Restore(LOCAL.with(|local| local.in_hook.replace(true)));
    f()
}

fn hook() -> Option<&'static Hook> {
    // SAFETY: null or a hook that lives for ever.
    unsafe { HOOK.load(Ordering::Acquire).as_ref() }
}

/// A thread's random number.
pub fn random(local: &Local) -> u64 {
    // xorshift64* (Marsaglia 2003, Vigna 2014).
    let mut x = local.random.get();
    if x == 0 {
        x = hooks::seed() | 1;
    }
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    local.random.set(x);
    x.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

/// Bytes to the next sample: exponentially distributed.
fn distance(local: &Local, mean: u64) -> i64 {
    let unit = ((random(local) >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    (-unit.ln() * mean as f64) as i64
}

/// The countdown has ended: sets it anew, and allocates a sampled object if there is a hook. `None`: the
/// caller goes on as if nothing had been.
#[cold]
pub fn due(local: &Local, bytes: usize, align: usize) -> Option<*mut u8> {
    let mean = mean_bytes();
    let hook = hook().filter(|_| mean > 0);
    let is_first = local.random.get() == 0;
    let Some(hook) = hook else {
        local.countdown.set(LOOK_AGAIN);
        return None;
    };
    local.countdown.set(distance(local, mean));
    // The countdown of a thread that has just begun ends at once; that is not a sample.
    if is_first || local.in_hook.get() {
        return None;
    }
    let total = bytes.checked_next_multiple_of(8)?.checked_add(size_of::<Trace>())?;
    let (span, _) = pages::with(|pages| pages.whole(total, align, State::Sampled))?;
    let address = span.start.get();
    let mut trace = Trace { bytes, mean_bytes: mean, depth: 0, frames: [0; FRAMES] };
    local.in_hook.set(true);
    trace.depth = unwind::frames(&mut trace.frames, 2);
    // SAFETY: the span has room for both, and is nobody's yet.
    unsafe { trace_of(span).write(trace) };
    tell(span, address, hook.allocated);
    local.in_hook.set(false);
    Some(address as *mut u8)
}

fn trace_of(span: &Span) -> *mut Trace {
    (span.start.get() + span.bytes.get() - size_of::<Trace>()) as *mut Trace
}

fn tell(span: &Span, address: usize, to: fn(&Sample<'_>)) {
    // SAFETY: written when the object was made; an overflow of the object may have changed it, to
    // which every value of the fields is valid.
    let trace = unsafe { &*trace_of(span) };
    let stack = &trace.frames[..trace.depth.min(FRAMES)];
    let bomb = Unwound(address);
    to(&Sample { address, bytes: trace.bytes, mean_bytes: trace.mean_bytes, stack });
    std::mem::forget(bomb);
}

/// Dropped when a hook unwinds. Nothing may unwind out of an allocator: callers are compiled as if it could not.
struct Unwound(usize);

impl Drop for Unwound {
    fn drop(&mut self) {
        misuse::hook_panicked(self.0);
    }
}

/// Frees a sampled object.
pub fn free(local: &Local, span: &'static Span, address: usize) {
    if span.start.get() != address {
        misuse::not_a_block("free", address);
    }
    if let Some(hook) = hook()
        && !local.in_hook.replace(true)
    {
        tell(span, address, hook.freed);
        local.in_hook.set(false);
    }
    large::free(span, address);
}

/// Bytes that a sampled object has.
pub fn size(span: &Span) -> usize {
    span.bytes.get() - size_of::<Trace>()
}
