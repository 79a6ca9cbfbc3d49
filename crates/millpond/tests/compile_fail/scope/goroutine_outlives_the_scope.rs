//! Inside a scope a plain goroutine is still `'static`: it may outlive the scope.

#[millpond::main]
fn main() {
    let text = String::from("on the parent's stack");
    millpond::scope(|s| {
        millpond::go(move || s.go(|| println!("never")));
        millpond::go(|| println!("{text}"));
    });
}
