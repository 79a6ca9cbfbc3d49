// There is one thing to do if nothing else can be done.
fn main() {
    millpond::select! {
        default => {}
        default => {}
    }
}
