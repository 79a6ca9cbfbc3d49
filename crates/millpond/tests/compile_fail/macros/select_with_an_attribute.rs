// An arm is switched by `#[cfg]`, and its lints by their names.
fn main() {
    let (_tx, rx) = millpond::chan::bounded::<u8>(0);
    millpond::select! { #[inline] _ = rx.recv() => {} }
}
