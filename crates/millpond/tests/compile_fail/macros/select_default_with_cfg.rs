// Whether it waits is known where it is written.
fn main() {
    let (_tx, rx) = millpond::chan::bounded::<u8>(0);
    millpond::select! {
        _ = rx.recv() => {}
        #[cfg(test)]
        default => {}
    }
}
