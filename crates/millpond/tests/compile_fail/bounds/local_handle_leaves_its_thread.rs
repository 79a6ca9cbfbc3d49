//! The result of `go_local` need not be `Send`, so its handle stays on its thread.

#[millpond::main]
fn main() {
    let handle = millpond::go_local(|| 1);
    std::thread::spawn(move || handle.join());
}
