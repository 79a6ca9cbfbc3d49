//! What a row of the table is made of: work, numbers, columns, lines, units.
//!
//! A [`Row`] names one piece of work and the programs that do it ([`Row::on`]): nearly always the program of the
//! same name on each runtime, and Millpond's tasks against the only kind that the others have. It has one or more
//! [`Metric`]s, each of which is a line of the table. The answer of each run is checked against [`Row::check`],
//! which computes it from the numbers.
//!
//! The rows themselves stand in `rows`; how they are run, in `measure`.

use super::target::Target;
use Column::{Go, May, Millpond, Smol, Tokio};

/// A column of the table: a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Goroutines or tasks of this project.
    Millpond,
    /// Go.
    Go,
    /// tokio.
    Tokio,
    /// smol.
    Smol,
    /// may.
    May,
}

impl Column {
    /// All, in the order of the table.
    pub const ALL: [Column; 5] = [Millpond, Go, Tokio, Smol, May];

    /// As the command line and the programs say it.
    pub fn name(self) -> &'static str {
        match self {
            Millpond => "millpond",
            Go => "go",
            Tokio => "tokio",
            Smol => "smol",
            May => "may",
        }
    }

    /// As the table says it.
    pub fn title(self) -> &'static str {
        match self {
            Millpond => "Millpond",
            Go => "Go",
            other => other.name(),
        }
    }
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Shown in nanoseconds, microseconds, milliseconds: what fits.
    Nanoseconds,
    /// Seconds of the clock.
    Seconds,
    /// Bytes, from a million on in millions.
    Bytes,
    /// Events in a second.
    PerSecond,
}

impl Unit {
    /// With its unit, to three digits.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds if value < 1e3 => format!("{} ns", three(value)),
            Unit::Nanoseconds if value < 1e6 => format!("{} µs", three(value / 1e3)),
            Unit::Nanoseconds => format!("{} ms", three(value / 1e6)),
            Unit::Seconds => format!("{} s", three(value)),
            Unit::Bytes if value < 1e6 => format!("{value:.0} B"),
            Unit::Bytes => format!("{} MB", three(value / 1e6)),
            Unit::PerSecond if value < 1e3 => three(value),
            Unit::PerSecond => format!("{} k", three(value / 1e3)),
        }
    }
}

fn three(value: f64) -> String {
    match value {
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Which figure of an outcome a line of the table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Time by operations.
    PerOperation,
    /// Time, in seconds.
    Wall,
    /// Operations by time.
    Rate,
    /// A field, as it is.
    Field(&'static str),
    /// A field by operations.
    FieldPerOperation(&'static str),
}

/// How many rounds become one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// The middle one.
    Median,
    /// One that only one in twenty exceeds.
    P95,
}

/// A line of the table.
#[derive(Debug)]
pub struct Metric {
    /// What is added to the title of the row.
    pub what: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Where it is found.
    pub figure: Figure,
    /// How rounds become one figure.
    pub statistic: Statistic,
    /// What was promised.
    pub targets: &'static [Target],
}

/// How a row is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One process that does the work and says how long it took.
    Alone,
    /// The same, by the load generator in the place of each runtime: the control.
    Control,
    /// A server, and our load generator with these numbers.
    Load(&'static [(&'static str, u64)]),
    /// A server, and our load generator, whose connections speak once and then stand.
    Idle,
    /// A server, and `wrk` with so many connections.
    Wrk(u64),
    /// `millpond million`, with so many bytes live on each stack.
    Million(u64),
}

/// Computes the answer of a row from its numbers, which it asks for by name.
pub type Check = fn(&dyn Fn(&str) -> u64) -> u64;

/// A number of a row: name, in full, and with `--quick`.
pub type Number = (&'static str, u64, u64);

/// A piece of work.
#[derive(Debug)]
pub struct Row {
    /// As the command line says it.
    pub name: &'static str,
    /// As the table says it.
    pub title: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// What the programs are told.
    pub numbers: &'static [Number],
    /// Who takes part, and under which name the program knows the work.
    pub on: &'static [(Column, &'static str)],
    /// What the answer has to be.
    pub check: Check,
    /// How often it runs in each round; more than once where the figure is about how a process begins.
    pub processes: usize,
    /// Its lines.
    pub metrics: &'static [Metric],
}

impl Row {
    /// The value of a number.
    pub fn number(&self, name: &str, quick: bool) -> u64 {
        let number = self.numbers.iter().find(|number| number.0 == name);
        number.map_or(0, |&(_, full, less)| if quick { less } else { full })
    }

    /// What the answer has to be.
    pub fn expected(&self, quick: bool) -> u64 {
        (self.check)(&|name| self.number(name, quick))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_shown_with_three_digits_in_the_unit_that_fits() {
        let shown = [
            (Unit::Nanoseconds, 9.876, "9.88 ns"),
            (Unit::Nanoseconds, 248.4, "248 ns"),
            (Unit::Nanoseconds, 4_321.0, "4.32 µs"),
            (Unit::Nanoseconds, 12_340_000.0, "12.3 ms"),
            (Unit::Seconds, 0.2034, "0.20 s"),
            (Unit::Bytes, 208.6, "209 B"),
            (Unit::Bytes, 626_400_000.0, "626 MB"),
            (Unit::PerSecond, 312_800.0, "313 k"),
            (Unit::PerSecond, 99.9, "99.9"),
        ];
        for (unit, value, text) in shown {
            assert_eq!(unit.show(value), text);
        }
    }
}
