//! The project's own checks and test runs: `cargo xtask <command>`.
//!
//! This file owns the command line and nothing else. Each command is a module: `tidy` holds the rules that no
//! compiler knows, `test` is the one test command of the project, `bench` measures side by side with other
//! runtimes, `realprogs` runs programs on our `malloc`, `paths` counts the instructions of the allocator's fast
//! paths, `sanitize` runs the tests under a sanitizer. [`cargo`] and [`run`] are what they share.
//!
//! Every command prints what is wrong and ends with status 1 if anything is; a command line that is not understood
//! ends with status 2 and the usage.
//!
//! Rejected: `clap`. Six commands and a handful of flags do not pay for its build time, which every fresh clone
//! and every CI run would spend before the first check.
#![forbid(unsafe_code)]

mod bench;
mod cargo;
mod paths;
mod realprogs;
mod run;
mod sanitize;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy | test | bench | realprogs | paths | sanitize";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = root();
    let outcome = match arguments.split_first() {
        Some((command, rest)) if command == "tidy" && rest.is_empty() => {
            tidy::run(&root).map(|()| true).map_err(Problem::from)
        }
        Some((command, rest)) if command == "test" => test::run(&root, rest),
        Some((command, rest)) if command == "bench" => bench::run(&root, rest),
        Some((command, rest)) if command == "realprogs" => realprogs::run(&root, rest),
        Some((command, rest)) if command == "paths" => paths::run(&root, rest),
        Some((command, rest)) if command == "sanitize" => sanitize::run(&root, rest),
        Some((help, _)) if help == "--help" || help == "help" => {
            println!("{USAGE}\n{}\n{}", test::USAGE, bench::USAGE);
            println!("{}\n{}\n{}", realprogs::USAGE, paths::USAGE, sanitize::USAGE);
            Ok(true)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{}", problem.text);
            ExitCode::from(problem.status)
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
struct Problem {
    text: String,
    status: u8,
}

impl Problem {
    /// The command line was not understood.
    fn usage(what: String, usage: &str) -> Problem {
        Problem { text: format!("{what}\n{usage}"), status: 2 }
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Problem {
        Problem { text, status: 1 }
    }
}

/// The root of the repository: the parent of this package.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
