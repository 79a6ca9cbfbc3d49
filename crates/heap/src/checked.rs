//! The checked mode: some objects on guarded pages, and every freed block filled. Off by default.
//!
//! `MILLPOND_HEAP_CHECK=1000` puts one allocation in 1000 (of at most a page) on a page of its own,
//! with pages around it that fault at every access:
//!
//! ```text
//!   ░░░░░░░░│          object│░░░░░░░░│object          │░░░░░░░░      ░ faults
//!            an overflow faults        an underflow faults
//! ```
//!
//! Objects stand at the end of their page and at its start in turns; what an access beside them does to
//! the rest of the page is found when they are freed. When one is freed its page faults
//! too, until 1024 others have been used. A fault is reported with the object, what was wrong, and the
//! stacks of its allocation and free (addresses: `addr2line` names them), and ends the process. All
//! other blocks are filled with [`FILL`] when they are freed, so that use after free shows as a pattern
//! and not as what was there. `1` guards every allocation, as long as there are pages.
//!
//! The mode costs: no operation takes the fast path, since no span says that it may. That is the whole
//! switch, and why the fast path does not ask for it. (Guarded pages are an idea of Electric Fence;
//! sampling them for production is GWP-ASan's.)
//!
//! All slots are protected by one lock, the innermost. The fault handler reads without it: it looks at
//! one slot, of a process that is about to end.

use crate::lock::{Lock, Rank};
use crate::pages;
use crate::sample::random;
use crate::threads::Local;
use millpond_sys::arena::{self, Arena};
use millpond_sys::fault::{self, Fault};
use millpond_sys::report::Report;
use millpond_sys::{task, unwind};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// What freed blocks are filled with.
pub const FILL: u8 = 0xDF;

/// Guarded objects at once, the freed ones that still fault included.
const SLOTS: usize = 1024;

/// Bytes of a slot, without its guard.
const SLOT: usize = 4096;

/// Frames of a stack that are kept.
const FRAMES: usize = 24;

/// What `MILLPOND_HEAP_CHECK=on` means.
const DEFAULT_RATE: u64 = 1000;

static ON: AtomicBool = AtomicBool::new(false);
static RATE: AtomicU64 = AtomicU64::new(0);
/// First address of the slots; 0 if there are none.
static START: AtomicUsize = AtomicUsize::new(0);
/// [`SLOTS`] records.
static RECORDS: AtomicPtr<Record> = AtomicPtr::new(std::ptr::null_mut());

/// A stack, and whose.
#[derive(Clone, Copy, Debug)]
struct Trace {
    thread: i32,
    depth: usize,
    frames: [usize; FRAMES],
}

/// One slot. Protected by [`QUEUE`].
#[derive(Clone, Copy, Debug)]
struct Record {
    address: usize,
    bytes: usize,
    state: Use,
    allocated: Trace,
    freed: Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Never,
    Live,
    Freed,
}

/// Slots that are free, longest first: a ring.
#[derive(Debug)]
struct Queue {
    slots: [u16; SLOTS],
    first: usize,
    count: usize,
    turn: usize,
}

static QUEUE: Lock<Queue> =
    Lock::new(Rank::Guarded, Queue { slots: [0; SLOTS], first: 0, count: 0, turn: 0 });

/// Whether the mode is on. Decided before the first thread has a cache.
#[inline(always)]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// The value of `MILLPOND_HEAP_CHECK`: one allocation in how many, or `on`.
pub fn parse(text: &[u8]) -> Option<u64> {
    match text.trim_ascii() {
        b"on" => Some(DEFAULT_RATE),
        number => std::str::from_utf8(number).ok()?.parse().ok().filter(|&rate| rate > 0),
    }
}

/// Turns the mode on, if there is a rate. Called once, before any thread has a cache.
pub fn set_up(rate: Option<u64>) {
    let Some(rate) = rate else { return };
    ON.store(true, Ordering::Relaxed);
    RATE.store(rate, Ordering::Relaxed);
    let bytes = SLOTS * 2 * SLOT + SLOT;
    let Some(arena) = Arena::reserve(bytes, SLOT, c"millpond guarded") else { return };
    let range = arena.start()..arena.start() + bytes;
    let records = pages::with(|pages| pages.record(SLOTS * size_of::<Record>()));
    // SAFETY: the range is ours, and nobody uses it yet.
    let (Some(records), true) = (records, unsafe { arena::protect(range, false) }) else { return };
    let none = Trace { thread: 0, depth: 0, frames: [0; FRAMES] };
    let record = Record { address: 0, bytes: 0, state: Use::Never, allocated: none, freed: none };
    let records = records.cast::<Record>();
    let mut queue = QUEUE.lock();
    for slot in 0..SLOTS {
        // SAFETY: fresh memory for that many records.
        unsafe { records.add(slot).write(record) };
        queue.slots[slot] = slot as u16;
    }
    queue.count = SLOTS;
    RECORDS.store(records, Ordering::Release);
    START.store(arena.start(), Ordering::Release);
}

/// Sets the handler for faults. Not before `std` has set its own, which it does at its start if it
/// finds none (and allocates between looking and setting): ours would be replaced. Where nobody sets
/// one, after a while.
fn watch_faults() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    const WATCHING: usize = usize::MAX / 2;
    let tries = TRIES.load(Ordering::Relaxed);
    if tries >= WATCHING {
        return;
    }
    if !fault::is_handled() && tries < SLOTS / 16 {
        TRIES.store(tries + 1, Ordering::Relaxed);
        return;
    }
    TRIES.store(WATCHING, Ordering::Relaxed);
    // Without the handler a fault still ends the process; only nobody says why. Installing it
    // allocates, which is not guarded: `in_hook` is set.
    if fault::watch(report_fault).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        TRIES.store(tries, Ordering::Relaxed);
    }
}

/// Sets the handler at once, for a program in which `std` sets none.
pub fn watch_now() {
    if is_on() {
        // As in `watch_faults`: whoever installs a handler at this moment does it for us as well.
        let _ = fault::watch(report_fault);
    }
}

/// The slot whose page, or the guard before it, has an address.
fn slot_of(address: usize) -> Option<usize> {
    let start = START.load(Ordering::Acquire);
    let slot = address.wrapping_sub(start) / (2 * SLOT);
    (start != 0 && address >= start && slot <= SLOTS).then_some(slot)
}

fn page_of(slot: usize) -> usize {
    START.load(Ordering::Acquire) + slot * 2 * SLOT + SLOT
}

fn record(slot: usize) -> Option<&'static mut Record> {
    let records = RECORDS.load(Ordering::Acquire);
    // SAFETY: records live for ever; the queue's lock, or the end of the process, makes this the only
    // use.
    (!records.is_null() && slot < SLOTS).then(|| unsafe { &mut *records.add(slot) })
}

#[inline(never)]
fn trace() -> Trace {
    let mut trace = Trace { thread: task::thread_id(), depth: 0, frames: [0; FRAMES] };
    trace.depth = unwind::frames(&mut trace.frames, 1);
    trace
}

/// A guarded object, if this allocation is one of those that get one.
#[cold]
pub fn take(local: &Local, bytes: usize, align: usize) -> Option<*mut u8> {
    let rate = RATE.load(Ordering::Relaxed);
    if bytes > SLOT || align > SLOT || START.load(Ordering::Acquire) == 0 || local.in_hook.get() {
        return None;
    }
    if !random(local).is_multiple_of(rate) {
        return None;
    }
    local.in_hook.set(true);
    watch_faults();
    let allocated = trace();
    local.in_hook.set(false);
    let mut queue = QUEUE.lock();
    if queue.count == 0 {
        return None;
    }
    let slot = queue.slots[queue.first] as usize;
    let page = page_of(slot);
    // SAFETY: the slot is in the queue: nobody uses its page.
    if !unsafe { arena::protect(page..page + SLOT, true) } {
        return None;
    }
    queue.first = (queue.first + 1) % SLOTS;
    queue.count -= 1;
    queue.turn += 1;
    let at_end = queue.turn.is_multiple_of(2);
    let address = if at_end { (page + SLOT - bytes.max(1)) & !(align - 1) } else { page };
    let record = record(slot)?;
    *record = Record { address, bytes, state: Use::Live, allocated, ..*record };
    Some(address as *mut u8)
}

/// Frees a guarded object; `false` if the address is not one of a slot.
#[cold]
pub fn free(address: usize) -> bool {
    let Some(slot) = slot_of(address).filter(|&slot| slot < SLOTS) else { return false };
    let freed = trace();
    let mut queue = QUEUE.lock();
    let Some(record) = record(slot) else { return false };
    if record.state != Use::Live || record.address != address {
        let what = match record.state {
            Use::Freed if record.address == address => "double free",
            _ => "free of what is not the start of an object",
        };
        explain(what, address, record, Some(&freed));
    }
    let page = page_of(slot);
    if !is_clean(page..address) || !is_clean(address + record.bytes..page + SLOT) {
        explain("overflow or underflow, found by free", address, record, Some(&freed));
    }
    *record = Record { state: Use::Freed, freed, ..*record };
    // SAFETY: the object is free: whoever touches the page from now on is to fault. The next object's padding is to be
    // clean also if the kernel refuses to take the page.
    unsafe {
        if !arena::discard(page..page + SLOT) {
            (page as *mut u8).write_bytes(0, SLOT);
        }
        arena::protect(page..page + SLOT, false);
    }
    let last = (queue.first + queue.count) % SLOTS;
    queue.slots[last] = slot as u16;
    queue.count += 1;
    true
}

/// Whether the padding around an object is as it came from the kernel.
fn is_clean(padding: std::ops::Range<usize>) -> bool {
    // SAFETY: the page of a live object, which nobody but its user writes to.
    padding.into_iter().all(|at| unsafe { *(at as *const u8) } == 0)
}

/// Bytes of a guarded object.
pub fn size(address: usize) -> Option<usize> {
    let _queue = QUEUE.lock();
    let record = record(slot_of(address)?)?;
    (record.state == Use::Live && record.address == address).then_some(record.bytes)
}

/// Fills a block that is being freed.
#[cold]
pub fn fill(address: usize, bytes: usize) {
    // SAFETY: the block was looked at, and is free from here on.
    unsafe { (address as *mut u8).write_bytes(FILL, bytes) };
}

/// In the signal handler.
fn report_fault(address: usize, fault: &Fault) -> bool {
    let Some(slot) = slot_of(address).filter(|_| fault.is_hardware) else { return false };
    // The address is in a slot's page, or in the guard between two of them: then the nearer is meant.
    let in_guard = (address - START.load(Ordering::Acquire)) % (2 * SLOT) < SLOT;
    let candidates = if in_guard { [slot.checked_sub(1), Some(slot)] } else { [Some(slot), None] };
    let distance = |record: &&mut Record| {
        let end = record.address + record.bytes;
        if address < record.address {
            record.address - address
        } else {
            address.saturating_sub(end)
        }
    };
    let used = candidates.into_iter().flatten().filter_map(record);
    let nearest = used.filter(|record| record.state != Use::Never).min_by_key(distance);
    let Some(record) = nearest else { return false };
    let what = match record.state {
        Use::Freed => "use after free",
        _ if address < record.address => "underflow",
        _ => "overflow",
    };
    explain(what, address, record, None)
}

fn explain(what: &str, address: usize, record: &Record, now: Option<&Trace>) -> ! {
    let mut report = Report::new();
    report.str("millpond heap: ").str(what).str(" at ").hex(address as u64);
    report.str(": expected an access within an object of ").dec(record.bytes as u64);
    report.str(" B at ").hex(record.address as u64).str("\n");
    stack(&mut report, "allocated", &record.allocated);
    if record.state == Use::Freed {
        stack(&mut report, "freed", &record.freed);
    }
    if let Some(now) = now {
        stack(&mut report, "this free", now);
    }
    report.send();
    std::process::abort()
}

fn stack(report: &mut Report, what: &str, trace: &Trace) {
    report.str("  ").str(what).str(" by thread ").dec(trace.thread as u64).str(" at:\n");
    for &frame in &trace.frames[..trace.depth.min(FRAMES)] {
        report.str("    ").hex(frame as u64).str("\n");
    }
}

/// Takes the lock for a `fork`.
pub fn hold() {
    QUEUE.hold();
}

/// Undoes [`hold`].
///
/// # Safety
/// This thread, or the one that it is a copy of, must have called `hold`.
pub unsafe fn let_go() {
    // SAFETY: the caller's promise.
    unsafe { QUEUE.let_go() };
}

/// Objects that are on guarded pages now.
pub fn live() -> usize {
    match START.load(Ordering::Acquire) {
        0 => 0,
        _ => SLOTS - QUEUE.lock().count,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_rate_or_a_word_turns_it_on() {
        assert_eq!(parse(b"on"), Some(1000));
        assert_eq!(parse(b" 7 "), Some(7));
        for off in [&b""[..], b"0", b"off", b"-1"] {
            assert_eq!(parse(off), None);
        }
    }
}
