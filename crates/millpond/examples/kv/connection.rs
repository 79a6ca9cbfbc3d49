//! A connection's loop: wait, receive, do all that is whole, reply once.
//!
//! 1. [`readable`](TcpStream::readable) parks without a buffer in hand. Then a desk is borrowed.
//! 2. What has arrived is received, and all commands in it that are whole are done in their order.
//!    Their replies are collected and written together: a pipeline of sixteen commands costs one
//!    read and one write.
//! 3. With nothing half received the desk goes back, and it is 1 again; otherwise 2.
//!
//! Replies beyond [`FLUSH_BYTES`] are written before the next command is done. A client that sends
//! and does not read is so stopped by its own socket, and holds a bounded amount of memory; after
//! [`PATIENCE`] it loses the connection.

use crate::commands::Call;
use crate::desk::Desk;
use crate::parser::Malformed;
use crate::server::Server;
use millpond::net::TcpStream;
use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Replies that are collected before they are written.
const FLUSH_BYTES: usize = 64 << 10;

/// How long a client may leave a reply unread.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long, and for how much, we listen to a client after the last word.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;

/// Serves a connection to its end.
pub fn serve(conn: &TcpStream, server: &Server) {
    server.accepted.fetch_add(1, Ordering::Relaxed);
    // How it ends concerns nobody else: the peer has gone, or was too slow.
    let _ = run(conn, server);
}

fn run(conn: &TcpStream, server: &Server) -> io::Result<()> {
    conn.set_nodelay(true)?;
    conn.set_write_timeout(Some(PATIENCE))?;
    loop {
        conn.readable()?;
        let mut desk = Desk::borrow();
        let then = work(&mut desk, conn, server)?;
        desk.give_back();
        match then {
            Then::Wait => {}
            Then::Close => return linger(conn),
            Then::Ended => return Ok(()),
        }
    }
}

/// What follows when there is nothing more to do.
enum Then {
    /// The next command begins from nothing.
    Wait,
    /// We end the connection.
    Close,
    /// The peer has ended it.
    Ended,
}

/// Steps 2 and 3.
fn work(desk: &mut Desk, conn: &TcpStream, server: &Server) -> io::Result<Then> {
    loop {
        if desk.input.receive(conn)? == 0 {
            return Ok(Then::Ended);
        }
        let go_on = obey(desk, conn, server)?;
        desk.reply.send(conn)?;
        if !go_on {
            return Ok(Then::Close);
        }
        if desk.input.pending().is_empty() {
            return Ok(Then::Wait);
        }
    }
}

/// Does all commands that are whole. `false`: the connection is to end.
fn obey(desk: &mut Desk, conn: &TcpStream, server: &Server) -> io::Result<bool> {
    let Desk { input, parser, reply } = desk;
    // One look at the clock for all that arrived together, as in Redis.
    let mut now = server.store.now();
    let mut processed = 0;
    let mut go_on = true;
    while go_on && !input.pending().is_empty() {
        match parser.parse(input.pending()) {
            Ok(Some(used)) => {
                let args = parser.args(input.pending());
                if args.len() > 0 {
                    server.commands.run(&Call { args, server, now }, reply);
                    processed += 1;
                }
                input.done(used);
                go_on = !reply.is_closing();
            }
            Ok(None) => break,
            Err(Malformed(text)) => {
                reply.error(&format!("ERR {text}"));
                go_on = false;
            }
        }
        if reply.len() > FLUSH_BYTES {
            reply.send(conn)?;
            now = server.store.now();
        }
    }
    server.processed.fetch_add(processed, Ordering::Relaxed);
    Ok(go_on)
}

/// Ends the connection so that the peer gets the last reply. To close a socket with unread input
/// resets it, and a reset overtakes what was written; so the rest is read first, up to a limit.
fn linger(mut conn: &TcpStream) -> io::Result<()> {
    conn.shutdown(Shutdown::Write)?;
    conn.set_read_deadline(Instant::now().checked_add(LINGER));
    let mut scrap = [0; 4096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match conn.read(&mut scrap)? {
            0 => break,
            got => left = left.saturating_sub(got),
        }
    }
    Ok(())
}
