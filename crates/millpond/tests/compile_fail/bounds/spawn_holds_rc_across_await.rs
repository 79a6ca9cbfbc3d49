//! A task may move between threads at every await, so what it holds there is `Send`.

use std::rc::Rc;

#[millpond::main]
fn main() {
    millpond::spawn(async {
        let shared = Rc::new(1);
        std::future::ready(()).await;
        println!("{shared}");
    });
}
