//! The command line of `cargo xtask bench alloc`.
//!
//! [`Options::parse`] owns its grammar; what is not understood is a [`Problem`] that names it and shows [`USAGE`]. Rows
//! are not checked here: which there are, the program that has them says.

use super::ALLOCATORS;
use crate::Problem;
use std::path::PathBuf;

/// The command line in short.
pub const USAGE: &str =
    "usage: cargo xtask bench alloc [--rounds N] [--no-settle] [--no-prime] [--with ALLOCATOR]... [--raw FILE] [ROW]...
       cargo xtask bench alloc --from FILE
       cargo xtask bench alloc --touch MIB";

/// What is measured, and how often.
#[derive(Debug)]
pub struct Options {
    /// Rounds of each row.
    pub rounds: usize,
    /// Whether the last round waits two seconds after each row for what comes back late.
    pub settle: bool,
    /// Whether memory is made ready before each run: see [`super::prime`].
    pub prime: bool,
    /// Nothing is measured: so much memory is touched and freed.
    pub touch_mib: Option<usize>,
    /// Where to add what was measured, for `--from`.
    pub raw: Option<PathBuf>,
    /// Nothing is run: what is judged has been measured before.
    pub from: Option<PathBuf>,
    /// Allocators; all when empty.
    pub with: Vec<String>,
    /// Rows; all when empty.
    pub rows: Vec<String>,
}

impl Options {
    /// Reads the arguments after `bench alloc`.
    pub fn parse(arguments: &[String]) -> Result<Options, Problem> {
        let mut options = Options {
            rounds: 3,
            settle: true,
            prime: true,
            touch_mib: None,
            raw: None,
            from: None,
            with: Vec::new(),
            rows: Vec::new(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || {
                let missing = || Problem::usage(format!("{argument} needs a value"), USAGE);
                rest.next().cloned().ok_or_else(missing)
            };
            match argument.as_str() {
                "--rounds" => {
                    let number = value()?.parse().ok().filter(|&n| n > 0);
                    let bad = || Problem::usage("--rounds needs a number".to_owned(), USAGE);
                    options.rounds = number.ok_or_else(bad)?;
                }
                "--raw" => options.raw = Some(value()?.into()),
                "--from" => options.from = Some(value()?.into()),
                "--touch" => {
                    let bad = || Problem::usage("--touch needs a number".to_owned(), USAGE);
                    options.touch_mib = Some(value()?.parse().map_err(|_| bad())?);
                }
                "--no-prime" => options.prime = false,
                "--no-settle" => options.settle = false,
                "--with" => {
                    let name = value()?;
                    if !ALLOCATORS.contains(&name.as_str()) {
                        let what = format!("no allocator `{name}`: {}", ALLOCATORS.join(", "));
                        return Err(Problem::usage(what, USAGE));
                    }
                    options.with.push(name);
                }
                flag if flag.starts_with('-') => {
                    return Err(Problem::usage(format!("unknown argument `{flag}`"), USAGE));
                }
                row => options.rows.push(row.to_owned()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_command_line_says_what_is_expected() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        for words in [
            &["--rounds"][..],
            &["--rounds", "0"],
            &["--with", "none"],
            &["--what"],
            &["--touch", "x"],
        ] {
            let problem = parse(words).expect_err("refused");
            assert!(problem.text.contains("usage: "), "{}", problem.text);
        }
        let options = parse(&["--rounds", "5", "--no-settle", "--with", "system", "larson-1"]);
        let options = options.ok().unwrap();
        assert_eq!((options.rounds, options.rows.len(), options.settle), (5, 1, false));
        assert!(options.prime && !parse(&["--no-prime"]).ok().unwrap().prime);
    }
}
