// An arm that has won runs its body: its pattern has to take what there is.
fn main() {
    let (_tx, rx) = millpond::chan::bounded::<u8>(0);
    millpond::select! { Ok(value) = rx.recv() => drop(value) }
}
