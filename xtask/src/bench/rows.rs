//! The rows of the table, in its order.
//!
//! The numbers are chosen so that a run takes between a tenth of a second and a few: long against the start of a
//! process, short enough for many rounds. Where a target stands, it is the project's own promise; a row without one
//! is there because it shows something that the others hide.
//!
//! To add a row: write it for each runtime under one name, say it here, and let `check` know the answer.

use super::row::Column::{self, Go, May, Millpond, Smol, Tokio};
use super::row::{Figure, Kind, Metric, Number, Row, Statistic, Unit};
use super::target::Target::{AtLeast, AtMost, Below};

/// What every row is that does not say otherwise.
const ROW: Row = Row {
    name: "",
    title: "",
    kind: Kind::Alone,
    numbers: &[],
    on: &[],
    check: |_| 0,
    processes: 1,
    metrics: &[],
};

/// What every line is that does not say otherwise.
const PER_OPERATION: Metric = Metric {
    what: "",
    unit: Unit::Nanoseconds,
    figure: Figure::PerOperation,
    statistic: Statistic::Median,
    targets: &[],
};

const WALL: Metric = Metric { unit: Unit::Seconds, figure: Figure::Wall, ..PER_OPERATION };

const BYTES: Metric = Metric { unit: Unit::Bytes, figure: Figure::Field("bytes"), ..PER_OPERATION };

/// Bounds of what an idle connection costs its server: with a buffer that is borrowed, and with one of 4 KiB that
/// its handler holds.
const READY_CONNECTION_BYTES: f64 = 1.3 * 1024.0;
const NAIVE_CONNECTION_BYTES: f64 = 5.9 * 1024.0;

/// Bounds of a million parked goroutines: with what they have on their stacks anyway, with 256 bytes more, and
/// of both at any moment.
const MILLION_BYTES: f64 = 642e6;
const MILLION_LIVE_BYTES: f64 = 900e6;
const MILLION_PEAK_BYTES: f64 = (1 << 30) as f64;

/// Of rounds after the second; the first has what the heap did not need before.
const MILLION_GROWTH_BYTES: f64 = 8e6;

const MILLION: &[Number] = &[("count", 1_000_000, 50_000), ("rounds", 10, 3)];

/// `millpond million`, ten rounds in one process.
macro_rules! million {
    ($name:literal, $title:literal, $live:literal, $most:ident) => {
        Row {
            name: $name,
            title: $title,
            kind: Kind::Million($live),
            numbers: MILLION,
            on: &[(Millpond, "million")],
            check: |n| n("count"),
            metrics: &[
                Metric {
                    what: "parked, last round",
                    figure: Figure::Field("parked_bytes"),
                    targets: &[Below($most)],
                    ..BYTES
                },
                Metric {
                    what: "peak",
                    figure: Figure::Field("peak_bytes"),
                    targets: &[Below(MILLION_PEAK_BYTES)],
                    ..BYTES
                },
                Metric {
                    what: "growth from the second round on",
                    figure: Figure::Field("growth_bytes"),
                    targets: &[Below(MILLION_GROWTH_BYTES)],
                    ..BYTES
                },
                Metric { what: "to rest", figure: Figure::Field("rest_ns"), ..PER_OPERATION },
                Metric { what: "to wake", figure: Figure::Field("wake_ns"), ..PER_OPERATION },
            ],
            ..ROW
        }
    };
}

const IDLE_CONNECTIONS: &[Number] = &[("conns", 19_000, 1000)];

const TWENTY: Metric = Metric { statistic: Statistic::P95, ..PER_OPERATION };

/// The same program on all five.
macro_rules! everywhere {
    ($name:literal) => {
        &[(Millpond, $name), (Go, $name), (Tokio, $name), (Smol, $name), (May, $name)]
    };
}

/// The same on all but may, which cannot have so many coroutines.
macro_rules! but_may {
    ($name:literal) => {
        &[(Millpond, $name), (Go, $name), (Tokio, $name), (Smol, $name)]
    };
}

/// `0 + 1 + … + (n - 1)`.
fn sum_below(n: u64) -> u64 {
    n * n.saturating_sub(1) / 2
}

const TURNS: &[Number] = &[("goroutines", 8, 8), ("each", 500_000, 20_000)];
const BATCHES: &[Number] = &[("batches", 1000, 50), ("batch", 1000, 1000)];
const SLEEPERS: &[Number] = &[("count", 1_000_000, 20_000), ("ms", 1000, 200)];
const IDLERS: &[Number] = &[("count", 1_000_000, 50_000)];

/// Closed loops over this many connections.
macro_rules! echo {
    ($name:literal, $title:literal, $conns:literal) => {
        Row {
            name: $name,
            title: $title,
            kind: Kind::Load(&[("conns", $conns)]),
            numbers: LOAD,
            on: everywhere!("echo"),
            check: |_| $conns,
            metrics: ECHO,
            ..ROW
        }
    };
}

/// What the load generator is told besides.
const LOAD: &[Number] = &[("warm_ms", 500, 200), ("ms", 2000, 300)];

const RATE: Metric =
    Metric { what: "requests/s", unit: Unit::PerSecond, figure: Figure::Rate, ..PER_OPERATION };

const P99: Metric = Metric { what: "p99", figure: Figure::Field("p99_ns"), ..PER_OPERATION };

const CPU: Metric = Metric {
    what: "server CPU per request",
    figure: Figure::FieldPerOperation("cpu_ns"),
    ..PER_OPERATION
};

const ECHO: &[Metric] = &[
    Metric { targets: &[AtLeast(1.1, Tokio)], ..RATE },
    Metric { targets: &[AtMost(1.0, Tokio)], ..P99 },
    Metric { targets: &[AtMost(0.9, Tokio)], ..CPU },
];

const HTTP: &[(Column, &str)] = &[(Millpond, "http"), (Go, "http"), (Tokio, "http"), (May, "http")];

const HTTP_SERVICE: &[(Column, &str)] = &[(Millpond, "http_service"), (Tokio, "http")];

const HTTP_METRICS: &[Metric] = &[Metric { targets: &[AtLeast(1.0, Tokio)], ..RATE }, P99];

/// All of them.
pub const ROWS: &[Row] = &[
    Row {
        name: "control",
        title: "control: the same program in each column",
        kind: Kind::Control,
        numbers: &[("each", 60_000_000, 6_000_000)],
        on: everywhere!("control"),
        check: |_| 2,
        metrics: &[PER_OPERATION],
        ..ROW
    },
    Row {
        name: "spawn_join",
        title: "spawn + join, per goroutine",
        numbers: BATCHES,
        on: everywhere!("spawn_join"),
        check: |n| n("batches") * sum_below(n("batch")),
        metrics: &[Metric { targets: &[AtMost(0.5, Go)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "yield",
        title: "yield, 8 goroutines",
        numbers: TURNS,
        on: everywhere!("yield"),
        check: |n| n("goroutines") * n("each"),
        metrics: &[Metric { targets: &[AtMost(1.0, May)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "pingpong",
        title: "ping-pong, rendezvous, a round trip",
        numbers: &[("trips", 1_000_000, 50_000)],
        on: everywhere!("pingpong"),
        check: |n| sum_below(n("trips")),
        metrics: &[Metric { targets: &[AtMost(0.5, Go)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "pingpong-p95",
        title: "ping-pong, p95 of fresh processes",
        numbers: &[("trips", 200_000, 20_000)],
        on: everywhere!("pingpong"),
        check: |n| sum_below(n("trips")),
        processes: 4,
        metrics: &[Metric { targets: &[AtMost(1.0, Go)], ..TWENTY }],
        ..ROW
    },
    Row {
        name: "pingpong-apart",
        title: "ping-pong, forced apart, p95 of fresh processes",
        numbers: &[("trips", 5000, 1000)],
        on: &[(Millpond, "pingpong_apart"), (Go, "pingpong_apart"), (Tokio, "pingpong_apart")],
        check: |n| sum_below(n("trips")),
        processes: 4,
        metrics: &[TWENTY],
        ..ROW
    },
    Row {
        name: "mpmc",
        title: "mpmc, capacity 128, 4 + 4",
        numbers: &[
            ("producers", 4, 4),
            ("consumers", 4, 4),
            ("each", 500_000, 20_000),
            ("cap", 128, 128),
        ],
        on: everywhere!("mpmc"),
        check: |n| n("producers") * sum_below(n("each")),
        metrics: &[Metric { targets: &[AtMost(1.0, Go)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "mpsc",
        title: "mpsc, capacity 128, 4 + 1",
        numbers: &[
            ("producers", 4, 4),
            ("consumers", 1, 1),
            ("each", 500_000, 20_000),
            ("cap", 128, 128),
        ],
        on: everywhere!("mpsc"),
        check: |n| n("producers") * sum_below(n("each")),
        metrics: &[Metric { targets: &[AtMost(1.0, Go)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "select",
        title: "select over 4, capacity 128",
        numbers: &[("each", 250_000, 10_000), ("cap", 128, 128)],
        on: everywhere!("select"),
        check: |n| 4 * sum_below(n("each")),
        metrics: &[Metric { targets: &[AtMost(1.0, Tokio)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "mutex",
        title: "mutex, 8 contenders",
        numbers: &[("contenders", 8, 8), ("each", 500_000, 20_000)],
        on: everywhere!("mutex"),
        check: |n| n("contenders") * n("each"),
        metrics: &[Metric { targets: &[AtMost(1.0, Go)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "sieve",
        title: "prime sieve, 2,500 primes",
        numbers: &[("primes", 2500, 500), ("largest", 22_400, 3600)],
        on: everywhere!("sieve"),
        // The 2,500th prime and the 500th.
        check: |n| if n("primes") == 2500 { 22_307 } else { 3571 },
        metrics: &[Metric { targets: &[AtMost(0.55, Go)], ..WALL }],
        ..ROW
    },
    Row {
        name: "skynet",
        title: "skynet, a million",
        numbers: &[("leaves", 1_000_000, 10_000)],
        on: but_may!("skynet"),
        check: |n| sum_below(n("leaves")),
        metrics: &[Metric { targets: &[AtMost(0.7, Go)], ..WALL }],
        ..ROW
    },
    Row {
        name: "sleepers",
        title: "a million sleepers of 1 s",
        numbers: SLEEPERS,
        on: but_may!("sleepers"),
        check: |n| n("count"),
        metrics: &[Metric { targets: &[Below(1.9)], ..WALL }],
        ..ROW
    },
    Row {
        name: "idle",
        title: "idle goroutine",
        numbers: IDLERS,
        on: but_may!("idle"),
        check: |n| n("count"),
        metrics: &[BYTES],
        ..ROW
    },
    Row {
        name: "task-spawn_join",
        title: "tasks: spawn + join",
        numbers: BATCHES,
        on: &[(Millpond, "task_spawn_join"), (Tokio, "spawn_join"), (Smol, "spawn_join")],
        check: |n| n("batches") * sum_below(n("batch")),
        metrics: &[Metric { targets: &[AtMost(1.0, Smol)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "task-yield",
        title: "tasks: yield, 8 tasks",
        numbers: TURNS,
        on: &[(Millpond, "task_yield"), (Tokio, "yield"), (Smol, "yield")],
        check: |n| n("goroutines") * n("each"),
        metrics: &[Metric { targets: &[AtMost(1.0, Smol)], ..PER_OPERATION }],
        ..ROW
    },
    Row {
        name: "task-sleepers",
        title: "tasks: a million sleepers of 1 s",
        numbers: SLEEPERS,
        on: &[(Millpond, "task_sleepers"), (Tokio, "sleepers"), (Smol, "sleepers")],
        check: |n| n("count"),
        metrics: &[Metric { targets: &[AtMost(1.0, Smol)], ..WALL }],
        ..ROW
    },
    Row {
        name: "task-idle",
        title: "tasks: idle task",
        numbers: IDLERS,
        on: &[(Millpond, "task_idle"), (Tokio, "idle"), (Smol, "idle")],
        check: |n| n("count"),
        metrics: &[Metric { targets: &[AtMost(1.0, Smol)], ..BYTES }],
        ..ROW
    },
    echo!("echo-64", "echo, 64 connections", 64),
    echo!("echo-1000", "echo, 1,000 connections", 1000),
    echo!("echo-9000", "echo, 9,000 connections", 9000),
    Row {
        name: "imbalance",
        title: "echo, 1,000 connections of which 100 speak",
        kind: Kind::Load(&[("conns", 1000), ("hot", 10)]),
        numbers: LOAD,
        on: everywhere!("echo"),
        check: |_| 100,
        metrics: &[RATE, P99],
        ..ROW
    },
    Row {
        name: "stuck",
        title: "echo, 6,400/s, one goroutine computes 100 ms in each second",
        kind: Kind::Load(&[("conns", 64), ("every_us", 10_000)]),
        numbers: &[("warm_ms", 500, 200), ("ms", 3000, 1000), ("burn_ms", 100, 100)],
        on: everywhere!("echo"),
        check: |_| 64,
        metrics: &[Metric { targets: &[AtMost(1.0, Go)], ..P99 }],
        ..ROW
    },
    Row {
        name: "idle-tcp-4k",
        title: "19,000 idle connections, a buffer of 4 KiB each",
        kind: Kind::Idle,
        numbers: IDLE_CONNECTIONS,
        on: everywhere!("echo_4k"),
        check: |n| n("conns"),
        metrics: &[Metric { targets: &[Below(NAIVE_CONNECTION_BYTES)], ..BYTES }],
        ..ROW
    },
    Row {
        name: "idle-tcp-ready",
        title: "19,000 idle connections, a buffer when there is something to read",
        kind: Kind::Idle,
        numbers: IDLE_CONNECTIONS,
        on: &[(Millpond, "echo_ready"), (Tokio, "echo_ready")],
        check: |n| n("conns"),
        metrics: &[Metric { targets: &[Below(READY_CONNECTION_BYTES)], ..BYTES }],
        ..ROW
    },
    million!("million", "a million parked goroutines, ten times", 0, MILLION_BYTES),
    million!(
        "million-live-256",
        "a million with 256 B more on the stack, ten times",
        256,
        MILLION_LIVE_BYTES
    ),
    Row {
        name: "http-64",
        title: "HTTP hello, 64 connections",
        kind: Kind::Wrk(64),
        numbers: &[("secs", 2, 1)],
        on: HTTP,
        metrics: HTTP_METRICS,
        ..ROW
    },
    Row {
        name: "http-1000",
        title: "HTTP hello, 1,000 connections",
        kind: Kind::Wrk(1000),
        numbers: &[("secs", 2, 1)],
        on: HTTP,
        metrics: HTTP_METRICS,
        ..ROW
    },
    Row {
        name: "http_service-64",
        title: "HTTP by `millpond::service`, 64 connections",
        kind: Kind::Wrk(64),
        numbers: &[("secs", 2, 1)],
        on: HTTP_SERVICE,
        metrics: &[RATE, P99],
        ..ROW
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_has_a_name_of_its_own_a_line_and_millpond() {
        let names: HashSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        for row in ROWS {
            assert!(
                !row.title.is_empty() && !row.metrics.is_empty() && row.processes > 0,
                "{row:?}"
            );
            assert_eq!(row.on[0].0, Millpond, "{}", row.name);
        }
    }

    #[test]
    fn the_rival_of_a_target_takes_part_in_the_row() {
        for row in ROWS {
            for target in row.metrics.iter().flat_map(|metric| metric.targets) {
                let (AtMost(_, rival) | AtLeast(_, rival)) = target else { continue };
                assert!(row.on.iter().any(|(column, _)| column == rival), "{}", row.name);
            }
        }
    }

    #[test]
    fn answers_follow_from_the_numbers() {
        let expected =
            |name, quick| ROWS.iter().find(|row| row.name == name).unwrap().expected(quick);
        assert_eq!(expected("spawn_join", false), 499_500_000);
        assert_eq!(expected("skynet", false), 499_999_500_000);
        assert_eq!(expected("mpmc", true), 4 * 199_990_000);
        assert_eq!((expected("sieve", false), expected("sieve", true)), (22_307, 3571));
        assert_eq!(expected("imbalance", true), 100);
    }
}
