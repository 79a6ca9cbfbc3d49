//! A context goes to other threads with all its values.

use millpond::context::Key;
use std::cell::Cell;

struct Counter;
impl Key for Counter {
    type Value = Cell<u64>;
}

fn main() {}
