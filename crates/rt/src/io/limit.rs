//! Until when an operation may wait: Go's absolute deadline and std's time-out per operation.
//!
//! Both belong to one direction of the socket and are shared by its clones. They are read while an
//! operation waits and may be changed meanwhile, so each is one atomic number of nanoseconds,
//! where 0 says "none". A changed deadline must reach an operation that waits already: the setter
//! stores first and then kicks those in line; a waiter stands in line first and then reads. One of
//! the two sees the other, through the lock of the line.

use crate::context::Context;
use crate::wait::Until;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The limits of one direction.
#[derive(Debug, Default)]
pub(super) struct Limit {
    /// Atomic: nanoseconds since [`epoch`], plus one.
    deadline_ns: AtomicU64,
    /// Atomic: nanoseconds.
    timeout_ns: AtomicU64,
}

impl Limit {
    pub(super) fn set_deadline(&self, at: Option<Instant>) {
        let since = |at: Instant| nanos(at.saturating_duration_since(epoch())).saturating_add(1);
        self.deadline_ns.store(at.map_or(0, since), Ordering::Release);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let ns = self.deadline_ns.load(Ordering::Acquire).checked_sub(1)?;
        Some(epoch() + Duration::from_nanos(ns))
    }

    pub(super) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "set a socket time-out: expected more than zero, or None for no limit",
            ));
        }
        self.timeout_ns.store(timeout.map_or(0, nanos), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        let ns = self.timeout_ns.load(Ordering::Relaxed);
        (ns != 0).then_some(Duration::from_nanos(ns))
    }
}

/// The limit of one operation: what the caller gave, and the time-out from its first wait.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    caller: Until<'a>,
    /// Of what the caller gave and of the time-out that held at the first wait, whichever ends
    /// first.
    until: Option<Instant>,
    began: bool,
}

impl<'a> Patience<'a> {
    pub(super) fn new(caller: Until<'a>) -> Self {
        Self { caller, until: None, began: false }
    }

    /// The context that may end the operation.
    pub(super) fn context(&self) -> Option<&'a Context> {
        self.caller.context()
    }

    /// The operation has to wait: until when, at most. The context's deadline does not count.
    pub(super) fn limit(&mut self, limit: &Limit) -> Option<Instant> {
        if !self.began {
            self.began = true;
            let end = limit.timeout().and_then(|timeout| Instant::now().checked_add(timeout));
            self.until = [self.caller.deadline(), end].into_iter().flatten().min();
        }
        [self.until, limit.deadline()].into_iter().flatten().min()
    }
}

/// The origin of stored deadlines: what came before the first use counts as passed.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// 584 years at most.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the operation's deadline has passed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_survive_being_stored() {
        let limit = Limit::default();
        assert_eq!(limit.deadline(), None);
        let past = Instant::now() - Duration::from_secs(5);
        let soon = Instant::now() + Duration::from_millis(1234);
        limit.set_deadline(Some(soon));
        assert_eq!(limit.deadline(), Some(soon));
        limit.set_deadline(Some(past));
        assert!(limit.deadline().unwrap() <= Instant::now());
        limit.set_deadline(None);
        assert_eq!(limit.deadline(), None);
    }

    #[test]
    fn the_nearest_of_three_limits_holds_and_zero_is_refused() {
        let limit = Limit::default();
        let far = Instant::now() + Duration::from_secs(100);
        assert_eq!(Patience::new(Until::Forever).limit(&limit), None);
        assert_eq!(Patience::new(Until::At(far)).limit(&limit), Some(far));
        limit.set_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(Patience::new(Until::At(far)).limit(&limit).unwrap() < far);
        let near = Instant::now() + Duration::from_secs(1);
        limit.set_deadline(Some(near));
        assert_eq!(Patience::new(Until::At(far)).limit(&limit), Some(near));
        let zero = limit.set_timeout(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(zero.kind(), io::ErrorKind::InvalidInput);
    }
}
