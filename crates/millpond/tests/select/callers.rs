//! The three kinds of caller. A body with blocking forms runs from each of them.

use std::time::Duration;

/// Longer than anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `body` in a goroutine, in a plain thread, and in a task, one after the other.
pub fn from_each(body: fn()) {
    runtime(move || millpond::go(body).join().expect("from a goroutine"));
    runtime(move || {
        let (done, joined) = millpond::chan::bounded::<()>(0);
        let thread = std::thread::spawn(move || {
            let _done = done;
            body();
        });
        // The thread's `join` would block the M, and with it the goroutines that are at home here.
        assert!(joined.recv().is_err());
        thread.join().expect("from a plain thread");
    });
    runtime(move || millpond::spawn(async move { body() }).join().expect("from a task"));
}

/// Runs `body` as the first goroutine of a runtime with as many Ps as `MILLPOND_PROCS` says. What
/// plain threads start goes to the runtime of the process instead, which does not end with a test.
pub fn runtime<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    millpond::runtime::Builder::new().private().run(body).expect("the runtime starts")
}
