//! All who share a `OnceCell` read its value at once.

use millpond::sync::OnceCell;
use std::cell::Cell;

#[millpond::main]
fn main() {
    let cell = OnceCell::from(Cell::new(0));
    std::thread::scope(|s| {
        s.spawn(|| cell.wait().set(1));
    });
}
