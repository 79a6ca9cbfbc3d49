//! The command line of `cargo xtask bench`.
//!
//! Names select rows by their beginning, as the suites of `cargo xtask test` are; without any, all rows run. The
//! numbers of the rows are not options: a table whose work can be chosen compares nothing with the README's.

use super::row::{Column, Row};
use super::rows::ROWS;
use crate::Problem;

/// How to call it.
pub const USAGE: &str = "usage: cargo xtask bench [--list] [--quick] [--rounds N] [--only RUNTIME]… [--go PATH] \
                         [--json FILE] [NAME…], or `bench alloc`, or `bench rest-cost` with the same options";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub struct Options {
    /// Only name the rows.
    pub list: bool,
    /// A tenth of the work, to see that everything runs.
    pub quick: bool,
    /// How often each row runs.
    pub rounds: usize,
    /// Where the Go command is.
    pub go: String,
    /// Where the figures are written to as JSON.
    pub json: Option<String>,
    /// Runtimes; all when empty.
    columns: Vec<Column>,
    /// Beginnings of names; all rows when empty.
    names: Vec<String>,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(arguments: &[String]) -> Result<Options, Problem> {
        let mut options = Options {
            list: false,
            quick: false,
            rounds: 0,
            go: "go".to_owned(),
            json: None,
            columns: Vec::new(),
            names: Vec::new(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value =
                || rest.next().cloned().ok_or_else(|| wrong(format!("{argument} needs a value")));
            match argument.as_str() {
                "--list" => options.list = true,
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = positive(&value()?)?,
                "--only" => options.columns.push(column(&value()?)?),
                "--go" => options.go = value()?,
                "--json" => options.json = Some(value()?),
                flag if flag.starts_with('-') => {
                    return Err(wrong(format!("unknown option {flag}")));
                }
                name => options.names.push(known(name)?),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 2 } else { 5 };
        }
        Ok(options)
    }

    /// The same rows, on this runtime only.
    pub fn only(mut self, column: Column) -> Options {
        self.columns = vec![column];
        self
    }

    /// The rows that were asked for.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let wanted = |row: &&Row| {
            self.names.is_empty()
                || self.names.iter().any(|name| row.name.starts_with(name.as_str()))
        };
        ROWS.iter().filter(wanted)
    }

    /// Whether this runtime was asked for.
    pub fn wants(&self, column: Column) -> bool {
        self.columns.is_empty() || self.columns.contains(&column)
    }
}

fn wrong(what: String) -> Problem {
    Problem::usage(format!("bench: {what}"), USAGE)
}

fn positive(text: &str) -> Result<usize, Problem> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(wrong(format!("--rounds: expected a number from 1, found {text}"))),
    }
}

fn column(text: &str) -> Result<Column, Problem> {
    let found = Column::ALL.into_iter().find(|column| column.name() == text);
    found.ok_or_else(|| {
        let names: Vec<_> = Column::ALL.iter().map(|column| column.name()).collect();
        wrong(format!("--only: expected one of {}, found {text}", names.join(", ")))
    })
}

fn known(name: &str) -> Result<String, Problem> {
    if ROWS.iter().any(|row| row.name.starts_with(name)) {
        return Ok(name.to_owned());
    }
    Err(wrong(format!("no row begins with {name}; --list names them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, Problem> {
        Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_everything_runs() {
        let options = parse("").unwrap();
        assert_eq!(options.rows().count(), ROWS.len());
        assert!(Column::ALL.into_iter().all(|column| options.wants(column)));
        assert_eq!((options.rounds, parse("--quick").unwrap().rounds), (5, 2));
    }

    #[test]
    fn names_and_runtimes_select() {
        let options = parse("--only tokio echo-64 --rounds 3 --json out.json mutex").unwrap();
        let names: Vec<_> = options.rows().map(|row| row.name).collect();
        assert_eq!(names, ["mutex", "echo-64"]);
        assert!(options.wants(Column::Tokio) && !options.wants(Column::Go));
        assert_eq!((options.rounds, options.json.as_deref()), (3, Some("out.json")));
    }

    #[test]
    fn what_is_not_understood_is_named_with_the_usage() {
        for (text, part) in [
            ("--rounds 0", "found 0"),
            ("--rounds", "needs a value"),
            ("--fast", "unknown option --fast"),
            ("no-such-row", "no row begins with no-such-row"),
            ("--only erlang", "found erlang"),
        ] {
            let problem = parse(text).unwrap_err();
            assert_eq!(problem.status, 2);
            assert!(
                problem.text.contains(part) && problem.text.contains("usage:"),
                "{}",
                problem.text
            );
        }
    }
}
