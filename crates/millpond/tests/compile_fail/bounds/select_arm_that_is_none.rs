// What is neither a known operation nor a value that can be waited for is no arm.
fn main() {
    millpond::select! { _ = 5 => {} }
}
