//! Who runs a test's bodies: plain threads, goroutines or tasks, in blocking or in async forms; and
//! the small tools that the tests share.

#![allow(dead_code, reason = "each test program uses a part of it")]

use millpond_sync::chan::{Receiver, RecvError, SendError, Sender};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// A kind of caller. The bodies of the tests are `async` for all of them; with [`Threads`] they
/// call the blocking forms and are never pending.
pub trait Runner: Copy + Send + Sync + 'static {
    /// Whether the bodies use the async forms.
    const ASYNC: bool;

    /// Starts `body`; calling what is returned joins it.
    fn start<F>(self, body: F) -> Box<dyn FnOnce() -> F::Output + Send>
    where
        F: Future<Output: Send> + Send + 'static;

    /// Sends in this caller's form.
    fn send<T: Send>(
        self,
        tx: &Sender<T>,
        value: T,
    ) -> impl Future<Output = Result<(), SendError<T>>> + Send {
        async move { if Self::ASYNC { tx.send_async(value).await } else { tx.send(value) } }
    }

    /// Receives in this caller's form.
    fn recv<T: Send>(self, rx: &Receiver<T>) -> impl Future<Output = Result<T, RecvError>> + Send {
        async move { if Self::ASYNC { rx.recv_async().await } else { rx.recv() } }
    }
}

/// Plain threads with the blocking forms.
#[derive(Clone, Copy)]
pub struct Threads;

/// Plain threads, each driving a future.
#[derive(Clone, Copy)]
pub struct Futures;

impl Runner for Threads {
    const ASYNC: bool = false;
    fn start<F>(self, body: F) -> Box<dyn FnOnce() -> F::Output + Send>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        // Joined through a channel: `JoinHandle::join` of a thread would block the M of a goroutine
        // that calls it, and all goroutines that are at home there.
        let (tx, rx) = millpond_sync::chan::bounded(1);
        std::thread::spawn(move || tx.send(drive(body)));
        Box::new(move || rx.recv().expect("a body panicked"))
    }
}

impl Runner for Futures {
    const ASYNC: bool = true;
    fn start<F>(self, body: F) -> Box<dyn FnOnce() -> F::Output + Send>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Threads.start(body)
    }
}

/// Goroutines with the blocking forms. Inside [`runtime`], as all below.
#[derive(Clone, Copy)]
pub struct Goroutines;

/// Goroutines, each driving a future.
#[derive(Clone, Copy)]
pub struct GoroutineFutures;

/// Tasks.
#[derive(Clone, Copy)]
pub struct Tasks;

/// Tasks that call the blocking forms: each parks the goroutine that polls it.
#[derive(Clone, Copy)]
pub struct BlockingTasks;

impl Runner for Goroutines {
    const ASYNC: bool = false;
    fn start<F>(self, body: F) -> Box<dyn FnOnce() -> F::Output + Send>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let handle = millpond_rt::go(|| millpond_rt::block_on(body));
        Box::new(|| handle.join().expect("a body ended badly"))
    }
}

impl Runner for GoroutineFutures {
    const ASYNC: bool = true;
    fn start<F>(self, body: F) -> Box<dyn FnOnce() -> F::Output + Send>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Goroutines.start(body)
    }
}

impl Runner for Tasks {
    const ASYNC: bool = true;
    fn start<F>(self, body: F) -> Box<dyn FnOnce() -> F::Output + Send>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let handle = millpond_rt::spawn(body);
        Box::new(|| handle.join().expect("a body ended badly"))
    }
}

impl Runner for BlockingTasks {
    const ASYNC: bool = false;
    fn start<F>(self, body: F) -> Box<dyn FnOnce() -> F::Output + Send>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Tasks.start(body)
    }
}

/// Runs `body` as the first goroutine of a runtime with this many Ps.
pub fn runtime<T: Send + 'static>(procs: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    millpond_rt::Builder::new().procs(procs).private().run(body).expect("the runtime starts")
}

/// Runs `body` in runtimes with one, two and eight Ps.
pub fn on_all(body: impl FnOnce() + Clone + Send + 'static) {
    for procs in [1, 2, 8] {
        runtime(procs, body.clone());
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future on a plain thread.
pub fn drive<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Polls once, then drops.
pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// A small random number generator (SplitMix64): the same seed, the same sequence.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// The seed of this run: `MILLPOND_TEST_SEED`, else the clock. Printed, so that a failure can be
/// run again.
pub fn seed() -> u64 {
    let seed = match std::env::var("MILLPOND_TEST_SEED") {
        Ok(text) => text.parse().expect("MILLPOND_TEST_SEED: a decimal number of 64 bits"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    println!("MILLPOND_TEST_SEED={seed}");
    seed
}
