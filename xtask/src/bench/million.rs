//! The rows that `millpond million` measures itself: its report, as fields.
//!
//! The program and not one of the benchmarks', because what a million parked goroutines take is also the allocator's
//! doing, and that program has ours. Memory is of whole processes, RSS and page tables; times are of the last
//! round.

use super::process::{Failure, Fields};
use serde_json::Value;
use std::time::Duration;

/// Ten rounds with a million take four minutes on two processors.
pub const LIMIT: Duration = Duration::from_secs(900);

/// Reads the report.
pub fn parse(output: &str) -> Result<Fields, Failure> {
    let report: Value = serde_json::from_str(output)
        .map_err(|error| format!("expected a report in JSON, found {output:?}: {error}"))?;
    let get =
        |key: &str| report[key].as_f64().ok_or_else(|| format!("the report has no number {key}"));
    let rounds = report["parked_bytes_by_round"].as_array().into_iter().flatten();
    let parked: Vec<f64> = rounds.filter_map(Value::as_f64).collect();
    let [.., last] = parked[..] else {
        return Err("the report has no parked_bytes_by_round".to_owned());
    };
    let count = get("count")?;
    Ok(Fields::from_pairs(&[
        ("ns", get("spawn_ns")? * count),
        ("ops", count),
        ("check", get("verified")?),
        ("parked_bytes", last),
        ("peak_bytes", get("peak_bytes")?),
        ("growth_bytes", (last - parked.get(1).unwrap_or(&last)).max(0.0)),
        ("rest_ns", get("rest_ns")?),
        ("wake_ns", get("wake_from_rest_ns")?),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_counts_from_the_second_round() {
        let report = |rounds: &str| {
            format!(
                r#"{{"count":10,"verified":10,"spawn_ns":3,"peak_bytes":900,"rest_ns":1,
                "wake_from_rest_ns":2,"parked_bytes_by_round":[{rounds}]}}"#
            )
        };
        for (rounds, parked, growth) in
            [("5,7,6,9", 9.0, 2.0), ("5,7,6", 6.0, 0.0), ("5", 5.0, 0.0)]
        {
            let fields = parse(&report(rounds)).unwrap();
            let found =
                ["check", "parked_bytes", "growth_bytes"].map(|key| fields.get(key).unwrap());
            assert_eq!(found, [10.0, parked, growth], "{rounds}");
        }
        assert!(parse(&report("")).is_err());
        assert!(parse("no stack left").unwrap_err().contains("no stack left"));
    }
}
