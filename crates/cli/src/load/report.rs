//! What the load found, as a table and as JSON.
//!
//! Percentiles come from an HDR histogram of three digits; the largest value is exact to as many.
//! The rate is over the whole run, from the start until the last reply was in, so that replies which
//! came late do not make it better.

use crate::table::{self, Table};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Duration;

/// The percentiles that are shown, with their keys in JSON.
const PERCENTILES: [(f64, &str); 4] =
    [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9")];

/// The figures of one run.
pub(super) struct Report {
    pub(super) connections: u64,
    /// Exchanges that were right.
    pub(super) done: u64,
    /// Connections that could not be made or ended with an error.
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
    /// `None` for HTTP.
    pub(super) message_bytes: Option<u64>,
    pub(super) took: Duration,
    /// In nanoseconds.
    pub(super) times: Histogram<u64>,
}

impl Report {
    /// Whether something was exchanged, and nothing failed.
    pub(super) fn is_clean(&self) -> bool {
        self.failed == 0 && self.done > 0
    }

    fn per_second(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    pub(super) fn table(&self) -> String {
        let mut table = Table::default();
        table
            .row("connections", table::count(self.connections))
            .row("failed", table::count(self.failed))
            .row("exchanges", table::count(self.done))
            .row("per second", table::count(self.per_second() as u64));
        if let Some(bytes) = self.message_bytes {
            let rate = (self.per_second() * bytes as f64) as u64;
            table.row("each way, per second", table::bytes(rate));
        }
        for (percentile, name) in PERCENTILES {
            table.row(name, table::nanos(self.times.value_at_percentile(percentile)));
        }
        table.row("max", table::nanos(self.times.max())).text()
    }

    pub(super) fn json(&self) -> Value {
        let mut latency = serde_json::Map::new();
        for (percentile, name) in PERCENTILES {
            latency.insert(name.into(), self.times.value_at_percentile(percentile).into());
        }
        latency.insert("max".into(), self.times.max().into());
        json!({
            "connections": self.connections,
            "failed": self.failed,
            "first_failure": self.first_failure,
            "exchanges": self.done,
            "secs": self.took.as_secs_f64(),
            "per_second": self.per_second(),
            "latency_ns": latency,
        })
    }

    /// Why the run counts as failed.
    pub(super) fn complaint(&self) -> String {
        match &self.first_failure {
            Some(first) => {
                format!(
                    "{} of {} connections failed, the first: {first}",
                    self.failed, self.connections
                )
            }
            None => "no exchange was completed".to_owned(),
        }
    }
}
