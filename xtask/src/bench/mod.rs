//! `cargo xtask bench`: the same work on Millpond, Go, tokio, smol and may, side by side.
//!
//! 1. [`options`] reads the command line, [`programs`] builds what is to be run and says what is missing;
//! 2. round after round, each row runs on each runtime, in processes of their own ([`measure`]); in each round
//!    another runtime goes first, so that none always finds the machine as the same neighbour has left it;
//! 3. the figures of the rounds become medians ([`stats`]), are judged ([`target`]) and printed as a table
//!    ([`report`]).
//!
//! What a row is stands in [`row`] and [`rows`]. Progress goes to standard error, the table to standard output. The
//! status is 1 if a run failed or answered wrongly. A missed target is a result and no failure: it stands in the
//! table.
//!
//! `bench alloc` is a table of its own ([`alloc`]), and so is `bench rest-cost` ([`rest_cost`]).
//!
//! Rejected: all rounds of one runtime after another, which would compare the machine of now with that of ten
//! minutes ago; and means, which a single neighbour can move.

mod alloc;
mod measure;
mod million;
mod options;
mod process;
mod programs;
mod report;
mod rest_cost;
mod row;
mod rows;
mod stats;
mod target;
mod wrk;

use crate::Problem;
use options::Options;
use programs::Programs;
use report::Line;
use row::{Column, Kind, Row};
use rows::ROWS;
use std::path::Path;

pub use options::USAGE;

/// Runs what the arguments ask for. `Ok(false)` if a run failed.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, Problem> {
    if let Some(("alloc", rest)) = arguments.split_first().map(|(first, rest)| (&first[..], rest)) {
        return alloc::run(root, rest);
    }
    if let Some(("rest-cost", rest)) =
        arguments.split_first().map(|(first, rest)| (&first[..], rest))
    {
        return rest_cost::run(root, rest);
    }
    let options = Options::parse(arguments)?;
    if options.list {
        ROWS.iter().for_each(|row| println!("{:<18} {}", row.name, row.title));
        return Ok(true);
    }
    let programs = Programs::build(root, &options)?;
    programs.missing.iter().for_each(|what| eprintln!("bench: {what}"));

    let mut bench = Bench { lines: lines(&options), failures: Vec::new(), programs, options };
    for round in 0..bench.options.rounds {
        bench.round(round);
    }
    bench.print()
}

/// The empty table.
fn lines(options: &Options) -> Vec<Line> {
    let line = |row: &'static Row| {
        row.metrics.iter().map(move |metric| Line { row, metric, samples: Default::default() })
    };
    options.rows().flat_map(line).collect()
}

/// A run of the table.
struct Bench {
    options: Options,
    programs: Programs,
    lines: Vec<Line>,
    failures: Vec<String>,
}

impl Bench {
    fn round(&mut self, round: usize) {
        let rows: Vec<_> = self.options.rows().collect();
        for row in rows {
            let mut columns: Vec<_> = row.on.iter().map(|&(column, _)| column).collect();
            columns.retain(|&column| self.options.wants(column) && self.can_run(row, column));
            for process in 0..row.processes {
                let first = (round + process) % columns.len().max(1);
                columns.rotate_left(first);
                eprint!("round {}/{} {}:", round + 1, self.options.rounds, row.name);
                columns.iter().for_each(|&column| self.measure(row, column));
                eprintln!();
            }
        }
    }

    fn can_run(&self, row: &Row, column: Column) -> bool {
        let control = row.kind == Kind::Control;
        let client = !matches!(row.kind, Kind::Wrk(_)) || self.programs.wrk;
        client && (control || self.programs.has(column))
    }

    /// One run: its figures go into the lines of the row.
    fn measure(&mut self, row: &'static Row, column: Column) {
        let outcome =
            measure::run(&self.programs, row, column, self.options.quick).and_then(|fields| {
                row.metrics
                    .iter()
                    .map(|metric| measure::figure(&fields, metric.figure))
                    .collect::<Result<Vec<_>, _>>()
            });
        match outcome {
            Ok(figures) => {
                let lines = self.lines.iter_mut().filter(|line| std::ptr::eq(line.row, row));
                for (line, figure) in lines.zip(figures) {
                    eprint!(" {} {}", column.name(), line.metric.unit.show(figure));
                    line.samples[column as usize].add(figure);
                }
            }
            Err(failure) => {
                eprint!(" {} FAILED", column.name());
                self.failures.push(format!("{} on {}: {failure}", row.name, column.title()));
            }
        }
    }

    fn head(&self) -> Vec<String> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        vec![
            format!("{processors} × {}", model.map_or("unknown", |(_, model)| model.trim())),
            format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            self.programs.versions.join(", "),
            format!(
                "{} rounds{}",
                self.options.rounds,
                if self.options.quick { ", quick: not to be compared" } else { "" }
            ),
        ]
    }

    fn print(self) -> Result<bool, Problem> {
        let head = self.head();
        println!(
            "{}\n\n{}\n{}",
            head.join("; "),
            report::markdown(&self.lines),
            report::summary(&self.lines)
        );
        self.programs.missing.iter().for_each(|what| println!("Not measured: {what}."));
        self.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
        if let Some(file) = &self.options.json {
            let json = report::json(&self.lines, &head, &self.failures);
            std::fs::write(file, format!("{json:#}\n"))
                .map_err(|error| format!("bench: {file}: {error}"))?;
        }
        Ok(self.failures.is_empty())
    }
}
