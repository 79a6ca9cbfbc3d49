//! One run: the processes it takes, and the check of its answer.
//!
//! | kind | processes |
//! |---|---|
//! | alone, control | the program, which times itself |
//! | load | the server, and our load generator, which also reads the server's processor time |
//! | idle | the same; its connections speak once, and it reads the server's memory |
//! | wrk | the server, and `wrk` |
//! | million | `millpond million`, and its report |
//!
//! Every run has processes of its own, so no run profits from what another has warmed, and a runtime that dies
//! takes one figure with it. A wrong answer is a failure like any other.

use super::million;
use super::process::{self, Failure, Fields, Server};
use super::programs::Programs;
use super::row::{Column, Figure, Kind, Row};
use super::wrk;
use std::process::Command;

/// Runs `row` on `column` once.
pub fn run(programs: &Programs, row: &Row, column: Column, quick: bool) -> Result<Fields, Failure> {
    let named = row.on.iter().find(|(other, _)| *other == column);
    let &(_, name) = named.ok_or("this runtime has no such program")?;
    let fields = match row.kind {
        Kind::Alone => alone(programs.command(column).arg(name), row, quick)?,
        Kind::Control => alone(programs.load().arg(name), row, quick)?,
        Kind::Load(extra) => {
            let server = Server::start(numbers(programs.command(column).arg(name), row, quick))?;
            load(programs, row, "echo", extra, &server, quick)?
        }
        Kind::Idle => {
            let server = Server::start(programs.command(column).arg(name))?;
            load(programs, row, "idle", &[], &server, quick)?
        }
        Kind::Million(live) => {
            let mut command = programs.command_line();
            command.args([name, "--json", "--live", &live.to_string()]);
            for (option, ..) in row.numbers {
                command.args([format!("--{option}"), row.number(option, quick).to_string()]);
            }
            million::parse(&process::output_within(&mut command, million::LIMIT)?)?
        }
        Kind::Wrk(connections) => {
            let server = Server::start(programs.command(column).arg(name))?;
            let secs = row.number("secs", quick);
            let arguments = wrk::arguments(&server.address, connections, secs);
            wrk::parse(&process::output(Command::new("wrk").args(arguments))?)?
        }
    };
    check(fields, row.expected(quick))
}

fn alone(command: &mut Command, row: &Row, quick: bool) -> Result<Fields, Failure> {
    Fields::parse(&process::output(numbers(command, row, quick))?)
}

fn load(
    programs: &Programs,
    row: &Row,
    what: &str,
    extra: &[(&str, u64)],
    server: &Server,
    quick: bool,
) -> Result<Fields, Failure> {
    let mut load = programs.load();
    numbers(load.arg(what), row, quick);
    load.args(extra.iter().map(|(key, value)| format!("{key}={value}")));
    load.args([format!("port={}", server.port()?), format!("pid={}", server.pid())]);
    Fields::parse(&process::output(&mut load)?)
}

fn numbers<'a>(command: &'a mut Command, row: &Row, quick: bool) -> &'a mut Command {
    let words = row.numbers.iter().map(|(key, ..)| format!("{key}={}", row.number(key, quick)));
    command.args(words)
}

fn check(fields: Fields, expected: u64) -> Result<Fields, Failure> {
    let answer = fields.get("check")?;
    if answer == expected as f64 && fields.get("ops")? > 0.0 {
        return Ok(fields);
    }
    Err(format!("wrong answer: expected {expected}, found {answer}"))
}

/// The figure of a line of the table.
pub fn figure(fields: &Fields, figure: Figure) -> Result<f64, Failure> {
    let (ns, ops) = (fields.get("ns")?, fields.get("ops")?);
    Ok(match figure {
        Figure::PerOperation => ns / ops,
        Figure::Wall => ns / 1e9,
        Figure::Rate => ops / ns * 1e9,
        Figure::Field(key) => fields.get(key)?,
        Figure::FieldPerOperation(key) => fields.get(key)? / ops,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields::from_pairs(&[("ns", 4e9), ("ops", 2e6), ("check", 9.0), ("cpu_ns", 3e9)])
    }

    #[test]
    fn figures_are_computed_from_the_result() {
        let figure = |which| figure(&fields(), which).unwrap();
        assert_eq!(figure(Figure::PerOperation), 2000.0);
        assert_eq!(figure(Figure::Wall), 4.0);
        assert_eq!(figure(Figure::Rate), 500_000.0);
        assert_eq!(figure(Figure::Field("check")), 9.0);
        assert_eq!(figure(Figure::FieldPerOperation("cpu_ns")), 1500.0);
    }

    #[test]
    fn a_wrong_answer_is_a_failure() {
        assert!(check(fields(), 9).is_ok());
        let failure = check(fields(), 10).unwrap_err();
        assert_eq!(failure, "wrong answer: expected 10, found 9");
        let nothing = Fields::from_pairs(&[("ns", 1.0), ("ops", 0.0), ("check", 0.0)]);
        assert!(check(nothing, 0).is_err());
        assert!(check(Fields::from_pairs(&[("ns", 1.0)]), 0).is_err());
    }
}
