//! A goroutine that has not started may be stolen by another thread, so its closure is `Send`.

use std::rc::Rc;

#[millpond::main]
fn main() {
    let shared = Rc::new(1);
    millpond::go(move || println!("{shared}"));
}
