//! What a channel is, one step at a time, and whether a history of concurrent operations could have
//! been such steps.
//!
//! A history is *linearizable* (Herlihy and Wing, 1990) if each operation can be given one moment
//! between its beginning and its end such that the operations, one after the other in the order of
//! these moments, are what a sequential channel would have done: a queue of at most `capacity`
//! values, and a flag that says closed. A send to a rendezvous and its receive have one moment in
//! common.
//!
//! The search is Wing and Gong's: any operation that began before the first end among those that
//! are left may be next. With Lowe's memory: the same operations done with the same queue left are
//! tried once.
//!
//! *Time-outs.* One says the same as a `try_` form that fails: at one moment between its beginning
//! and its end, the operation was not possible. That is more than a time-out has to promise ("it
//! did not happen"), and it holds here: a waiter whose wait can still be ended by a partner is in
//! line only while there is none, so at the moment when the clock ends it, it was not possible.
//!
//! *Loose operations.* Two things that go on for a while are not moments, and are counted as such
//! only where they can be seen:
//! - a send arm that has won holds a place until its value is made: others may find the channel
//!   full that is not;
//! - a value that was handed to a future or an arm, or promised by an arm to whomever, is not
//!   received until the receiver has looked: after a close others may find the channel empty, but
//!   not ended.

use std::collections::{HashSet, VecDeque};
use std::fmt;

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Sent(u32),
    /// A `try_send` or a send with a time limit.
    Full,
    SendClosed,
    Got(u32),
    /// A `try_recv` or a receive with a time limit.
    Empty,
    RecvClosed,
    Close,
}

/// One operation. No two times of a history are equal.
#[derive(Clone, Copy)]
pub struct Event {
    pub caller: usize,
    pub begin: u64,
    pub end: u64,
    pub seen: Seen,
    /// Through an arm of a select, or a receive future: see the module documentation.
    pub loose: bool,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, begin, end, seen, loose } = self;
        write!(f, "{begin}..{end} by {caller}: {seen:?}")?;
        if *loose { f.write_str(" (loose)") } else { Ok(()) }
    }
}

impl Event {
    fn overlaps(&self, other: &Self) -> bool {
        self.begin < other.end && other.begin < self.end
    }
}

/// The sequential channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Spec {
    pub queue: VecDeque<u32>,
    pub closed: bool,
}

impl Spec {
    /// One step of a channel with a buffer: whether this is what it would do.
    pub fn step(&mut self, capacity: usize, seen: Seen) -> bool {
        let full = self.queue.len() >= capacity;
        match seen {
            Seen::Sent(value) if !self.closed && !full => {
                self.queue.push_back(value);
                true
            }
            Seen::Sent(_) => false,
            Seen::Full => !self.closed && full,
            Seen::SendClosed => self.closed,
            Seen::Got(value) => self.queue.pop_front() == Some(value),
            Seen::Empty => !self.closed && self.queue.is_empty(),
            Seen::RecvClosed => self.closed && self.queue.is_empty(),
            Seen::Close => {
                self.closed = true;
                true
            }
        }
    }

    /// As [`step`](Self::step), for a rendezvous, whose sends and receives are
    /// [pairs](Search::pairs).
    fn step_without_buffer(&mut self, seen: Seen) -> bool {
        match seen {
            Seen::Sent(_) | Seen::Got(_) => false,
            Seen::Full | Seen::Empty => !self.closed,
            other => self.step(0, other),
        }
    }
}

/// Whether the history could have been steps of a channel with this capacity. At most 64 events.
pub fn is_linearizable(capacity: usize, events: &[Event]) -> bool {
    assert!(events.len() <= 64);
    let mut search = Search { events, capacity, tried: HashSet::new() };
    search.go(0, &Spec::default())
}

struct Search<'a> {
    events: &'a [Event],
    capacity: usize,
    /// The events that were done and the channel after them.
    tried: HashSet<(u64, Spec)>,
}

impl Search<'_> {
    /// Whether the events that are not in the set `done` can follow.
    fn go(&mut self, done: u64, spec: &Spec) -> bool {
        let left = |number: &usize| done >> number & 1 == 0;
        let numbers: Vec<_> = (0..self.events.len()).filter(left).collect();
        let Some(first_end) = numbers.iter().map(|number| self.events[*number].end).min() else {
            return true;
        };
        if !self.tried.insert((done, spec.clone())) {
            return false;
        }
        let next = numbers.into_iter().filter(|n| self.events[*n].begin < first_end);
        let next: Vec<_> = next.collect();
        next.iter().any(|number| {
            let mut after = spec.clone();
            self.step(&mut after, done, *number) && self.go(done | 1 << number, &after)
        }) || self.capacity == 0 && !spec.closed && self.pairs(done, spec, &next)
    }

    /// A send to a rendezvous and its receive as one step.
    fn pairs(&mut self, done: u64, spec: &Spec, next: &[usize]) -> bool {
        next.iter().any(|send| {
            let Seen::Sent(value) = self.events[*send].seen else { return false };
            next.iter().any(|recv| {
                self.events[*recv].seen == Seen::Got(value)
                    && self.go(done | 1 << send | 1 << recv, spec)
            })
        })
    }

    fn step(&self, spec: &mut Spec, done: u64, number: usize) -> bool {
        let seen = self.events[number].seen;
        match seen {
            Seen::Full if !spec.closed && self.capacity > 0 => {
                spec.queue.len() + self.places_held(done, number) >= self.capacity
            }
            Seen::Empty if spec.closed => spec.queue.is_empty() && self.is_on_trial(number),
            _ if self.capacity == 0 => spec.step_without_buffer(seen),
            _ => spec.step(self.capacity, seen),
        }
    }

    /// How many send arms may have won, but not yet sent, while this operation went on.
    fn places_held(&self, done: u64, number: usize) -> usize {
        let others = self.events.iter().enumerate().filter(|(other, event)| {
            let sends = matches!(event.seen, Seen::Sent(_) | Seen::SendClosed);
            event.loose && sends && done >> other & 1 == 0
        });
        others.filter(|(_, event)| event.overlaps(&self.events[number])).count()
    }

    /// Whether a value may have been handed over, but not yet received, while this operation went
    /// on: to a loose receiver, or by a loose sender, who promised it.
    fn is_on_trial(&self, number: usize) -> bool {
        let from_arm =
            |value| self.events.iter().any(|event| event.loose && event.seen == Seen::Sent(value));
        let is_handed = |event: &&Event| match event.seen {
            Seen::Got(value) => event.loose || from_arm(value),
            _ => false,
        };
        self.events.iter().filter(is_handed).any(|event| event.overlaps(&self.events[number]))
    }
}
