//! A goroutine may outlive its parent, so it borrows nothing from it; `scope` is for that.

#[millpond::main]
fn main() {
    let text = String::from("on the parent's stack");
    millpond::go(|| println!("{text}"));
}
