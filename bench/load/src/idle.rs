//! Connections that have spoken once and say nothing more: what each costs the server.
//!
//! 1. the server's memory is read, resident pages and page tables ([`bench_common::footprint_of`]);
//! 2. all connections are made, one after another, and each gets its message back;
//! 3. nothing is sent, until the server's memory has not shrunk for [`CALM`]: a runtime that gives back what idle
//!    connections do not need may take its time for it, and one that does not is not waited for any longer;
//! 4. it is read again.
//!
//! What the kernel holds for a connection is the same for all and not in the figure.

use bench_common::{Args, Outcome, footprint_of, raise_limits};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// How long the server's memory has not shrunk when it counts as settled.
const CALM: Duration = Duration::from_secs(3);

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(250);

const MESSAGE: [u8; 64] = [0x5A; 64];

pub(crate) fn run(args: &Args) -> io::Result<Outcome> {
    raise_limits();
    let (conns, pid) = (args.get("conns"), args.get("pid"));
    let port = u16::try_from(args.get("port")).map_err(io::Error::other)?;
    let (before, began) = (footprint_of(pid), Instant::now());
    let streams = (0..conns).map(|index| {
        exchange(port).map_err(|error| io::Error::other(format!("connection {index}: {error}")))
    });
    let streams = streams.collect::<io::Result<Vec<_>>>()?;
    let took = began.elapsed();
    let after = settled(|| footprint_of(pid));
    let bytes = after.saturating_sub(before) / conns.max(1);
    Ok(Outcome::new(conns, took, streams.len() as u64).with("bytes", bytes))
}

/// A connection that has got its message back.
fn exchange(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.write_all(&MESSAGE)?;
    let mut reply = [0; MESSAGE.len()];
    stream.read_exact(&mut reply)?;
    if reply != MESSAGE {
        return Err(io::Error::other("the reply differs from the message"));
    }
    Ok(stream)
}

/// The least that was read before it stayed so.
fn settled(read: impl Fn() -> u64) -> u64 {
    let began = Instant::now();
    let (mut least, mut since) = (read(), began);
    while since.elapsed() < CALM && began.elapsed() < PATIENCE {
        thread::sleep(LOOK_EVERY);
        let now = read();
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::net::TcpListener;

    #[test]
    fn what_shrinks_is_waited_for() {
        let left = Cell::new(5_u64);
        let least = settled(|| left.replace(left.get().saturating_sub(1)));
        assert_eq!(least, 0);
    }

    #[test]
    fn a_server_that_answers_something_else_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            for reply in [MESSAGE, [0; 64]] {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 64]).unwrap();
                stream.write_all(&reply).unwrap();
            }
        });
        assert!(exchange(port).is_ok());
        assert!(exchange(port).unwrap_err().to_string().contains("differs"));
        server.join().unwrap();
    }
}
