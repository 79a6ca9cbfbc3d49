//! One connection of the load, and what all of them share.
//!
//! A [`Client`] lives in its goroutine and speaks one of the protocols ([`Speak`]); a [`Run`] is
//! shared by all and holds the clock, the counts and the histograms. The start and the end are wait
//! groups: nobody sends before all are connected, and the report waits for the last reply.
//!
//! A connection that fails is counted with the first reason and not made again: a closed loop over a
//! server that refuses would otherwise measure how fast one can be refused.

use super::echo::Echo;
use super::http::Http;
use super::report::Report;
use crate::args::Load;
use hdrhistogram::Histogram;
use millpond::net::TcpStream;
use millpond::sync::WaitGroup;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a connect or one step of an exchange may take. Longer is a stall, and an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// Histograms, over which connections are spread.
const SHARDS: usize = 16;

/// From a nanosecond to a minute, at three digits; what is longer counts as a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds and digits are allowed")
}

/// What the server did with the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It stays open.
    Open,
    /// It said that it would close.
    Closes,
}

/// What all connections share.
pub(super) struct Run {
    target: String,
    addr: SocketAddr,
    http: bool,
    size: usize,
    conns: u32,
    /// Counts connections that are neither made nor failed.
    pub(super) connecting: WaitGroup,
    /// Counts connections that are not over.
    pub(super) running: WaitGroup,
    /// Counts one until the start.
    start: WaitGroup,
    /// When the last exchange may begin. Set once, before the start.
    until: OnceLock<Instant>,
    /// Each protected by its lock, which is never held while parked. In nanoseconds.
    histograms: Vec<Mutex<Histogram<u64>>>,
    /// Atomic: exchanges that were checked and right.
    done: AtomicU64,
    /// Atomic: connections that failed.
    failed: AtomicU64,
    /// Atomic: connections that are over.
    over: AtomicU64,
    /// The first failure, for the report. Set once.
    first_failure: OnceLock<String>,
    /// Atomic: a failure has been seen; read before the text is made.
    any_failure: AtomicBool,
}

impl Run {
    pub(super) fn new(args: &Load, addr: SocketAddr) -> Self {
        let new = || Mutex::new(histogram());
        let run = Self {
            target: args.target.clone(),
            addr,
            http: args.http,
            size: args.size as usize,
            conns: args.conns,
            connecting: WaitGroup::new(),
            running: WaitGroup::new(),
            start: WaitGroup::new(),
            until: OnceLock::new(),
            histograms: (0..SHARDS).map(|_| new()).collect(),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            over: AtomicU64::new(0),
            first_failure: OnceLock::new(),
            any_failure: AtomicBool::new(false),
        };
        run.connecting.add(args.conns as usize);
        run.running.add(args.conns as usize);
        run.start.add(1);
        run
    }

    /// Starts the exchanges, which go on for `length`; when that was.
    pub(super) fn begin(&self, length: Duration) -> Instant {
        let now = Instant::now();
        let far = Duration::from_secs(100 * 365 * 24 * 3600);
        self.until.get_or_init(|| now + length.min(far));
        self.start.done();
        now
    }

    /// Whether all connections are over, which before the end means that all have failed.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) == u64::from(self.conns)
    }

    pub(super) fn so_far(&self, elapsed: Duration) -> String {
        let done = self.done.load(Ordering::Relaxed);
        let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
        let failed = self.failed.load(Ordering::Relaxed);
        format!("{}/s  {failed} failed", crate::table::count(rate as u64))
    }

    pub(super) fn report(&self, took: Duration) -> Report {
        let mut times = histogram();
        for shard in &self.histograms {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            times.add(&*shard).expect("both have the same bounds");
        }
        Report {
            connections: u64::from(self.conns),
            done: self.done.load(Ordering::Acquire),
            failed: self.failed.load(Ordering::Acquire),
            first_failure: self.first_failure.get().cloned(),
            message_bytes: (!self.http).then_some(self.size as u64),
            took,
            times,
        }
    }

    fn note(&self, index: u32, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let shard = &self.histograms[index as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(ns);
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn fail(&self, what: &str, error: &io::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if !self.any_failure.swap(true, Ordering::Relaxed) {
            let _ = self.first_failure.set(format!("{what} {}: {error}", self.addr));
        }
    }
}

/// One connection. Dropping it counts it off, however its goroutine ended.
pub(super) struct Client {
    run: Arc<Run>,
    index: u32,
    made: Option<TcpStream>,
    connected: bool,
}

impl Client {
    /// A connection that is to be made, unless it is `made`.
    pub(super) fn new(run: Arc<Run>, index: u32, made: Option<TcpStream>) -> Self {
        Self { run, index, made, connected: false }
    }

    pub(super) fn run(&mut self) {
        let conn = match self.made.take().map_or_else(|| self.connect(), Ok) {
            Ok(conn) => conn,
            Err(error) => return self.run.fail("cannot connect to", &error),
        };
        self.count_connected();
        self.run.start.wait();
        if let Err(error) = self.exchanges(conn) {
            self.run.fail("exchange with", &error);
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&self.run.addr, PATIENCE)
    }

    fn exchanges(&self, mut conn: TcpStream) -> io::Result<()> {
        let mut speak: Box<dyn Speak> = if self.run.http {
            Box::new(Http::new(&self.run.target))
        } else {
            Box::new(Echo::new(self.index, self.run.size))
        };
        prepare(&conn)?;
        let until = *self.run.until.get().expect("set before the start");
        let mut began = Instant::now();
        while began < until {
            let after = speak.exchange(&conn)?;
            let now = Instant::now();
            self.run.note(self.index, now.duration_since(began));
            began = now;
            if after == After::Closes {
                conn = self.connect()?;
                prepare(&conn)?;
            }
        }
        Ok(())
    }

    fn count_connected(&mut self) {
        if !std::mem::replace(&mut self.connected, true) {
            self.run.connecting.done();
        }
    }
}

fn prepare(conn: &TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    conn.set_read_timeout(Some(PATIENCE))?;
    conn.set_write_timeout(Some(PATIENCE))
}

impl Drop for Client {
    fn drop(&mut self) {
        self.count_connected();
        self.run.over.fetch_add(1, Ordering::Relaxed);
        self.run.running.done();
    }
}

/// A protocol: one request and its reply, checked.
pub(super) trait Speak {
    /// Sends, waits for the whole reply, and checks it. Parks.
    fn exchange(&mut self, conn: &TcpStream) -> io::Result<After>;
}

/// A reply that is not what it should be.
pub(super) fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
