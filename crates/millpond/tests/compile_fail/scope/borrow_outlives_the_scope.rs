//! What a child borrows stays borrowed until the scope has returned, and no longer.

#[millpond::main]
fn main() {
    let mut numbers = vec![1, 2, 3];
    millpond::scope(|s| {
        s.go(|| numbers.push(4));
        numbers.push(5);
    });
    let text = String::from("gone too early");
    millpond::scope(|s| {
        s.go(|| println!("{text}"));
        drop(text);
    });
}
