//! A thread of the load: an epoll instance and a share of the connections.
//!
//! - closed loop: all connections send at the start, and each again as soon as its reply is complete;
//! - at times: the connections stand in one queue, in the order in which they are due; the thread sleeps until the
//!   first one is, to the millisecond that `epoll_wait` knows. What it oversleeps is its own fault and not the
//!   server's, so an exchange counts from when it was sent, and only one that had to wait for a *reply* counts from
//!   when it was due.
//!
//! Only exchanges that end within the measurement are recorded. Level-triggered: a connection is read once per
//! event, and a reply is nearly always there as a whole.

use crate::connection::Connection;
use crate::histogram::Histogram;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many events one call may bring.
const EVENTS: usize = 256;

/// The longest sleep: how late a thread may see the end.
const LONGEST: Duration = Duration::from_millis(50);

/// What the threads of a run share.
#[derive(Default)]
pub(crate) struct Phase {
    /// Where the run is: 0 warming up, 1 measuring, 2 over. Atomic, set by the first thread only.
    step: AtomicU8,
    /// Atomic: connections that have got a reply.
    served: AtomicU64,
}

impl Phase {
    pub(crate) fn measure(&self) {
        self.step.store(1, Ordering::Relaxed);
    }

    /// How many connections have got a reply.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.step.store(2, Ordering::Relaxed);
    }

    fn is_measuring(&self) -> bool {
        self.step.load(Ordering::Relaxed) == 1
    }

    fn is_over(&self) -> bool {
        self.step.load(Ordering::Relaxed) == 2
    }
}

/// The connections of one thread.
pub(crate) struct Share {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// At times: who is due next, and when. Empty in a closed loop.
    timetable: VecDeque<(Instant, usize)>,
    every: Option<Duration>,
    phase: Arc<Phase>,
    times: Histogram,
}

impl Share {
    pub(crate) fn new(
        connections: Vec<Connection>,
        every: Option<Duration>,
        phase: Arc<Phase>,
    ) -> io::Result<Share> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (index, connection) in connections.iter().enumerate() {
            epoll::add(
                &epoll,
                connection.stream(),
                EventData::new_u64(index as u64),
                EventFlags::IN,
            )?;
        }
        let (timetable, times) = (VecDeque::new(), Histogram::default());
        Ok(Share { epoll, connections, timetable, every, phase, times })
    }

    /// Until the end of the run; the times of the exchanges that were measured.
    pub(crate) fn drive(mut self) -> io::Result<Histogram> {
        self.begin()?;
        let mut events = Vec::with_capacity(EVENTS);
        while !self.phase.is_over() {
            let timeout = self.until_due();
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.serve(event.data.u64() as usize)?;
            }
            self.send_due()?;
        }
        Ok(self.times)
    }

    fn begin(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let Some(every) = self.every else {
            return self.connections.iter_mut().try_for_each(|connection| connection.send(now));
        };
        // Spread over the interval, so that they do not all come at once.
        let count = self.connections.len();
        let at = |i: usize| now + every.mul_f64(i as f64 / count as f64);
        self.timetable = (0..count).map(|i| (at(i), i)).collect();
        Ok(())
    }

    fn until_due(&self) -> Timespec {
        let until =
            self.timetable.front().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let wait = until.map_or(LONGEST, |until| until.min(LONGEST));
        // Rounded up, or the last fraction of a millisecond would be spent in a loop.
        let ms = wait.as_micros().div_ceil(1000) as i64;
        Timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 }
    }

    fn send_due(&mut self) -> io::Result<()> {
        let Some(every) = self.every else { return Ok(()) };
        let now = Instant::now();
        while let Some(&(at, index)) = self.timetable.front() {
            if at > now {
                break;
            }
            self.timetable.rotate_left(1);
            if let Some(last) = self.timetable.back_mut() {
                last.0 = at + every;
            }
            self.connections[index].due(at, now)?;
        }
        Ok(())
    }

    fn serve(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let Some(since) = connection.receive()? else { return Ok(()) };
        if connection.is_first() {
            self.phase.served.fetch_add(1, Ordering::Relaxed);
        }
        let now = Instant::now();
        if self.phase.is_measuring() {
            self.times.record(now.duration_since(since).as_nanos() as u64);
        }
        match self.every {
            None => connection.send(now),
            Some(_) => connection.send_overdue(),
        }
    }
}
