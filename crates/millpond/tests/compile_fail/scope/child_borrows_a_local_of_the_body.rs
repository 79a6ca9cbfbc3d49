//! The body ends before its children do, so they borrow nothing from it.

#[millpond::main]
fn main() {
    millpond::scope(|s| {
        let text = String::from("in the body");
        s.go(|| println!("{text}"));
    });
}
