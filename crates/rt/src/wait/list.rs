//! The waiters of one primitive, longest waiting first.
//!
//! A doubly linked list whose links are indexes into a vector, so that an entry can leave from the
//! middle in constant time. Places that are not in use are linked through the same field, the one
//! that was left last first: waiting does not allocate once the list has been as long before. The
//! list stands under the lock of its primitive; nothing in it is atomic.
//!
//! ```text
//!   push ──▶ linked ──claim_front──▶ unlinked ──remove──▶ gone
//!               └────────────remove────────────────────────▲
//! ```
//!
//! Two rules keep it simple:
//! 1. *Only the waiter removes its entry*, when it runs again or gives up. Whoever claims it takes
//!    it off the list and leaves the entry where it is, with what is handed over inside. So a
//!    [`Key`] needs no generation: it is valid exactly as long as its owner holds it.
//! 2. A ticket that cannot be claimed any more (its wait timed out, or another arm of a `select!`
//!    won) is unlinked by whoever meets it, and its owner removes it as in rule 1. A loop of
//!    time-outs therefore leaves nothing behind.
//!
//! A place may also be *reserved*: pushed without a ticket, by a waiter that must first do what may
//! run user code (a condition variable's waiter unlocks a mutex), which is no thing to do with a
//! wait under way.
//!
//! Rule 1 also means that the ticket is dropped while its owner still holds the wait it is for,
//! so that dropping it under the lock cannot be what frees a waker: that would be user code.
//!
//! After a peak the memory is given back (`KEEP`). Rejected: `VecDeque<Ticket>` (removing from the
//! middle is linear, so time-outs either scan or leave rubbish); intrusive nodes on the waiter's
//! stack (a stack at rest must not be touched); the crate `slab`, whose entries are moved in and
//! out through an enum, and whose calls do not become part of the step that makes them.

use super::ticket::{Fired, Ticket};

/// A vector with more places than this is freed when the last waiter leaves.
const KEEP: usize = 32;

/// No entry.
const NONE: u32 = u32::MAX;

/// An entry's name, from push to remove. Not `Clone`: the waiter that pushed has the only one.
#[derive(Debug, PartialEq, Eq)]
pub struct Key(u32);

/// Waits that were claimed under a lock and whose waiters are owed their resumption after it. The
/// first needs no memory of its own: most steps wake one.
#[derive(Debug, Default)]
#[must_use = "dropping it resumes the waiters: do so after unlocking"]
pub struct FiredList {
    first: Option<Fired>,
    rest: Vec<Fired>,
}

impl FiredList {
    /// Adds one.
    pub fn push(&mut self, fired: Fired) {
        if self.first.is_none() {
            self.first = Some(fired);
        } else {
            self.rest.push(fired);
        }
    }
}

/// See the module documentation. `V` is what the primitive keeps with each waiter.
#[derive(Debug)]
pub struct WaitList<V> {
    entries: Vec<Entry<V>>,
    head: u32,
    /// Means nothing while the list is empty.
    tail: u32,
    /// The first entry that is nobody's; the others follow through `next`.
    free: u32,
    /// How many entries are somebody's, on the list or off it.
    taken: u32,
}

#[derive(Debug)]
struct Entry<V> {
    /// `None` while the place is reserved and its owner's wait has not begun; when the wait was
    /// ended here, since the reference to the waiter then goes to who resumes it; and in an entry
    /// that is nobody's.
    ticket: Option<Ticket>,
    /// Means nothing in the entry at the front, so that who takes that one touches no other.
    prev: u32,
    next: u32,
    linked: bool,
    /// `Some` as long as the entry is somebody's.
    value: Option<V>,
}

impl<V> Default for WaitList<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> WaitList<V> {
    /// An empty list. Does not allocate.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), head: NONE, tail: NONE, free: NONE, taken: 0 }
    }

    /// Whether nobody waits. Entries that were claimed or met closed do not count.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Adds a waiter behind all others.
    #[inline]
    pub fn push_back(&mut self, ticket: Ticket, value: V) -> Key {
        self.insert_back(Some(ticket), value)
    }

    /// Adds a place behind all others for a waiter that has something to do before it can begin its
    /// wait, and then calls [`begin`](Self::begin). It is found by
    /// [`take_front`](Self::take_front) only.
    pub fn reserve(&mut self, value: V) -> Key {
        self.insert_back(None, value)
    }

    /// The wait of a reserved place begins; `false` if the place was taken meanwhile.
    pub fn begin(&mut self, key: &Key, ticket: Ticket) -> bool {
        let entry = self.at(key.0);
        entry.ticket = Some(ticket);
        entry.linked
    }

    /// Adds a waiter before all others: one that was woken and came too late.
    pub fn push_front(&mut self, ticket: Ticket, value: V) -> Key {
        let key = self.insert(Some(ticket), value, NONE, self.head);
        match self.head {
            NONE => self.tail = key,
            head => self.at(head).prev = key,
        }
        self.head = key;
        Key(key)
    }

    /// Ends the longest wait that is still open, with the outcome that `outcome` finds for it, and
    /// takes it off the list. The caller hands over through the value, unlocks, and lets `Fired`
    /// resume the waiter.
    #[inline(always)]
    pub fn claim_front(&mut self, outcome: impl Fn(&V) -> u16) -> Option<(&mut V, Fired)> {
        self.claim_front_by(|value| Ticket::unreserved(outcome(value)))
    }

    #[inline(always)]
    fn claim_front_by(&mut self, outcome: impl Fn(&V) -> u16) -> Option<(&mut V, Fired)> {
        let key = self.head;
        if key == NONE {
            return None;
        }
        match self.pop_front().claim(&outcome) {
            // Looked up again: the borrow of the match cannot be returned.
            Some(fired) => Some((self.value(key), fired)),
            None => self.claim_next(outcome),
        }
    }

    /// The rest of a claim that met a wait which is over. Apart from it, so that it stays small
    /// enough to become part of its callers.
    #[cold]
    #[inline(never)]
    fn claim_next(&mut self, outcome: impl Fn(&V) -> u16) -> Option<(&mut V, Fired)> {
        while self.head != NONE {
            let key = self.head;
            if let Some(fired) = self.pop_front().claim(&outcome) {
                return Some((self.value(key), fired));
            }
        }
        None
    }

    /// Whether somebody waits whose wait is open and is not the one of `own`. A hint: it may end at
    /// any moment. Entries at the front whose wait is over are taken off the list.
    pub fn has_open_but(&mut self, own: &Ticket) -> bool {
        let mut key = self.head;
        while key != NONE {
            let entry = self.at(key);
            let next = entry.next;
            match &entry.ticket {
                Some(ticket) if ticket.is_open() && !ticket.same_wait(own) => return true,
                Some(ticket) if !ticket.is_open() => self.unlink(key),
                _ => {}
            }
            key = next;
        }
        false
    }

    /// As [`claim_front`](Self::claim_front), if the longest wait that is still open may end: where
    /// nobody overtakes, the others wait behind it.
    pub fn claim_front_if(
        &mut self,
        may_end: impl Fn(&V) -> bool,
        outcome: u16,
    ) -> Option<(&mut V, Fired)> {
        while self.head != NONE {
            let key = self.head;
            let entry = self.at(key);
            // If this answer is old, the owner comes to remove its entry, and looks again then.
            if entry.ticket.as_ref().is_some_and(Ticket::is_open)
                && !entry.value.as_ref().is_some_and(&may_end)
            {
                return None;
            }
            if let Some(fired) = self.pop_front().claim(|_| Ticket::unreserved(outcome)) {
                return Some((self.value(key), fired));
            }
        }
        None
    }

    /// Takes the place at the front off the list, reserved or with an open wait, which is then
    /// ended with outcome 0. There is nobody to resume at a reserved one: its owner finds it taken.
    pub fn take_front(&mut self) -> Option<(&mut V, Option<Fired>)> {
        while self.head != NONE {
            let key = self.head;
            let entry = self.pop_front();
            let reserved = entry.ticket.is_none();
            let fired = entry.claim(|_| 0);
            if reserved || fired.is_some() {
                return Some((self.value(key), fired));
            }
        }
        None
    }

    /// Ends all waits that are still open.
    pub fn claim_all(&mut self, outcome: impl Fn(&V) -> u16) -> Vec<Fired> {
        std::iter::from_fn(|| self.claim_front(&outcome).map(|(_, fired)| fired)).collect()
    }

    /// As [`claim_all`](Self::claim_all), for a context, whose outcome no primitive may use.
    pub(crate) fn claim_all_reserved(&mut self, outcome: impl Fn(&V) -> u16) -> Vec<Fired> {
        std::iter::from_fn(|| self.claim_front_by(&outcome).map(|(_, fired)| fired)).collect()
    }

    /// The owner takes its entry back, with what it then holds.
    #[inline]
    pub fn remove(&mut self, key: Key) -> V {
        let Key(key) = key;
        if self.at(key).linked {
            self.unlink(key);
        }
        let free = std::mem::replace(&mut self.free, key);
        let entry = self.at(key);
        entry.next = free;
        let value = entry.value.take();
        if let Some(ticket) = entry.ticket.take() {
            drop_unclaimed(ticket);
        }
        self.taken -= 1;
        if self.taken == 0 && self.entries.capacity() > KEEP {
            self.give_back();
        }
        value.expect("a key is of an entry that is somebody's")
    }

    #[inline]
    fn insert_back(&mut self, ticket: Option<Ticket>, value: V) -> Key {
        let key = self.insert(ticket, value, self.tail, NONE);
        match self.head {
            NONE => self.head = key,
            _ => {
                let tail = self.tail;
                self.at(tail).next = key;
            }
        }
        self.tail = key;
        Key(key)
    }

    #[inline]
    fn insert(&mut self, ticket: Option<Ticket>, value: V, prev: u32, next: u32) -> u32 {
        if self.free == NONE {
            self.grow();
        }
        let key = self.free;
        let entry = self.at(key);
        let free = std::mem::replace(&mut entry.next, next);
        entry.prev = prev;
        entry.linked = true;
        // Nothing is there to be dropped, which the compiler is told in this way.
        let (no_ticket, no_value) = (entry.ticket.take(), entry.value.take());
        debug_assert!(no_ticket.is_none() && no_value.is_none());
        std::mem::forget((no_ticket, no_value));
        entry.ticket = ticket;
        entry.value = Some(value);
        self.free = free;
        self.taken += 1;
        key
    }

    /// One more place. Nobody's entry is left.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        if self.entries.capacity() == 0 {
            // One place at first, where a vector would take four: a million goroutines each
            // waiting on a channel of its own is what this runtime is for.
            self.entries.reserve_exact(1);
        }
        let key = self.entries.len();
        let key = u32::try_from(key).ok().filter(|key| *key != NONE).unwrap_or_else(|| {
            panic!("wait list: {key} waiters on one object; at most {} can wait", NONE - 1)
        });
        let entry = Entry { ticket: None, prev: NONE, next: NONE, linked: false, value: None };
        if self.entries.is_empty() {
            // Most lists never have a second waiter, and a vector that grows begins with room for four.
            self.entries.reserve_exact(1);
        }
        self.entries.push(entry);
        self.free = key;
    }

    /// Frees the memory. No entry is anybody's.
    #[cold]
    #[inline(never)]
    fn give_back(&mut self) {
        self.entries = Vec::new();
        self.free = NONE;
    }

    /// Takes the first entry off the list, which is not empty.
    #[inline]
    fn pop_front(&mut self) -> &mut Entry<V> {
        let entry = &mut self.entries[self.head as usize];
        self.head = entry.next;
        entry.linked = false;
        entry
    }

    /// Takes an entry off the list that is on it.
    #[inline(never)]
    fn unlink(&mut self, key: u32) {
        let (head, tail) = (self.head, self.tail);
        let entry = self.at(key);
        debug_assert!(entry.linked, "wait list: unlink of an entry that is not on the list");
        entry.linked = false;
        let (prev, next) = (entry.prev, entry.next);
        if key == head {
            self.head = next;
        } else {
            self.at(prev).next = next;
        }
        if key == tail {
            self.tail = prev;
        } else {
            self.at(next).prev = prev;
        }
    }

    #[inline]
    fn at(&mut self, key: u32) -> &mut Entry<V> {
        &mut self.entries[key as usize]
    }

    /// What is kept with the waiter of an entry that is somebody's.
    #[inline]
    fn value(&mut self, key: u32) -> &mut V {
        self.at(key).value.as_mut().expect("an entry on the list is somebody's")
    }

    /// How many entries there are, on the list or off it, and room for how many. For tests.
    #[doc(hidden)]
    pub fn footprint(&self) -> (usize, usize) {
        (self.taken as usize, self.entries.capacity())
    }
}

/// The ticket of a wait that nobody here has ended, or that was ended before its owner had left. Its
/// owner still has the wait (rule 1).
#[cold]
#[inline(never)]
fn drop_unclaimed(ticket: Ticket) {
    drop(ticket);
}

impl<V> Entry<V> {
    /// Ends the wait, if it is open, with the outcome found for it.
    #[inline]
    fn claim(&mut self, outcome: impl FnOnce(&V) -> u16) -> Option<Fired> {
        let outcome = outcome(self.value.as_ref()?);
        Ticket::claim_out_of(&mut self.ticket, outcome)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::wait::FutureWait;

    fn waiter() -> (FutureWait, Ticket) {
        let mut wait = FutureWait::new();
        let ticket = wait.arm();
        (wait, ticket)
    }

    #[test]
    fn the_longest_waiting_is_claimed_first_and_the_front_before_it() {
        let mut list = WaitList::new();
        let (waits, keys): (Vec<_>, Vec<_>) = (0..4)
            .map(|i| {
                let (wait, ticket) = waiter();
                let key =
                    if i == 3 { list.push_front(ticket, i) } else { list.push_back(ticket, i) };
                (wait, key)
            })
            .unzip();
        let order: Vec<_> =
            std::iter::from_fn(|| list.claim_front(|_| 0).map(|(v, _)| *v)).collect();
        assert_eq!(order, [3, 0, 1, 2]);
        assert!(list.is_empty());
        let left: Vec<_> = keys.into_iter().map(|key| list.remove(key)).collect();
        assert_eq!(left, [0, 1, 2, 3]);
        drop(waits);
    }

    #[test]
    fn an_entry_leaves_from_anywhere() {
        for gone in 0..3 {
            let mut list = WaitList::new();
            let mut waits = Vec::new();
            let mut keys = Vec::new();
            for i in 0..3 {
                let (wait, ticket) = waiter();
                waits.push(wait);
                keys.push(list.push_back(ticket, i));
            }
            assert_eq!(list.remove(keys.remove(gone)), gone);
            let order: Vec<_> =
                std::iter::from_fn(|| list.claim_front(|_| 0).map(|(v, _)| *v)).collect();
            let expected: Vec<_> = (0..3).filter(|i| *i != gone).collect();
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn a_wait_that_has_ended_is_skipped() {
        let mut list = WaitList::new();
        let (mut first, ticket) = waiter();
        let first_key = list.push_back(ticket, 1);
        let (_second, ticket) = waiter();
        list.push_back(ticket, 2);
        assert_eq!(first.cancel(), None);
        assert_eq!(list.claim_front(|v| *v).map(|(v, _)| *v), Some(2));
        assert_eq!(list.remove(first_key), 1);
    }

    #[test]
    fn one_that_may_not_end_yet_holds_up_the_others() {
        let mut list = WaitList::new();
        let (mut first, ticket) = waiter();
        list.push_back(ticket, 3);
        let (_second, ticket) = waiter();
        list.push_back(ticket, 1);
        let mut claim = |limit| list.claim_front_if(|v| *v <= limit, 0).map(|(v, _)| *v);
        assert_eq!(claim(2), None);
        assert_eq!(first.cancel(), None);
        assert_eq!(claim(2), Some(1), "one that has given up holds up nobody");
        assert!(list.is_empty());
    }

    #[test]
    fn a_reserved_place_keeps_its_turn_and_may_be_taken_before_its_wait_begins() {
        let mut list = WaitList::new();
        let first = list.reserve(1);
        let (_second, ticket) = waiter();
        list.push_back(ticket, 2);
        let third = list.reserve(3);
        assert!(list.take_front().is_some_and(|(v, fired)| *v == 1 && fired.is_none()));
        let (mut wait, ticket) = waiter();
        assert!(!list.begin(&first, ticket));
        assert_eq!((wait.cancel(), list.remove(first)), (None, 1));
        assert!(list.take_front().is_some_and(|(v, fired)| *v == 2 && fired.is_some()));
        assert!(list.begin(&third, wait.arm()));
        assert!(list.take_front().is_some_and(|(v, fired)| *v == 3 && fired.is_some()));
        assert_eq!(wait.cancel(), Some(0));
    }

    #[test]
    fn memory_is_given_back_after_a_peak() {
        let mut list = WaitList::new();
        let (waits, keys): (Vec<_>, Vec<_>) = (0..1000)
            .map(|i| {
                let (wait, ticket) = waiter();
                (wait, list.push_back(ticket, i))
            })
            .unzip();
        assert_eq!(list.footprint().0, 1000);
        for key in keys {
            list.remove(key);
        }
        assert_eq!(list.footprint(), (0, 0));
        drop(waits);
    }
}
