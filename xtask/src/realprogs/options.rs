//! The command line of `cargo xtask realprogs`.
//!
//! [`Options::parse`] owns its grammar; what is not understood is a [`Problem`] that names it and shows [`USAGE`]. A
//! program is named by its beginning, so that `stress` is all stressors.

use super::libraries;
use super::programs::{PROGRAMS, Program};
use crate::Problem;
use std::path::PathBuf;

/// The command line in short.
pub const USAGE: &str =
    "usage: cargo xtask realprogs [--quick] [--correct] [--rounds N] [--only LIBRARY]... [--raw FILE] [PROGRAM]...
       cargo xtask realprogs --from FILE | --list";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// Small work.
    pub quick: bool,
    /// Ours alone, and no table.
    pub correct: bool,
    /// Only say which programs there are.
    pub list: bool,
    /// Turns of each library.
    pub rounds: usize,
    /// Where to add what was measured, for `--from`.
    pub raw: Option<PathBuf>,
    /// Nothing is run: what is judged has been measured before.
    pub from: Option<PathBuf>,
    /// Libraries; all when empty.
    pub only: Vec<String>,
    /// Beginnings of programs; all when empty.
    pub programs: Vec<String>,
}

impl Options {
    /// Reads the arguments after `realprogs`.
    pub fn parse(arguments: &[String]) -> Result<Options, Problem> {
        let mut options = Options {
            quick: false,
            correct: false,
            list: false,
            rounds: 5,
            raw: None,
            from: None,
            only: Vec::new(),
            programs: Vec::new(),
        };
        let bad = |what: String| Problem::usage(format!("realprogs: {what}"), USAGE);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                let missing = || bad(format!("{argument} needs a value"));
                rest.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--correct" => options.correct = true,
                "--list" => options.list = true,
                "--rounds" => {
                    let rounds = value()?.parse().ok().filter(|&n| n > 0);
                    options.rounds =
                        rounds.ok_or_else(|| bad("--rounds needs a number".to_owned()))?;
                }
                "--raw" => options.raw = Some(value()?.into()),
                "--from" => options.from = Some(value()?.into()),
                "--only" => {
                    let name = value()?;
                    if !libraries::is_known(name) {
                        return Err(bad(format!("there is no library `{name}`")));
                    }
                    options.only.push(name.clone());
                }
                name if PROGRAMS.iter().any(|program| program.name.starts_with(name)) => {
                    options.programs.push(name.to_owned());
                }
                other => return Err(bad(format!("there is no program `{other}`: see --list"))),
            }
        }
        Ok(options)
    }

    /// Whether a program is to run.
    pub fn wants(&self, program: &Program) -> bool {
        self.programs.is_empty() || self.programs.iter().any(|name| program.name.starts_with(name))
    }

    /// Whether a library is to have its turn.
    pub fn wants_library(&self, name: &str) -> bool {
        match self.correct {
            true => name == libraries::OURS,
            false => self.only.is_empty() || self.only.iter().any(|only| only == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Problem> {
        Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn programs_are_chosen_by_their_beginning_and_unknown_words_are_refused() {
        let options = parse(&["--quick", "stress", "--rounds", "2", "--only", "glibc"]).unwrap();
        let chosen = PROGRAMS.iter().filter(|program| options.wants(program)).count();
        assert_eq!((chosen, options.rounds, options.quick), (3, 2, true));
        assert!(options.wants_library("glibc") && !options.wants_library("jemalloc"));
        for bad in
            [&["emacs"][..], &["--rounds", "0"], &["--only", "hoard"], &["--fast"], &["--raw"]]
        {
            assert_eq!(parse(bad).unwrap_err().status, 2);
        }
    }
}
