//! The result may be joined by another thread, so it is `Send`.

use std::rc::Rc;

#[millpond::main]
fn main() {
    millpond::go(|| Rc::new(1));
}
