//! What was measured, as a table and as JSON.
//!
//! Memory is RSS plus page tables, because page tables are memory too: a runtime that spreads
//! stacks over terabytes would look better than it is by RSS alone. "Per goroutine" is what came on
//! top of the process before the burst, over all goroutines, gates included.

use crate::table::{self, Table};
use millpond_sys::task::Memory;
use serde_json::{Value, json};
use std::time::Duration;

/// The figures of one run.
pub(super) struct Report {
    pub(super) count: u64,
    pub(super) live_bytes: u64,
    /// Goroutines that were woken in each round and found their bytes.
    pub(super) verified: u64,
    /// Goroutines that never started.
    pub(super) unstarted: u64,
    pub(super) spawn: Duration,
    pub(super) wake: Duration,
    pub(super) end: Duration,
    pub(super) before: Memory,
    pub(super) parked: Memory,
    pub(super) after: Memory,
}

impl Report {
    fn each_ns(&self, all: Duration) -> u64 {
        all.as_nanos() as u64 / self.count
    }

    fn each_bytes(&self) -> u64 {
        self.parked.total_bytes().saturating_sub(self.before.total_bytes()) / self.count
    }

    pub(super) fn table(&self) -> String {
        let both = |memory: Memory| {
            let (rss, tables) = (memory.rss_bytes, memory.page_table_bytes);
            format!("{} + {}", table::bytes(rss), table::bytes(tables))
        };
        let mut table = Table::default();
        table
            .row("goroutines", table::count(self.count))
            .row("live on each stack", table::bytes(self.live_bytes))
            .row("woken and intact", table::count(self.verified))
            .row("spawn, each", table::nanos(self.each_ns(self.spawn)))
            .row("wake, each hop", table::nanos(self.each_ns(self.wake)))
            .row("wake and end, each", table::nanos(self.each_ns(self.end)))
            .row("memory, each", table::bytes(self.each_bytes()))
            .row("RSS + page tables before", both(self.before))
            .row("RSS + page tables parked", both(self.parked))
            .row("RSS + page tables after", both(self.after));
        table.text()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "count": self.count,
            "live_bytes": self.live_bytes,
            "verified": self.verified,
            "unstarted": self.unstarted,
            "spawn_ns": self.each_ns(self.spawn),
            "wake_ns": self.each_ns(self.wake),
            "end_ns": self.each_ns(self.end),
            "bytes_per_goroutine": self.each_bytes(),
            "before": of_memory(self.before),
            "parked": of_memory(self.parked),
            "after": of_memory(self.after),
        })
    }

    /// Why the run counts as failed.
    pub(super) fn shortfall(&self) -> String {
        let cure = if self.unstarted > 0 {
            "; the reason and what to raise are in the line above (MILLPOND_DEBUG=guard says how \
             stacks are guarded here); a smaller --count needs less"
        } else {
            ""
        };
        format!(
            "expected {} goroutines woken and intact, found {}; {} could not start{cure}",
            self.count, self.verified, self.unstarted
        )
    }
}

fn of_memory(memory: Memory) -> Value {
    json!({ "rss_bytes": memory.rss_bytes, "page_table_bytes": memory.page_table_bytes })
}
