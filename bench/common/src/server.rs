//! What the servers share: the size of a message, the announcement, the end, the burner.
//!
//! A server prints `listening ADDRESS`, which is how the driver learns the port, and ends when its standard input
//! does. It ends by `exit`, without a tear-down: how a runtime shuts down is not what these rows are about.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The buffer with which an echo server reads. A message of the load fits into it.
pub const MESSAGE_BYTES: usize = 1024;

/// The buffer of a handler that nobody has thought about: a page, held by every connection.
pub const NAIVE_BYTES: usize = 4096;

/// Says where the server listens, and ends the process when standard input is closed.
pub fn announce(addr: SocketAddr) {
    println!("listening {addr}");
    let _ = io::stdout().flush();
    std::thread::spawn(|| {
        let _ = io::stdin().read(&mut [0; 16]);
        std::process::exit(0);
    });
}

/// Blocks the thread for ever: the servers' first thread, where the runtime does not need it.
pub fn serve_forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Computes for `length` and calls nothing that could yield.
pub fn burn(length: Duration) {
    let began = Instant::now();
    while began.elapsed() < length {
        std::hint::spin_loop();
    }
}

/// As many descriptors as the process may have.
pub fn raise_limits() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With fewer, connections beyond them fail, and the load says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
