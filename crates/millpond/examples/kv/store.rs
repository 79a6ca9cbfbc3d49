//! The keys, spread over shards with a lock each.
//!
//! A command locks the shard of its key for the few hundred nanoseconds that it needs, and never
//! waits for a client meanwhile. With as many shards as here two commands rarely meet, and where
//! they do, `millpond::sync::Mutex` parks the goroutine and not its thread.
//!
//! Commands on several keys are atomic, as in Redis: they lock all their shards, always in the
//! order of the shards, so that two of them cannot wait for each other.
//!
//! Rejected: a goroutine that owns the shard and receives commands (examples/actor.rs shows that
//! pattern). It needs two messages for each command, some of them across threads, where an
//! uncontended lock is one instruction; a pipeline of sixteen would pay it sixteen times. And one
//! lock for all: it is simpler, and every two threads meet at it.

use crate::shard::{Millis, Shard};
use crate::sweep::Alarm;
use millpond::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// A power of two, well above the number of threads.
const SHARDS: usize = 64;

/// Two shards in one cache line would make their locks one for the processor.
#[repr(align(128))]
struct Slot(Mutex<Shard>);

pub struct Store {
    slots: Box<[Slot]>,
    /// Where its clock begins. Not the time of day: that is set back and forth.
    epoch: Instant,
}

impl Store {
    /// An empty store, and what its sweeper waits for.
    pub fn new() -> (Self, Alarm) {
        let alarm = Alarm::new();
        let slots = (0..SHARDS).map(|_| Slot(Mutex::new(Shard::new(alarm.bell())))).collect();
        (Self { slots, epoch: Instant::now() }, alarm)
    }

    /// The time on the store's clock.
    pub fn now(&self) -> Millis {
        self.epoch.elapsed().as_millis() as Millis
    }

    /// The shard of a key, locked. Parks while somebody else has it.
    pub fn lock(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        self.slots[place(key)].0.lock()
    }

    /// The shards of some keys, all locked.
    pub fn lock_all<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Locked<'_> {
        let mut places: Vec<usize> = keys.map(place).collect();
        places.sort_unstable();
        places.dedup();
        let lock = |place: usize| (place, self.slots[place].0.lock());
        Locked { shards: places.into_iter().map(lock).collect() }
    }

    /// Every shard, locked one after the other.
    pub fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.locks().map(Mutex::lock)
    }

    /// Every shard, not locked.
    pub fn locks(&self) -> impl Iterator<Item = &Mutex<Shard>> {
        self.slots.iter().map(|slot| &slot.0)
    }

    /// Removes all keys at one moment.
    pub fn clear(&self) {
        let mut shards: Vec<_> = self.shards().collect();
        let contents: Vec<_> = shards.iter_mut().map(|shard| shard.clear()).collect();
        // Freeing millions of values takes long, and nobody has to wait for it.
        drop(shards);
        drop(contents);
    }
}

/// Locked shards, in their order.
pub struct Locked<'a> {
    shards: Vec<(usize, MutexGuard<'a, Shard>)>,
}

impl Locked<'_> {
    /// The shard of one of the keys.
    pub fn of(&mut self, key: &[u8]) -> &mut Shard {
        let at = self.shards.binary_search_by_key(&place(key), |(place, _)| *place);
        &mut self.shards[at.expect("all keys were locked together")].1
    }
}

/// Which shard has a key: FNV-1a, and a multiplication that spreads its good bits, the low ones.
/// Whoever makes all keys fall into one shard gets a slower server for himself; the maps in the
/// shards, where collisions would hurt, hash with a secret.
fn place(key: &[u8]) -> usize {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, step);
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Text, Value};

    #[test]
    fn keys_of_all_kinds_are_spread_evenly() {
        let mut counts = [0; SHARDS];
        for i in 0..SHARDS * 1000 {
            counts[place(format!("key:{i:012}").as_bytes())] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn several_keys_are_locked_whatever_their_order_and_repetition() {
        let (store, _alarm) = Store::new();
        let keys: [&[u8]; 4] = [b"a", b"b", b"a", b"c"];
        let mut locked = store.lock_all(keys.into_iter());
        for key in keys {
            locked.of(key).put(key, Value::Text(Text::new(key)));
        }
        drop(locked);
        assert_eq!(store.shards().map(|shard| shard.len()).sum::<usize>(), 3);
        store.clear();
        assert_eq!(store.shards().map(|shard| shard.len()).sum::<usize>(), 0);
    }
}
