//! What was measured, as a table and as JSON. Figures are of the last round, where nothing else is said.
//!
//! Memory is RSS plus page tables, because page tables are memory too: a runtime that spreads
//! stacks over terabytes would look better than it is by RSS alone. "Per goroutine" is what came on
//! top of the process before the burst, over all goroutines, gates included.

use crate::table::{self, Table};
use millpond::debug::RestStats;
use millpond_sys::task::Memory;
use serde_json::{Value, json};
use std::time::Duration;

/// The figures of one run.
pub(super) struct Report {
    pub(super) count: u64,
    pub(super) live_bytes: u64,
    /// Before the first round.
    pub(super) before: Memory,
    /// The most that there was at any moment.
    pub(super) peak_bytes: u64,
    /// At least one.
    pub(super) rounds: Vec<Round>,
}

/// The figures of one round.
pub(super) struct Round {
    /// Goroutines that were woken in each round and found their bytes.
    pub(super) verified: u64,
    /// Goroutines that never started.
    pub(super) unstarted: u64,
    pub(super) spawn: Duration,
    pub(super) wake: Duration,
    pub(super) end: Duration,
    /// When no more stacks went to rest.
    pub(super) parked: Memory,
    pub(super) after: Memory,
    pub(super) resting: RestStats,
    /// After the wakes.
    pub(super) woken: RestStats,
}

impl Round {
    /// What it took to wake one from rest, in this round.
    fn wake_from_rest_ns(&self) -> u64 {
        let stacks = self.woken.woken - self.resting.woken;
        (self.woken.wake_ns - self.resting.wake_ns) / stacks.max(1)
    }
}

impl Report {
    fn last(&self) -> &Round {
        self.rounds.last().expect("there is a round")
    }

    /// Of the worst round.
    pub(super) fn verified(&self) -> u64 {
        self.rounds.iter().map(|round| round.verified).min().unwrap_or(0)
    }

    /// Of the worst round.
    pub(super) fn unstarted(&self) -> u64 {
        self.rounds.iter().map(|round| round.unstarted).max().unwrap_or(0)
    }

    fn each_ns(&self, all: Duration) -> u64 {
        all.as_nanos() as u64 / self.count
    }

    fn each_bytes(&self) -> u64 {
        self.last().parked.total_bytes().saturating_sub(self.before.total_bytes()) / self.count
    }

    pub(super) fn table(&self) -> String {
        let both = |memory: Memory| {
            let (rss, tables) = (memory.rss_bytes, memory.page_table_bytes);
            format!("{} + {}", table::bytes(rss), table::bytes(tables))
        };
        let round = self.last();
        let mut table = Table::default();
        table
            .row("goroutines", table::count(self.count))
            .row("live on each stack", table::bytes(self.live_bytes))
            .row("woken and intact", table::count(self.verified()))
            .row("spawn, each", table::nanos(self.each_ns(round.spawn)))
            .row("wake, each hop", table::nanos(self.each_ns(round.wake)))
            .row("wake and end, each", table::nanos(self.each_ns(round.end)))
            .row("memory, each", table::bytes(self.each_bytes()))
            .row("RSS + page tables before", both(self.before))
            .row("RSS + page tables parked", both(round.parked))
            .row("RSS + page tables after", both(round.after))
            .row("RSS + page tables, peak", table::bytes(self.peak_bytes))
            .row("stacks at rest", table::count(round.resting.resting as u64))
            .row("live on each", table::bytes(self.each_live_bytes()))
            .row("to rest, each", table::nanos(round.resting.mean_rest_ns()))
            .row("to wake from rest, each", table::nanos(round.wake_from_rest_ns()));
        if let [first, .., last] = self.rounds.as_slice() {
            table
                .row("rounds", table::count(self.rounds.len() as u64))
                .row("parked, first round", table::bytes(first.parked.total_bytes()))
                .row("parked, last round", table::bytes(last.parked.total_bytes()));
        }
        table.text()
    }

    /// On the stacks that rest.
    fn each_live_bytes(&self) -> u64 {
        let resting = &self.last().resting;
        (resting.live_bytes / resting.resting.max(1)) as u64
    }

    pub(super) fn json(&self) -> Value {
        let round = self.last();
        let parked = self.rounds.iter().map(|round| round.parked.total_bytes());
        json!({
            "count": self.count,
            "live_bytes": self.live_bytes,
            "verified": self.verified(),
            "unstarted": self.unstarted(),
            "spawn_ns": self.each_ns(round.spawn),
            "wake_ns": self.each_ns(round.wake),
            "end_ns": self.each_ns(round.end),
            "bytes_per_goroutine": self.each_bytes(),
            "before": of_memory(self.before),
            "parked": of_memory(round.parked),
            "after": of_memory(round.after),
            "peak_bytes": self.peak_bytes,
            "parked_bytes_by_round": parked.collect::<Vec<_>>(),
            "resting": round.resting.resting,
            "resting_live_bytes": round.resting.live_bytes,
            "resting_copy_bytes": round.resting.copy_bytes,
            "rest_ns": round.resting.mean_rest_ns(),
            "wake_from_rest_ns": round.wake_from_rest_ns(),
        })
    }

    /// Why the run counts as failed.
    pub(super) fn shortfall(&self) -> String {
        let (verified, unstarted) = (self.verified(), self.unstarted());
        let cure = if unstarted > 0 {
            "; the reason and what to raise are in the line above (MILLPOND_DEBUG=guard says how \
             stacks are guarded here); a smaller --count needs less"
        } else {
            ""
        };
        format!(
            "expected {} goroutines woken and intact, found {}; {} could not start{cure}",
            self.count, verified, unstarted
        )
    }
}

fn of_memory(memory: Memory) -> Value {
    json!({ "rss_bytes": memory.rss_bytes, "page_table_bytes": memory.page_table_bytes })
}
