//! A mutex guard may be sent to another thread if its value may, but two threads that share it share its value.

use millpond::sync::Mutex;
use std::cell::Cell;

#[millpond::main]
fn main() {
    let lock = Mutex::new(Cell::new(0));
    let guard = lock.lock();
    std::thread::scope(|s| {
        s.spawn(|| guard.set(1));
    });
}
