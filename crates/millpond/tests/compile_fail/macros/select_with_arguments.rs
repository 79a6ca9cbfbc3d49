// What an operation waits for, its call says without arguments.
fn main() {
    let (_tx, rx) = millpond::chan::bounded::<u8>(0);
    millpond::select! { _ = rx.recv(5) => {} }
}
