//! One part of the keys: their values, and when they end.
//!
//! ```text
//!   keys       name ─▶ Entry { value, deadline: Some(at 5000, serial 7) }
//!   deadlines                             (at 5000, serial 7) ─▶ name       ordered by time
//! ```
//!
//! The two always agree: a key with a deadline stands in both, others only in the first. So an
//! expired key is found from both sides. A command that touches it removes it first; and the
//! sweeper takes what is due from the front of `deadlines` without looking at anything else.
//! (Redis tests random keys instead, which keeps a quarter of the expired ones in memory.)
//!
//! Everything here happens under the lock of the shard, which is the store's.

use crate::commands::Fault;
use crate::sweep::Bell;
use crate::value::{Collection, Kind, Value};
use std::collections::{BTreeMap, HashMap};

/// A point in time, in milliseconds on the store's clock.
pub type Millis = u64;

/// When a key ends. The serial number tells apart what ends at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Millis,
    serial: u64,
}

#[derive(Debug)]
pub struct Entry {
    pub value: Value,
    deadline: Option<Deadline>,
}

impl Entry {
    /// When it ends, if it does.
    pub fn expires_at(&self) -> Option<Millis> {
        self.deadline.map(|deadline| deadline.at)
    }
}

#[derive(Debug)]
pub struct Shard {
    keys: HashMap<Box<[u8]>, Entry>,
    deadlines: BTreeMap<Deadline, Box<[u8]>>,
    serial: u64,
    /// Wakes the sweeper when something ends earlier than it knows of.
    bell: Bell,
}

impl Shard {
    pub fn new(bell: Bell) -> Self {
        Self { keys: HashMap::new(), deadlines: BTreeMap::new(), serial: 0, bell }
    }

    /// The entry of a key that has not expired.
    pub fn entry(&mut self, key: &[u8], now: Millis) -> Option<&mut Entry> {
        self.expire(key, now);
        self.keys.get_mut(key)
    }

    /// The value of a key, which must be of kind `K` if there is one.
    pub fn find<K: Kind>(&mut self, key: &[u8], now: Millis) -> Result<Option<&mut K>, Fault> {
        match self.entry(key, now) {
            Some(entry) => K::of(&mut entry.value).map(Some).ok_or(Fault::WRONG_TYPE),
            None => Ok(None),
        }
    }

    /// As [`Shard::find`], with an empty collection where there was nothing. The caller puts
    /// something into it.
    pub fn find_or_new<K: Collection>(&mut self, key: &[u8], now: Millis) -> Result<&mut K, Fault> {
        self.expire(key, now);
        if !self.keys.contains_key(key) {
            self.keys.insert(key.into(), Entry { value: K::empty(), deadline: None });
        }
        let entry = self.keys.get_mut(key).expect("it is there since the line above");
        K::of(&mut entry.value).ok_or(Fault::WRONG_TYPE)
    }

    /// Changes the collection of a key, if there is one, and removes the key with its last element.
    pub fn shrink<K: Collection, T>(
        &mut self,
        key: &[u8],
        now: Millis,
        change: impl FnOnce(&mut K) -> T,
    ) -> Result<Option<T>, Fault> {
        let Some(collection) = self.find::<K>(key, now)? else { return Ok(None) };
        let result = change(collection);
        if collection.is_empty() {
            self.remove(key);
        }
        Ok(Some(result))
    }

    /// Gives a key a value and no deadline. What it had before is for the caller to drop, best when
    /// the lock is gone.
    pub fn put(&mut self, key: &[u8], value: Value) -> Option<Value> {
        match self.keys.get_mut(key) {
            Some(entry) => {
                if let Some(deadline) = entry.deadline.take() {
                    self.deadlines.remove(&deadline);
                }
                Some(std::mem::replace(&mut entry.value, value))
            }
            None => {
                self.keys.insert(key.into(), Entry { value, deadline: None });
                None
            }
        }
    }

    /// Removes a key, expired or not. The value is for the caller to drop, as in [`Shard::put`].
    pub fn remove(&mut self, key: &[u8]) -> Option<Value> {
        let entry = self.keys.remove(key)?;
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&deadline);
        }
        Some(entry.value)
    }

    /// Sets when a key ends, or with `None` that it does not; nothing if there is no such key.
    pub fn set_deadline(&mut self, key: &[u8], at: Option<Millis>) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        if let Some(old) = entry.deadline.take() {
            self.deadlines.remove(&old);
        }
        if let Some(at) = at {
            self.serial += 1;
            let deadline = Deadline { at, serial: self.serial };
            entry.deadline = Some(deadline);
            self.deadlines.insert(deadline, key.into());
            self.bell.ring_if_before(at);
        }
    }

    /// Removes up to `most` keys that have expired; their values are for the caller to drop.
    pub fn take_expired(&mut self, now: Millis, most: usize) -> Vec<Value> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(first) = self.deadlines.first_entry()
            && first.key().at <= now
        {
            let key = first.remove();
            let entry = self.keys.remove(&key).expect("a key with a deadline exists");
            taken.push(entry.value);
        }
        taken
    }

    /// When the first of its keys ends.
    pub fn first_deadline(&self) -> Option<Millis> {
        self.deadlines.first_key_value().map(|(deadline, _)| deadline.at)
    }

    /// How many keys there are, with those that have expired unseen.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many of them have a deadline.
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// The keys that have not expired.
    pub fn names(&self, now: Millis) -> impl Iterator<Item = &[u8]> {
        let live = move |entry: &Entry| entry.deadline.is_none_or(|deadline| deadline.at > now);
        self.keys.iter().filter(move |(_, entry)| live(entry)).map(|(key, _)| &**key)
    }

    /// Makes it empty; gives back a shard with what was in it, for the caller to drop.
    pub fn clear(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.bell.clone()))
    }

    fn expire(&mut self, key: &[u8], now: Millis) {
        // Nothing in this shard is due: nearly always, and then one look suffices.
        if self.first_deadline().is_some_and(|at| at <= now) {
            let is_due = |entry: &Entry| entry.deadline.is_some_and(|deadline| deadline.at <= now);
            if self.keys.get(key).is_some_and(is_due) {
                self.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::value::{List, Text};

    fn shard() -> Shard {
        Shard::new(Store::new().1.bell())
    }

    fn text(bytes: &[u8]) -> Value {
        Value::Text(Text::new(bytes))
    }

    #[test]
    fn an_expired_key_is_gone_for_whoever_looks() {
        let mut shard = shard();
        shard.put(b"a", text(b"1"));
        shard.set_deadline(b"a", Some(10));
        assert!(shard.entry(b"a", 9).is_some());
        assert_eq!((shard.names(9).count(), shard.names(10).count()), (1, 0));
        assert!(shard.entry(b"a", 10).is_none());
        assert_eq!((shard.len(), shard.deadlines()), (0, 0));
    }

    #[test]
    fn keys_and_deadlines_agree_whatever_happens() {
        let mut shard = shard();
        for key in [b"a", b"b", b"c", b"d"] {
            shard.put(key, text(b"1"));
            shard.set_deadline(key, Some(10));
        }
        shard.set_deadline(b"a", None);
        shard.set_deadline(b"b", Some(20));
        shard.put(b"c", text(b"2"));
        shard.remove(b"d");
        assert_eq!((shard.len(), shard.deadlines(), shard.first_deadline()), (3, 1, Some(20)));
        assert_eq!(shard.take_expired(19, 9).len(), 0);
        assert_eq!(shard.take_expired(20, 9).len(), 1);
        assert_eq!((shard.len(), shard.deadlines()), (2, 0));
        drop(shard.clear());
        assert_eq!(shard.len(), 0);
    }

    #[test]
    fn a_collection_goes_with_its_last_element() {
        let mut shard = shard();
        shard.find_or_new::<List>(b"a", 0).unwrap().push_back(b"1"[..].into());
        assert!(shard.find::<Text>(b"a", 0).is_err());
        let popped = shard.shrink(b"a", 0, |list: &mut List| list.pop_front()).unwrap();
        assert_eq!(popped, Some(Some(b"1"[..].into())));
        assert_eq!(shard.len(), 0);
    }
}
