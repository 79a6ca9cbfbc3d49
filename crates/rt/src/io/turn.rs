//! A thread's turn on its processor: how long it has been busy with events, and the end of it.
//!
//! Part of what a poller keeps from round to round, so it belongs to the thread that polls. A round that
//! may sleep begins a new turn; rounds without waiting belong to the turn, and ask before the kernel is
//! asked for events, so that one batch holds what comes while the thread is away. When it is time to
//! leave is decided in [`millpond_policy::courtesy`]. A turn without events has no end of this kind: who
//! only computes gives way when the kernel says so.

use millpond_policy::courtesy::Courtesy;

/// A round of more events is a crowd: each waits for the others, far longer than for the processor, and
/// the thread does not give way.
const CROWD: usize = 64;

/// Since when the thread has been busy with events. It gives way from time to time.
#[derive(Debug, Default)]
pub(super) struct Turn {
    since_ns: u64,
    /// Whether the last round had events, and was no crowd.
    served: bool,
    courtesy: Courtesy,
}

impl Turn {
    /// The thread has slept, or was away.
    pub(super) fn begin(&mut self) {
        (self.since_ns, self.served) = (crate::clock::now_ns(), false);
    }

    /// A round of a thread that has not slept found so many.
    pub(super) fn note_events(&mut self, count: usize) {
        self.served = (1..=CROWD).contains(&count);
    }

    /// Before a round: gives the processor away if it is time.
    pub(super) fn give_way_if_due(&mut self) {
        if !self.served {
            return;
        }
        let left_ns = crate::clock::now_ns();
        if self.courtesy.is_due(self.since_ns, left_ns) {
            std::thread::yield_now();
            self.begin();
            self.courtesy.was_away(left_ns, self.since_ns);
        }
    }
}
