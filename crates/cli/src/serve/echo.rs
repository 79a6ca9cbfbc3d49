//! The TCP echo: a goroutine for each connection, a small buffer on its stack.
//!
//! Two guards against peers that are gone without a word: a limit on each read and write
//! (`--idle`), and the kernel's keep-alive probes, which find a dead peer earlier if the limit is
//! long. Between messages the goroutine waits for readiness and holds no buffer: the buffer lives
//! in a function of its own, below the frame that waits.

use super::Server;
use millpond::net::TcpStream;
use millpond::service::Live;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a connection is silent before the kernel probes it.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// What is read at once.
const BUFFER_BYTES: usize = 2048;

pub(super) fn handler(
    server: &Arc<Server>,
) -> impl Fn(TcpStream, SocketAddr, Live) + Send + Sync + 'static {
    let server = server.clone();
    move |conn, _peer, _live| {
        // How a connection ends is the peer's business: closed, reset, or silent for too long.
        let _ = echo(&conn, &server);
    }
}

fn echo(conn: &TcpStream, server: &Server) -> io::Result<()> {
    conn.set_nodelay(true)?;
    conn.set_keepalive(Some(PROBE_AFTER))?;
    conn.set_read_timeout(Some(server.args.idle))?;
    conn.set_write_timeout(Some(server.args.idle))?;
    loop {
        conn.readable()?;
        if echo_once(conn)? == 0 {
            return Ok(());
        }
        server.served.fetch_add(1, Ordering::Relaxed);
    }
}

/// Not inlined, so that its buffer is not part of the frame that waits.
#[inline(never)]
fn echo_once(mut conn: &TcpStream) -> io::Result<usize> {
    let mut buf = [0; BUFFER_BYTES];
    let got = conn.read(&mut buf)?;
    conn.write_all(&buf[..got])?;
    Ok(got)
}
