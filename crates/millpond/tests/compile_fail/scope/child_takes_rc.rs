//! A child may start on another thread, so what it takes is `Send`.

use std::rc::Rc;

#[millpond::main]
fn main() {
    let shared = Rc::new(1);
    millpond::scope(|s| {
        let theirs = shared.clone();
        s.go(move || println!("{theirs}"));
    });
}
