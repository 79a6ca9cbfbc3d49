//! A write guard can become a read guard where it is, so it may leave its thread only if several threads may read what
//! it protects.

use millpond::sync::{RwLock, RwLockWriteGuard};
use std::cell::Cell;

#[millpond::main]
fn main() {
    let lock = RwLock::new(Cell::new(0));
    let guard = lock.write();
    std::thread::scope(|s| {
        s.spawn(move || RwLockWriteGuard::downgrade(guard).set(1));
    });
}
