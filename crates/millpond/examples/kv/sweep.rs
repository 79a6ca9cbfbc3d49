//! The sweeper: a goroutine that removes expired keys that nobody asks for.
//!
//! It knows when the next key ends and sleeps until then; without such a key it sleeps until there
//! is one, so a quiet server uses no processor. A shard that gets an earlier deadline rings the
//! [`Bell`].
//!
//! No ring is lost. The sweeper first declares that it is expected at no time, so that everybody
//! rings; then it looks at the shards; then it says when it will come. A deadline that is set in a
//! shard before it looks there, it sees. One that is set after that (the lock of the shard orders
//! the two) finds either "at no time" or the new time, and rings if it is earlier. The ring is a
//! message in a channel with room for one, so it is kept until the sweeper waits.

use crate::shard::{Millis, Shard};
use crate::store::Store;
use millpond::chan::{self, Receiver, Sender};
use millpond::sync::Mutex;
use millpond::time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Keys that are removed under one lock.
const BATCH: usize = 64;

/// The least time between two sweeps: who sets deadlines of a millisecond all the time does not
/// make the sweeper run all the time.
const PAUSE: Duration = Duration::from_millis(10);

/// What the shards have of the sweeper.
#[derive(Debug, Clone)]
pub struct Bell {
    /// Atomic: when the sweeper comes by itself; `MAX` for never.
    expected: Arc<AtomicU64>,
    ring: Sender<()>,
}

impl Bell {
    /// Wakes the sweeper if it would come after `at` only. Never parks.
    pub fn ring_if_before(&self, at: Millis) {
        if at < self.expected.load(Ordering::Relaxed) {
            // Full: it has been rung already.
            let _ = self.ring.try_send(());
        }
    }
}

/// What the sweeper waits for.
pub struct Alarm {
    bell: Bell,
    rung: Receiver<()>,
}

impl Alarm {
    pub fn new() -> Self {
        let (ring, rung) = chan::bounded(1);
        Self { bell: Bell { expected: Arc::new(AtomicU64::new(Millis::MAX)), ring }, rung }
    }

    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    fn expect(&self, at: Option<Millis>) {
        self.bell.expected.store(at.unwrap_or(Millis::MAX), Ordering::Relaxed);
    }
}

/// Sweeps for ever. Parks nearly always.
pub fn run(store: &Store, alarm: &Alarm) {
    loop {
        alarm.expect(None);
        let next = sweep(store);
        alarm.expect(next);
        // Rung or not, it looks again. The bell lives as long as the alarm.
        match next {
            Some(at) => {
                let wait = Duration::from_millis(at.saturating_sub(store.now()));
                let _ = alarm.rung.recv_timeout(wait);
            }
            None => drop(alarm.rung.recv()),
        }
        time::sleep(PAUSE);
    }
}

/// Removes all that has expired; when the next key ends.
fn sweep(store: &Store) -> Option<Millis> {
    let now = store.now();
    store.locks().filter_map(|lock| sweep_shard(lock, now)).min()
}

/// Batch by batch, so that others get the lock in between; the values are dropped without it.
fn sweep_shard(lock: &Mutex<Shard>, now: Millis) -> Option<Millis> {
    loop {
        let mut shard = lock.lock();
        let expired = shard.take_expired(now, BATCH);
        let next = shard.first_deadline();
        drop(shard);
        if expired.len() < BATCH {
            return next;
        }
    }
}
