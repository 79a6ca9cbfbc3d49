//! The accept loop: a goroutine for each connection, and patience when descriptors are short.
//!
//! When the process or the machine has no descriptor left, `accept` fails and the connection stays
//! in the kernel's queue, so the listener is ready still. The loop then pauses, for how long and
//! with which log lines [`millpond_policy::backoff`] decides, and tries again; connections that
//! wait meanwhile are served as soon as others close. Errors that speak of one connection only are
//! skipped. Errors that speak of the listener end the loop: a loop that went on would spin.
//!
//! Rejected: a spare descriptor that is closed in order to accept and refuse one connection (as
//! libev and nginx can): the client sees a reset instead of a wait, and with several accept loops
//! the spare is lost to a race.

use crate::drain::{Connections, Live, Manner};
use millpond_net::{Closed, TcpListener, TcpStream};
use millpond_policy::backoff::Backoff;
use millpond_rt::{GoBuilder, time};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An accept loop that is about to run.
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub use millpond_net as net; pub use millpond_service as service; }
/// use millpond::net::{TcpListener, TcpStream};
/// use millpond::service::{Acceptor, Connections};
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// # millpond_rt::Builder::new().procs(1).run(|| {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let connections = Connections::new();
/// let acceptor = Acceptor::new(listener, &connections);
/// let server = millpond::go(move || {
///     acceptor.run(|shortage| eprintln!("{shortage}"), |mut conn, _peer, _live| {
///         let _ = conn.write_all(b"hello");
///     })
/// });
///
/// let mut text = String::new();
/// TcpStream::connect(addr)?.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// assert_eq!(connections.drain(Duration::from_secs(1)).cut, 0);
/// server.join().unwrap()
/// # }).unwrap().unwrap();
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    connections: Connections,
    manner: Manner,
    goroutine: GoBuilder,
}

/// What the accept loop tells the operator, at most once a second: no descriptor, or no memory, for
/// one more connection. `Display` is the line for the log.
#[derive(Debug)]
pub struct Shortage {
    /// The last failure.
    pub error: io::Error,
    /// How many failures this stands for.
    pub failures: u64,
    /// The pause before the next try.
    pub pause: Duration,
    /// Connections that are open.
    pub open: usize,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accept: {} ({} failures, {} connections open): new connections wait; raise the limit \
             (ulimit -n) or close some",
            self.error, self.failures, self.open
        )
    }
}

impl Acceptor {
    /// A loop over `listener` whose connections are entered in `connections`, and which ends when
    /// that is drained.
    pub fn new(listener: TcpListener, connections: &Connections) -> Self {
        Self {
            listener,
            connections: connections.clone(),
            manner: Manner::EndOfInput,
            goroutine: GoBuilder::new(),
        }
    }

    /// How its connections are asked to finish. Default: [`Manner::EndOfInput`].
    pub fn manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// Name, stack and placement of the goroutines.
    pub fn goroutine(mut self, goroutine: GoBuilder) -> Self {
        self.goroutine = goroutine;
        self
    }

    /// Accepts until the connections are drained; each connection gets a goroutine that runs
    /// `handler` and closes it after that. Parks.
    ///
    /// # Errors
    /// Those of accept(2) that mean that the listener itself is broken.
    pub fn run<L, H>(self, mut log: L, handler: H) -> io::Result<()>
    where
        L: FnMut(&Shortage),
        H: Fn(TcpStream, SocketAddr, Live) + Send + Sync + 'static,
    {
        let Self { listener, connections, manner, goroutine } = self;
        let (handler, epoch) = (Arc::new(handler), Instant::now());
        let mut backoff = Backoff::new();
        connections.own(&listener);
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    backoff.succeeded();
                    // None: draining has begun, and this connection came too late.
                    let Some(live) = connections.enter(&stream, manner) else { continue };
                    let handler = handler.clone();
                    drop(goroutine.go(move || handler(stream, peer, live)));
                }
                Err(error) if Closed::is(&error) => return Ok(()),
                Err(error) if is_shortage(&error) => {
                    let now_ms = epoch.elapsed().as_millis() as u64;
                    let retry = backoff.failed(now_ms);
                    let pause = Duration::from_millis(retry.delay_ms);
                    if let Some(failures) = retry.log {
                        log(&Shortage { error, failures, pause, open: connections.open() });
                    }
                    time::sleep(pause);
                }
                Err(error) if is_of_listener(&error) => return Err(error),
                // The connection failed before it was ours (accept(2) passes on its error).
                Err(_) => {}
            }
        }
    }
}

/// No descriptor or no memory: passes when others give some back.
fn is_shortage(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    errno(error).is_some_and(|errno| short.contains(&errno))
}

/// The listener itself is not (any more) one: trying again would fail for ever.
fn is_of_listener(error: &io::Error) -> bool {
    let broken = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::FAULT];
    errno(error).is_none_or(|errno| broken.contains(&errno))
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn errors_are_of_the_machine_or_the_listener_or_one_connection() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(is_shortage(&of(errno)) && !is_of_listener(&of(errno)), "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::PROTO, Errno::PERM, Errno::NETDOWN] {
            assert!(!is_shortage(&of(errno)) && !is_of_listener(&of(errno)), "{errno}");
        }
        assert!(is_of_listener(&of(Errno::BADF)));
        assert!(is_of_listener(&io::Error::other("a runtime that has shut down")));
    }

    #[test]
    fn the_log_line_names_the_cause_and_the_cure() {
        let error = of(Errno::MFILE);
        let pause = Duration::from_millis(1);
        let line = Shortage { error, failures: 3, pause, open: 7 }.to_string();
        assert!(line.contains("Too many open files") && line.contains("3 failures"), "{line}");
        assert!(line.contains("7 connections open") && line.contains("ulimit -n"), "{line}");
    }
}
