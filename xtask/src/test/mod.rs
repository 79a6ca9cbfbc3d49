//! `cargo xtask test`: the one test command of the project.
//!
//! 1. [`plan`] turns the command line into a list of suites;
//! 2. `plain`, `release`, `loom` and `bench` are `cargo test`s of their own; the other suites run the programs of
//!    [`binaries`] again under another setting, and share their build with `plain`; `alloc` builds its own;
//! 3. [`crate::run`] runs each command, shows its output and counts the results;
//! 4. a table closes the run, and the last line is `N passed, N failed`, alone.
//!
//! It stops at the first suite that fails, unless `--keep-going` asks for all of them. Each command has a time
//! limit, so a lost wake-up ends as a failure with a name and not as a CI job that somebody kills.

mod binaries;
mod plan;

use crate::Problem;
use crate::cargo::{self, Workspace};
use crate::run::{Tally, run as run_command};
use binaries::Binary;
use plan::{ABOVE_STACKS, ALLOC, Kind, LOOM, ONCE, Options, Suite};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

pub use plan::USAGE;

/// A command that has not ended by then hangs. Cold builds are included.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// A built program that has not ended by then hangs.
const PROGRAM_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How far loom explores, where `LOOM_MAX_PREEMPTIONS` does not say. Two finds nearly everything that three finds, in a
/// tenth of the time.
const PREEMPTIONS: &str = "2";

/// What happened to one suite.
struct Row {
    name: &'static str,
    tally: Tally,
    took: Duration,
}

/// Runs what the arguments ask for. `Ok(false)` is a failed test; `Err` says why nothing could be run.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, Problem> {
    let options = Options::parse(arguments)?;
    let workspace = Workspace::load(root)?;
    let mut built = None;
    let mut rows = Vec::new();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for suite in options.suites(processors) {
        heading(suite.name);
        let started = Instant::now();
        let tally = run_suite(&workspace, &suite, &options, &mut built);
        rows.push(Row { name: suite.name, tally, took: started.elapsed() });
        if tally.failed > 0 && !options.keep_going {
            break;
        }
    }
    let total = summary(&rows);
    Ok(total.failed == 0)
}

fn heading(name: &str) {
    println!("\n==== {name} ====");
}

/// Prints the table and the closing line.
fn summary(rows: &[Row]) -> Tally {
    heading("summary");
    let mut total = Tally::default();
    for Row { name, tally, took } in rows {
        let state = if tally.failed == 0 { "ok" } else { "FAILED" };
        let Tally { passed, failed, ignored } = tally;
        println!(
            "{name:<16} {state:<6} {passed:>5} passed {failed:>3} failed {ignored:>3} ignored {:>6.1} s",
            took.as_secs_f64()
        );
        total.add(*tally);
    }
    println!("{total}");
    total
}

/// Runs one suite. `built` holds the test programs after their first use.
fn run_suite(
    workspace: &Workspace,
    suite: &Suite,
    options: &Options,
    built: &mut Option<Vec<Binary>>,
) -> Tally {
    match suite.kind {
        Kind::Plain => {
            let mut command = cargo::command(&workspace.root);
            command.args(test_arguments(workspace));
            if options.keep_going {
                command.arg("--no-fail-fast");
            }
            run_command(&mut command, LIMIT)
        }
        Kind::Release => {
            let mut command = cargo::command(&workspace.root);
            command.args(["test", "--release", "-p", "millpond"]);
            command.args(["--test", "processes", "--test", "stress"]);
            run_command(&mut command, LIMIT)
        }
        Kind::Alloc => alloc(workspace, options.keep_going),
        Kind::Loom => run_command(&mut loom(workspace), LIMIT),
        Kind::Bench => bench(workspace),
        Kind::Again { packages, setting } => {
            if built.is_none() {
                let mut command = cargo::command(&workspace.root);
                command.args(test_arguments(workspace));
                match binaries::build(workspace, command) {
                    Ok(binaries) => *built = Some(binaries),
                    Err(problem) => return unbuilt(&problem),
                }
            }
            let binaries = built.as_deref().unwrap_or_default();
            again(binaries, packages, Some(setting), options.keep_going)
        }
    }
}

/// The arguments of cargo that build and run every test.
fn test_arguments(workspace: &Workspace) -> Vec<String> {
    let mut arguments = vec!["test".to_owned(), "--workspace".to_owned()];
    let features = workspace.plain_features();
    if !features.is_empty() {
        arguments.extend(["--features".to_owned(), features]);
    }
    arguments
}

/// What does not build counts as one failed test.
fn unbuilt(problem: &str) -> Tally {
    eprintln!("xtask: {problem}");
    Tally { failed: 1, ..Tally::default() }
}

/// Runs the programs of some packages, with one variable set if there is one.
fn again(
    binaries: &[Binary],
    packages: &[&str],
    setting: Option<(&str, &str)>,
    keep_going: bool,
) -> Tally {
    let shown = setting.map_or(String::new(), |(variable, value)| format!(" ({variable}={value})"));
    let mut tally = Tally::default();
    let wanted = |binary: &&Binary| {
        packages.contains(&binary.package.as_str()) && !ONCE.contains(&binary.target.as_str())
    };
    for binary in binaries.iter().filter(wanted) {
        println!("     Running {} {}{shown}", binary.package, binary.target);
        tally.add(run_command(binary.command().envs(setting), PROGRAM_LIMIT));
        if tally.failed > 0 && !keep_going {
            break;
        }
    }
    tally
}

/// The benchmarks: their workspace, and the driver with real programs.
fn bench(workspace: &Workspace) -> Tally {
    let mut programs = cargo::command(&workspace.root.join("bench"));
    programs.args(["test", "--release", "--workspace", "--target-dir"]);
    let mut tally = run_command(programs.arg(workspace.target.join("bench")), LIMIT);
    let mut driver = cargo::command(&workspace.root);
    driver.args(["test", "-p", "xtask", "--test", "bench", "--", "--ignored"]);
    tally.add(run_command(&mut driver, LIMIT));
    tally
}

/// The programs that run goroutines on Millpond's allocator, then the allocator's own tests with fat LTO: there its
/// fast paths are inlined into their callers as far as they ever are. Linking every program like that takes many
/// minutes and shows nothing more. The latter come with the feature of the allocator as a `malloc`, which `plain` is
/// without.
fn alloc(workspace: &Workspace, keep_going: bool) -> Tally {
    let command = |folder: &str, packages: &[&str]| {
        let mut command = cargo::command(&workspace.root);
        command.args(["test", "--tests", "--release", "--target-dir"]);
        command.arg(workspace.target.join(folder));
        command.args(packages.iter().flat_map(|package| ["-p", package]));
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        command.env("RUSTFLAGS", format!("{flags} --cfg millpond_alloc").trim_start());
        command
    };
    let mut tally = match binaries::build(workspace, command("alloc", ALLOC)) {
        Ok(binaries) => again(&binaries, ABOVE_STACKS, None, keep_going),
        Err(problem) => return unbuilt(&problem),
    };
    if tally.failed == 0 || keep_going {
        let mut inlined = command("alloc-lto", &["millpond-heap"]);
        inlined.args(["--features", cargo::INITIAL_EXEC]);
        tally.add(run_command(inlined.env("CARGO_PROFILE_RELEASE_LTO", "fat"), LIMIT));
    }
    tally
}

/// The models: another build of the same crates, with its own target folder.
fn loom(workspace: &Workspace) -> Command {
    let mut command = cargo::command(&workspace.root);
    command.args(["test", "--lib", "--release", "--target-dir"]).arg(workspace.target.join("loom"));
    for package in LOOM {
        command.args(["-p", package]);
    }
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{flags} --cfg loom").trim_start());
    if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        command.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS);
    }
    command
}
