//! The result is taken, or dropped, on whichever thread the handle is.

use std::rc::Rc;

#[millpond::main]
fn main() {
    millpond::scope(|s| {
        s.go(|| Rc::new(2));
    });
}
