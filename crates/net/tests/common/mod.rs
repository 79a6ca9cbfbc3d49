//! What the tests of sockets share: the kinds of caller, and an executor of one future.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Who runs a test's body and the parties that it starts.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Plain threads, which wait in poll(2).
    Threads,
    /// Goroutines of the process's runtime, which park.
    Goroutines,
}

impl Kind {
    /// Starts a party of this kind.
    pub fn start<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> Party<T> {
        match self {
            Self::Threads => Party::Thread(std::thread::spawn(f)),
            Self::Goroutines => Party::Goroutine(millpond_rt::go(f)),
        }
    }

    /// Runs `body` as a party of this kind and waits for its end.
    pub fn run(self, body: fn(Kind)) {
        self.start(move || body(self)).join();
    }
}

pub enum Party<T> {
    Thread(std::thread::JoinHandle<T>),
    Goroutine(millpond_rt::JoinHandle<T>),
}

impl<T: Send + 'static> Party<T> {
    pub fn join(self) -> T {
        match self {
            Self::Thread(thread) => thread.join().expect("the party panicked"),
            Self::Goroutine(goroutine) => goroutine.join().expect("the party panicked"),
        }
    }
}

/// Makes one test for each kind of caller of each function `fn(Kind)`.
#[macro_export]
macro_rules! for_all_kinds {
    ($($name:ident),* $(,)?) => {
        mod on_threads {
            $(#[test] fn $name() { $crate::common::Kind::Threads.run(super::$name); })*
        }
        mod on_goroutines {
            $(#[test] fn $name() { $crate::common::Kind::Goroutines.run(super::$name); })*
        }
    };
}

/// Drives one future on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker: Waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Descriptors that this process has open.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count()
}

/// A connected pair over the loopback interface.
pub fn tcp_pair() -> (millpond_net::TcpStream, millpond_net::TcpStream) {
    let listener = millpond_net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = millpond_net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, peer) = listener.accept().unwrap();
    assert_eq!(peer, near.local_addr().unwrap());
    (near, far)
}
