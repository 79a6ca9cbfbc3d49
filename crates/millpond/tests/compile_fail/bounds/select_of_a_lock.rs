// A lock is no arm: a goroutine waits for it, or a form with a context or a time.
use millpond::{select, sync::Mutex};

fn main() {
    let mutex = Mutex::new(1);
    select! { guard = mutex.lock() => drop(guard) }
}
