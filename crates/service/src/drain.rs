//! Which connections are open, and how they end together.
//!
//! [`Connections`] holds a handle to the socket of each open connection, from `enter` until its
//! [`Live`] is dropped. That is what draining needs:
//!
//! 1. listeners that belong to it are closed: the kernel refuses new connections;
//! 2. each open connection is asked to finish, in the manner that it was entered with;
//! 3. the caller waits until all have gone or the time is up;
//! 4. what is left is cut: its socket is closed under it, its operations fail with
//!    [`Closed`](millpond_net::Closed), and its goroutine ends like after any other error.
//!
//! Rejected: to keep join handles instead of sockets. A started goroutine cannot be stopped from
//! outside, so a handle can be waited for but not be asked; a socket can end a wait in `read`.

use millpond_net::{TcpListener, TcpStream};
use millpond_prim::sync::Lock;
use millpond_sync::{WaitGroup, chan};
use slab::Slab;
use std::convert::Infallible;
use std::fmt;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// How a connection is asked to finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// The reading side is shut down. What had arrived can still be read; then comes the end of
    /// input, and the handler ends as if the peer had closed. For protocols without an idea of a
    /// request, like echo.
    #[default]
    EndOfInput,
    /// Only [`Live::stopping`] tells. For handlers that must still read: the rest of a request.
    Signal,
}

/// The open connections of a service. Clones are the same set.
#[derive(Clone)]
pub struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    /// Protected by the lock.
    set: Lock<Set>,
    /// Counts the entries, for those who wait.
    group: WaitGroup,
    /// Carries nothing: closed when draining begins, which wakes all who receive.
    stopping: (chan::Sender<Infallible>, chan::Receiver<Infallible>),
}

#[derive(Default)]
struct Set {
    entries: Slab<Entry>,
    listeners: Vec<TcpListener>,
    draining: bool,
}

struct Entry {
    /// A second handle to the connection's socket.
    stream: TcpStream,
    manner: Manner,
}

/// What a drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Connections that finished by themselves.
    pub finished: usize,
    /// Connections that were cut when the time was up.
    pub cut: usize,
}

impl Connections {
    /// An empty set.
    pub fn new() -> Self {
        let shared =
            Shared { set: Lock::default(), group: WaitGroup::new(), stopping: chan::bounded(1) };
        Self { shared: Arc::new(shared) }
    }

    /// Enters an open connection; it stays until the [`Live`] is dropped. `None` once draining has
    /// begun: then the connection is not to be served.
    pub fn enter(&self, stream: &TcpStream, manner: Manner) -> Option<Live> {
        let stream = stream.try_clone().expect("a clone shares the descriptor and cannot fail");
        let mut set = self.shared.set.lock();
        if set.draining {
            return None;
        }
        self.shared.group.add(1);
        let key = set.entries.insert(Entry { stream, manner });
        drop(set);
        Some(Live { connections: self.clone(), key })
    }

    /// Makes `listener` one that draining closes.
    pub fn own(&self, listener: &TcpListener) {
        let listener = listener.try_clone().expect("a clone shares the descriptor and cannot fail");
        let mut set = self.shared.set.lock();
        if set.draining {
            drop(set);
            listener.close();
        } else {
            set.listeners.push(listener);
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.set.lock().entries.len()
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.shared.set.lock().draining
    }

    /// Stops accepting, asks all connections to finish, waits until they have or `limit` has
    /// passed, and cuts what is left. Parks. For ever after, no connection can be entered.
    pub fn drain(&self, limit: Duration) -> Drained {
        let before = self.ask();
        let all_gone = self.shared.group.wait_timeout(limit);
        let cut = if all_gone { 0 } else { self.cut() };
        Drained { finished: before.saturating_sub(cut), cut }
    }

    /// Steps 1 and 2; how many connections there were. Sockets are touched without the lock.
    fn ask(&self) -> usize {
        let mut set = self.shared.set.lock();
        set.draining = true;
        let listeners = std::mem::take(&mut set.listeners);
        let open = set.entries.len();
        let streams = set.streams(|entry| entry.manner == Manner::EndOfInput);
        drop(set);
        listeners.iter().for_each(TcpListener::close);
        self.shared.stopping.0.close();
        for stream in streams {
            // Fails only if the peer was faster, and then the handler sees that.
            let _ = stream.shutdown(Shutdown::Read);
        }
        open
    }

    fn cut(&self) -> usize {
        let streams = self.shared.set.lock().streams(|_| true);
        streams.iter().for_each(TcpStream::close);
        streams.len()
    }
}

impl Set {
    fn streams(&self, which: impl Fn(&Entry) -> bool) -> Vec<TcpStream> {
        let chosen = self.entries.iter().filter(|(_, entry)| which(entry));
        chosen.filter_map(|(_, entry)| entry.stream.try_clone().ok()).collect()
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("open", &self.open()).finish_non_exhaustive()
    }
}

/// A connection's place in [`Connections`]: dropping it says that the connection is over.
pub struct Live {
    connections: Connections,
    key: usize,
}

impl Live {
    /// Waits until the connection is asked to finish. Never, if that does not happen.
    pub async fn stopping(&self) {
        // Nothing can be sent, so the receive ends when the channel is closed.
        let _closed = self.connections.shared.stopping.1.recv_async().await;
    }

    /// Whether the connection is asked to finish.
    pub fn is_stopping(&self) -> bool {
        self.connections.shared.stopping.1.is_closed()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let shared = &self.connections.shared;
        let entry = shared.set.lock().entries.remove(self.key);
        // Not under the lock: it may be the last handle, and closing a socket is a system call.
        drop(entry);
        shared.group.done();
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("stopping", &self.is_stopping()).finish_non_exhaustive()
    }
}
