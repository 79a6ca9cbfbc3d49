//! The second tier: per class, the spans with room that no cache owns; and every change of owner.
//!
//! Spans come here when a thread ends, when its cache is reclaimed because it sleeps, and when
//! another thread frees into a span that was left full. They leave when a cache runs out
//! ([`fetch`]), or for the page heap when their last block comes back ([`last_block`]).
//!
//! The lock of a class protects its list, and the *owner* of every span of the class: whoever makes
//! a span owned or not does it under the lock (but for a new span, which nobody knows of, and an empty
//! one, which nobody may have a block of). So a thread that owes a message ([`crate::remote`]) asks
//! here who the owner is, and is sure of it until it unlocks:
//!
//! ```text
//!   push finds the list armed ─► owed() ─┬─ an owner: into its inbox
//!                                        └─ none: absorb; room: into the list; empty: to the pages
//! ```
//!
//! `model` compiles this very file under loom, with small parts in the place of spans, caches and the page heap.
//!
//! Rejected: lock-free lists per class. A span passes here once per some hundred blocks.

#[cfg(not(loom))]
use crate::{
    cache::Cache,
    classes::{COUNT, MAX_SPAN},
    list::{List, address},
    lock::{Lock, Rank},
    pages::{self, huge},
    scavenge,
    span::{Holes, OS_PAGE, Span, State},
};
use millpond_prim::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use millpond_prim::sync::atomic::fence;
#[cfg(not(loom))]
use millpond_sys::arena;
#[cfg(loom)]
use parts::{
    COUNT, Cache, Holes, List, Lock, MAX_SPAN, OS_PAGE, Rank, Span, State, address, arena, huge,
    pages, scavenge,
};

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, loom))]
mod parts;

/// Spans with room and without owner, by class.
#[cfg(not(loom))]
static CENTRAL: [Lock<List>; COUNT] = [const { Lock::new(Rank::Central, List::new()) }; COUNT];
#[cfg(loom)]
loom::lazy_static! {
    static ref CENTRAL: [Lock<List>; COUNT] = [(); COUNT].map(|()| Lock::new(Rank::Central, List::new()));
}

/// Gives a span with room to a cache, in the state [`State::Partial`] and in no list.
pub fn fetch(class: usize, cache: &Cache) -> Option<&'static Span> {
    let central = CENTRAL[class].lock();
    let span = central.pop_front()?;
    span.owner.store(cache.address(), Release);
    span.set_state(State::Partial);
    Some(span)
}

/// Takes the spans out of a cache's inbox, by `inbox_next`. Holder of the cache.
pub fn take_inbox(class: usize, cache: &Cache) -> *mut Span {
    let _central = CENTRAL[class].lock();
    cache.bins[class].inbox.swap(std::ptr::null_mut(), Acquire)
}

/// Takes from a cache its partial spans and those in its inbox, or all. Holder of the cache.
pub fn surrender(class: usize, cache: &Cache, full_ones_too: bool) {
    let central = CENTRAL[class].lock();
    let bin = &cache.bins[class];
    let mut next = bin.inbox.swap(std::ptr::null_mut(), Acquire);
    // SAFETY: records live for ever.
    while let Some(span) = unsafe { next.as_ref() } {
        next = span.inbox_next.get();
        span.remote.settle();
        if span.state() == State::Full {
            bin.owned.remove(span);
            disown(&central, span);
        }
    }
    while let Some(span) = bin.partial.pop_front() {
        bin.owned.remove(span);
        disown(&central, span);
    }
    // What is left is full.
    while full_ones_too && let Some(span) = bin.owned.pop_front() {
        disown(&central, span);
    }
}

/// A span loses its owner. It is in no list.
fn disown(central: &List, span: &'static Span) {
    span.spare.set(false);
    span.local.store(std::ptr::null_mut(), Relaxed);
    span.owner.store(std::ptr::null_mut(), Release);
    span.set_state(State::Alone);
    settle_down(central, span);
}

/// Brings home what was freed of a span without an owner, and misses no last block: who pushes after the
/// look below sees the owner and the number of blocks in use as they are now, and comes by
/// ([`last_block`]) if there are none left.
fn gather(span: &Span) {
    loop {
        span.absorb();
        fence(SeqCst);
        if span.remote.count() == 0 {
            return;
        }
    }
}

/// Where a span without an owner belongs. It is in no list.
fn settle_down(central: &List, span: &'static Span) {
    loop {
        gather(span);
        if span.used.load(Relaxed) == 0 && !span.remote.is_owed() {
            return release(span);
        }
        if span.has_room() {
            span.set_state(State::Central);
            span.remote.disarm();
            scavenge::note(span.class());
            return central.push_front(span);
        }
        if span.remote.arm() {
            return;
        }
    }
}

/// Returns the pages of an empty span. It is in no list, and nobody owes a message about it.
fn release(span: &'static Span) {
    span.spare.set(false);
    span.remote.disarm();
    span.local.store(std::ptr::null_mut(), Relaxed);
    span.owner.store(std::ptr::null_mut(), Release);
    pages::with(|pages| {
        pages.free(span);
        Some(())
    });
}

/// Gives up an empty span of a cache, which takes it out of its lists by `leave`; not while somebody owes a message
/// about it, who has its address: then it stays, and the message comes. Holder of the cache.
pub fn retire(span: &'static Span, leave: impl FnOnce()) {
    if !span.remote.is_owed() {
        leave();
        release(span);
    }
}

/// Frees a block of a span that this thread does not hold: the rest of the way, once the block was looked at.
pub fn free(span: &'static Span, address: usize) {
    let class = span.class();
    let pushed = span.push_remote(address);
    if pushed.owes {
        owed(span);
    } else if span.owner.load(SeqCst).is_null() && pushed.count >= span.used.load(SeqCst) {
        // After the push, and in one order with it: see `gather`. The span may be anything by now, so this is a
        // hint.
        last_block(span, class);
    }
}

/// Delivers the message that a push owes: the span of this class has room again.
#[cold]
fn owed(span: &'static Span) {
    // The debt keeps the span what it is.
    let class = span.class();
    let central = CENTRAL[class].lock();
    // SAFETY: an owner is a cache, whose record lives for ever.
    if let Some(owner) = unsafe { span.owner.load(Acquire).as_ref() } {
        let inbox = &owner.bins[class].inbox;
        span.inbox_next.set(inbox.load(Relaxed));
        inbox.store(address(span), Release);
    } else {
        span.remote.settle();
        // Empty or not: a span in the list has been counted by whoever brought its last block, who
        // saw the debt and left it to us.
        match span.state() {
            State::Alone => settle_down(&central, span),
            _ => give_back_if_empty(&central, span),
        }
    }
    drop(central);
    scavenge::nudge();
}

/// The list of freed blocks of a span without an owner is as long as the number of its blocks in use.
#[cold]
fn last_block(span: &'static Span, class: usize) {
    let central = CENTRAL[class].lock();
    // The span may have moved on since, and its record may be on its third life. Both at one moment: "central" and
    // "of this class" are written and left together under this lock only, but each of them may be true by itself.
    if span.is_of(State::Central, class) {
        give_back_if_empty(&central, span);
    }
}

fn give_back_if_empty(central: &List, span: &'static Span) {
    gather(span);
    if span.used.load(Relaxed) == 0 && !span.remote.is_owed() {
        central.remove(span);
        release(span);
    }
}

/// Whether a block of a span without an owner is free; `None` if the span has moved on.
#[cfg(not(loom))]
pub fn is_free(span: &Span, class: usize, block: usize) -> Option<bool> {
    let _central = CENTRAL[class].lock();
    // As in `last_block`: a span that is one of these stays it while the lock is held.
    let here = span.is_of(State::Central, class) || span.is_of(State::Alone, class);
    here.then(|| span.is_free(block))
}

/// Spans that [`release_holes`] looks through at once.
pub const HOLES: usize = 24;

/// The most runs of holes that a span has: every other one of its pages.
const RUNS: usize = MAX_SPAN / OS_PAGE / 2;

/// Gives the kernel what whole 4 KiB pages of the first [`HOLES`] spans of a class are free, and puts
/// those spans behind the others. Returns the bytes.
pub fn release_holes(class: usize) -> usize {
    let central = CENTRAL[class].lock();
    let mut found: [Option<(&'static Span, Holes)>; HOLES] = [None; HOLES];
    let mut ranges = [const { 0..0 }; HOLES * RUNS];
    let (mut count, mut bytes) = (0, 0);
    for found in found.iter_mut().take(central.len()) {
        let Some(span) = central.pop_front() else { break };
        gather(span);
        if span.used.load(Relaxed) == 0 && !span.remote.is_owed() {
            release(span);
            continue;
        }
        central.push_back(span);
        let holes = span.find_holes();
        for range in span.addresses(&holes) {
            bytes += range.len();
            ranges[count] = range;
            count += 1;
        }
        *found = Some((span, holes));
    }
    ranges[..count].iter().for_each(huge::let_go);
    // SAFETY: no block that is in use lies in these pages, nor the link of a free one, and the spans
    // are ours until we unlock.
    if !unsafe { arena::discard_all(&ranges[..count]) } {
        return 0;
    }
    found.iter().flatten().for_each(|(span, holes)| span.clean(holes));
    bytes
}

/// How many spans of a class are here.
pub fn len(class: usize) -> usize {
    CENTRAL[class].lock().len()
}

/// Takes all locks for a `fork`.
#[cfg(not(loom))]
pub fn hold() {
    CENTRAL.iter().for_each(Lock::hold);
}

/// Undoes [`hold`].
///
/// # Safety
/// This thread, or the one that it is a copy of, must have called `hold`.
#[cfg(not(loom))]
pub unsafe fn let_go() {
    // SAFETY: the caller's promise.
    CENTRAL.iter().for_each(|lock| unsafe { lock.let_go() });
}

/// Walks every span and says what is wrong, if anything is.
#[cfg(not(loom))]
pub fn check() -> Result<(), &'static str> {
    for central in &CENTRAL {
        for span in central.lock().iter() {
            if !span.owner.load(Relaxed).is_null() {
                return Err("a span in a central list has an owner");
            }
            span.check()?;
        }
    }
    Ok(())
}
