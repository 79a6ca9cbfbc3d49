//! Reading what `wrk --latency` prints.
//!
//! `wrk` is the load generator that people know, so its figures can be compared with those of others; it prints for
//! eyes. A reply that is not a success, and a socket that broke, make the run a failure: an error page is served
//! faster than a page.

use super::process::{Failure, Fields};

/// Its arguments for so many connections and seconds.
pub fn arguments(address: &str, connections: u64, secs: u64) -> Vec<String> {
    let url = format!("http://{address}/");
    [
        "-t2".to_owned(),
        format!("-c{connections}"),
        format!("-d{secs}s"),
        "--latency".to_owned(),
        url,
    ]
    .to_vec()
}

/// Requests, time, and the 99th percentile.
pub fn parse(output: &str) -> Result<Fields, Failure> {
    for complaint in ["Socket errors:", "Non-2xx"] {
        if let Some(line) = output.lines().find(|line| line.trim().starts_with(complaint)) {
            return Err(format!("wrk: {}", line.trim()));
        }
    }
    let after =
        |key: &str| output.lines().find_map(|line| line.trim().strip_prefix(key).map(str::trim));
    let missing = || format!("wrk: not understood: {output:?}");
    let rate: f64 =
        after("Requests/sec:").and_then(|text| text.parse().ok()).ok_or_else(missing)?;
    let p99_ns = after("99%").and_then(nanoseconds).ok_or_else(missing)?;
    let (requests, _) = output
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .ok_or_else(missing)?;
    let requests: f64 = requests.parse().map_err(|_| missing())?;
    if requests == 0.0 {
        return Err("wrk: no request was answered".to_owned());
    }
    let ns = requests / rate * 1e9;
    Ok(Fields::from_pairs(&[("ns", ns), ("ops", requests), ("check", 0.0), ("p99_ns", p99_ns)]))
}

/// `1.23ms` and the like.
fn nanoseconds(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 2s test @ http://127.0.0.1:1/
  2 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   202.04us  230.92us   6.44ms   94.99%
  Latency Distribution
     50%  164.00us
     99%    1.25ms
  400000 requests in 2.00s, 34.1MB read
Requests/sec: 200000.00
Transfer/sec:     17.00MB
";

    #[test]
    fn the_three_figures_are_found() {
        let fields = parse(OUTPUT).unwrap();
        let get = |key| fields.get(key).unwrap();
        assert_eq!((get("ops"), get("ns"), get("p99_ns")), (400_000.0, 2e9, 1.25e6));
    }

    #[test]
    fn errors_make_a_failure() {
        for line in [
            "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
            "  Non-2xx or 3xx responses: 7\n",
        ] {
            assert!(parse(&format!("{OUTPUT}{line}")).unwrap_err().contains(line.trim()));
        }
        assert!(parse("unable to connect\n").is_err());
        assert!(parse(&OUTPUT.replace("400000 requests", "0 requests")).is_err());
    }

    #[test]
    fn times_carry_their_unit() {
        assert_eq!(nanoseconds("164.00us"), Some(164e3));
        assert_eq!(nanoseconds("2.00s"), Some(2e9));
        assert_eq!(nanoseconds("1.5"), None);
        assert_eq!(nanoseconds("1.0h"), None);
    }
}
