//! A child runs beside the body, so what it borrows is `Sync`.

use std::cell::Cell;

#[millpond::main]
fn main() {
    let count = Cell::new(0);
    millpond::scope(|s| {
        s.go(|| count.set(1));
        count.set(2);
    });
}
