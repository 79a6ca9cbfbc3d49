//! What the benchmark programs share: the command line, the result line, memory, servers, the control.
//!
//! A program is a list of [`Row`]s. It is started anew for each measurement, as `PROGRAM ROW key=value…`, and
//! prints one line: `ns=… ops=… check=…`. The driver (`cargo xtask bench`) chooses the numbers, so that all
//! programs do the same work, and knows what `check` has to be, so that a program which loses a message is not a
//! fast program.
//!
//! 1. [`main`] finds the row and hands it its [`Args`];
//! 2. the row makes its runtime with [`WORKERS`] workers, does the work inside of it, and times what the driver
//!    asked for and not the start of threads;
//! 3. its [`Outcome`] is printed.
//!
//! A server does not end by itself: it [`announce`]s where it listens and is over when its standard input closes,
//! so that no server outlives a driver that was killed.
//!
//! Rejected: a benchmark framework. It would measure inside one process, where the second runtime finds the
//! allocator and the caches as the first has left them, and its threads beside those of the first.

#![forbid(unsafe_code)]

mod control;
mod memory;
mod server;

pub use control::control;
pub use memory::{footprint_bytes, footprint_of, per_item_bytes};
pub use server::{MESSAGE_BYTES, NAIVE_BYTES, announce, burn, raise_limits, serve_forever};

use std::process::ExitCode;
use std::time::Duration;

/// How many workers every runtime gets. The table of the README is one of two processors.
pub const WORKERS: usize = 2;

/// A benchmark: its name, and what does it.
pub type Row = (&'static str, fn(&Args) -> Outcome);

/// The numbers that the driver asked for.
#[derive(Debug, Default, Clone)]
pub struct Args {
    values: Vec<(String, u64)>,
}

impl Args {
    fn parse(words: &[String]) -> Result<Args, String> {
        let pair = |word: &String| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), value.parse().ok()?))
        };
        let mut args = Args::default();
        for word in words {
            args.values.push(pair(word).ok_or(format!("expected key=number, found {word}"))?);
        }
        Ok(args)
    }

    /// The number that was given for `key`.
    ///
    /// # Panics
    /// If there is none: the driver and the program disagree about the row.
    pub fn get(&self, key: &str) -> u64 {
        self.find(key).unwrap_or_else(|| panic!("this benchmark needs {key}=NUMBER"))
    }

    /// The number that was given for `key`, if there is one.
    pub fn find(&self, key: &str) -> Option<u64> {
        self.values.iter().find(|(name, _)| name == key).map(|&(_, value)| value)
    }
}

/// What a benchmark has found.
#[derive(Debug)]
pub struct Outcome {
    fields: Vec<(&'static str, u64)>,
}

impl Outcome {
    /// So many operations took so long; `check` is the sum or count that shows that they were done.
    pub fn new(ops: u64, took: Duration, check: u64) -> Outcome {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Outcome { fields: vec![("ns", ns), ("ops", ops), ("check", check)] }
    }

    /// One more figure.
    pub fn with(mut self, key: &'static str, value: u64) -> Outcome {
        self.fields.push((key, value));
        self
    }

    fn line(&self) -> String {
        let words: Vec<_> =
            self.fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        words.join(" ")
    }
}

/// The `main` of a program with these rows.
pub fn main(rows: &[Row]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &String| rows.iter().find(|(row, _)| row == name);
    let Some((name, rest)) = words.split_first() else {
        return refuse("usage: ROW [key=number]…, or --list");
    };
    if name == "--list" {
        rows.iter().for_each(|(row, _)| println!("{row}"));
        return ExitCode::SUCCESS;
    }
    let Some((_, run)) = known(name) else {
        return refuse(&format!("no such row: {name}; --list names them"));
    };
    match Args::parse(rest) {
        Ok(args) => {
            println!("{}", run(&args).line());
            ExitCode::SUCCESS
        }
        Err(problem) => refuse(&problem),
    }
}

fn refuse(problem: &str) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Args, String> {
        Args::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_numbers_with_names() {
        let args = parse("each=100 cap=0").unwrap();
        assert_eq!((args.get("each"), args.find("cap"), args.find("count")), (100, Some(0), None));
        for bad in ["each", "each=", "each=ten", "=", "each=-1"] {
            assert!(parse(bad).unwrap_err().contains(bad), "{bad}");
        }
    }

    #[test]
    fn an_outcome_is_one_line_that_the_driver_can_read() {
        let outcome = Outcome::new(10, Duration::from_micros(3), 45).with("bytes", 8);
        assert_eq!(outcome.line(), "ns=3000 ops=10 check=45 bytes=8");
    }
}
