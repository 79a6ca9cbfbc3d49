// A value that an arm has sent is gone in that arm's body.
fn main() {
    let (tx, _rx) = millpond::chan::bounded(0);
    let text = String::from("hello");
    millpond::select! { _ = tx.send(text) => println!("{text}") }
}
