//! A TCP echo: a goroutine for each connection, written as if there were only one.
//!
//! ```text
//! cargo run --release -p millpond --example echo -- 127.0.0.1:7000
//! printf hello | nc -N 127.0.0.1 7000
//! ```
//!
//! Nothing here is asynchronous to read: `accept`, `read` and `write_all` park the goroutine that
//! calls them, and its thread goes on with others. Port 0 picks a free port, which is printed.

use millpond::go;
use millpond::net::{TcpListener, TcpStream};
use std::io::{self, Read, Write};

#[millpond::main]
fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let listener = TcpListener::bind(addr)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (conn, peer) = listener.accept()?;
        // Dropping the handle detaches: nobody waits for this goroutine.
        drop(go(move || {
            if let Err(error) = echo(conn) {
                eprintln!("{peer}: {error}");
            }
        }));
    }
}

/// Sends back what comes, until the peer ends its side.
fn echo(mut conn: TcpStream) -> io::Result<()> {
    let mut buf = [0; 1024];
    loop {
        let got = conn.read(&mut buf)?;
        if got == 0 {
            return Ok(());
        }
        conn.write_all(&buf[..got])?;
    }
}
