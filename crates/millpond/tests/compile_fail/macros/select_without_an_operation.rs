// An arm is `pattern = operation => body`.
fn main() {
    let (_tx, rx) = millpond::chan::bounded::<u8>(0);
    millpond::select! { rx.recv() => {} }
}
