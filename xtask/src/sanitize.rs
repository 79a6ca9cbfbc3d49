//! `cargo xtask sanitize [address] [thread]`: the tests under a sanitizer of the nightly toolchain.
//!
//! What each one can see here, and what not:
//!
//! - **AddressSanitizer** follows the context switch, because `corosensei` announces every switch to it (the
//!   feature `sanitizer`). Its leak check is off: a parked goroutine's stack is not a root for it, so everything
//!   that only such a stack owns would be called a leak.
//! - **ThreadSanitizer** has its own notion of fibers, and `corosensei` does not speak to it: after a switch its shadow
//!   call stack belongs to another goroutine. So it runs only the tests that switch no stack: the unit tests of the
//!   crates below the scheduler, and the queues, waits and timers of the scheduler, on plain threads. It does not
//!   understand `fence` either; loom does.
//!
//! Both leave out the stack probes of rustc, so a frame that jumps over a guard is not caught there; tests for
//! which the sanitizer changes the facts say so themselves (`#[cfg_attr(millpond_asan, ignore = "..")]`).
//!
//! The standard library is built with the sanitizer too when the component `rust-src` is there. Without it the
//! precompiled one is linked, and what happens inside it is not seen. ThreadSanitizer then misses the
//! synchronisation in the test harness and in std's channels and calls it a race: [`BLIND_IN_STD`] suppresses
//! exactly these, and the run says so.
//!
//! Rejected: suppressing anything of ours. A report is a bug, or the test is outside of what the sanitizer can see.

use crate::Problem;
use crate::cargo::Workspace;
use crate::run::{Tally, run as run_command};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The command line in short.
pub const USAGE: &str = "usage: cargo xtask sanitize [address] [thread]";

/// The only target that both sanitizers and the context switch are tried on.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A run that has not ended by then hangs. Cold builds are included.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Code of the precompiled standard library whose atomics ThreadSanitizer does not see.
const BLIND_IN_STD: &str = "race:test::event::CompletedTest\n\
                            race:test::run_test\n\
                            race:std::sync::mpmc\n";

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sanitizer {
    Address,
    Thread,
}

/// A part of the tests: packages, which of their targets, and filters on the test names.
struct Part {
    packages: &'static [&'static str],
    targets: &'static [&'static str],
    filters: &'static [&'static str],
}

impl Sanitizer {
    const ALL: [Sanitizer; 2] = [Sanitizer::Address, Sanitizer::Thread];

    fn name(self) -> &'static str {
        match self {
            Sanitizer::Address => "address",
            Sanitizer::Thread => "thread",
        }
    }

    /// What it is run over.
    fn parts(self) -> &'static [Part] {
        match self {
            Sanitizer::Address => &[Part {
                packages: &["millpond-stack", "millpond-rt", "millpond-sync", "millpond-net"],
                targets: &["--lib", "--tests"],
                filters: &[],
            }],
            Sanitizer::Thread => &[
                Part {
                    packages: &["millpond-policy", "millpond-stack"],
                    targets: &["--lib"],
                    filters: &[],
                },
                // rustix maps and unmaps by raw system calls, which this sanitizer does not see: two tests that get
                // the same address one after the other look like a race.
                Part {
                    packages: &["millpond-sys"],
                    targets: &["--lib"],
                    filters: &["--skip", "guard::", "--skip", "mem::", "--skip", "uffd::"],
                },
                Part {
                    packages: &["millpond-rt"],
                    targets: &["--lib"],
                    filters: &["queue::", "wait::", "timers::"],
                },
            ],
        }
    }

    /// The options of its runtime library.
    fn options(self) -> (&'static str, &'static str) {
        match self {
            // The runtime has its own alternate stacks and fault handler; both must stay in place.
            Sanitizer::Address => {
                ("ASAN_OPTIONS", "detect_leaks=0:use_sigaltstack=0:handle_segv=0:handle_sigbus=0")
            }
            Sanitizer::Thread => ("TSAN_OPTIONS", "second_deadlock_stack=1"),
        }
    }

    /// What it cannot see, for the reader of the log.
    fn blind_spots(self) -> &'static str {
        match self {
            Sanitizer::Address => "no leak check: a parked goroutine's stack is not a root for it",
            Sanitizer::Thread => {
                "tests that switch stacks or map memory are left out: neither is announced to it; \
                 fences are not understood by it (loom covers them)"
            }
        }
    }
}

/// What the nightly toolchain of this machine offers.
struct Nightly {
    version: String,
    has_std_source: bool,
}

/// Runs what the arguments ask for, both when they ask for nothing. `Ok(false)` is a failed test.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, Problem> {
    let chosen = parse(arguments)?;
    let workspace = Workspace::load(root)?;
    let nightly = nightly()?;
    let mut total = Tally::default();
    for sanitizer in chosen {
        describe(sanitizer, &nightly);
        for part in sanitizer.parts() {
            let mut command = command(&workspace, sanitizer, part, &nightly);
            if sanitizer == Sanitizer::Thread && !nightly.has_std_source {
                suppress(&workspace, &mut command)?;
            }
            total.add(run_command(&mut command, LIMIT));
        }
    }
    println!("{total}");
    Ok(total.failed == 0)
}

fn parse(arguments: &[String]) -> Result<Vec<Sanitizer>, Problem> {
    if arguments.is_empty() {
        return Ok(Sanitizer::ALL.to_vec());
    }
    let find = |argument: &String| {
        let known = Sanitizer::ALL.into_iter().find(|sanitizer| sanitizer.name() == argument);
        let unknown = || format!("there is no sanitizer `{argument}` here");
        known.ok_or_else(|| Problem::usage(unknown(), USAGE))
    };
    arguments.iter().map(find).collect()
}

fn describe(sanitizer: Sanitizer, nightly: &Nightly) {
    println!("\n==== {} sanitizer, {} ====", sanitizer.name(), nightly.version);
    println!("not seen: {}", sanitizer.blind_spots());
    if !nightly.has_std_source {
        println!(
            "not seen: the inside of the standard library, which is linked precompiled \
             (`rustup component add rust-src --toolchain nightly` changes that)"
        );
        if sanitizer == Sanitizer::Thread {
            println!("suppressed for that reason: {}", BLIND_IN_STD.trim().replace('\n', ", "));
        }
    }
}

/// Asks rustup for the nightly toolchain.
fn nightly() -> Result<Nightly, String> {
    let ask = |arguments: &[&str]| -> Option<String> {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "rustc"]).args(arguments).stderr(Stdio::null());
        let output = command.output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let missing = "sanitizers need the nightly toolchain: `rustup toolchain install nightly`";
    let version = ask(&["--version"]).ok_or(missing)?;
    let sysroot = ask(&["--print", "sysroot"]).ok_or(missing)?;
    let std_source = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    Ok(Nightly { version, has_std_source: std_source.is_dir() })
}

/// Adds the suppressions of the precompiled standard library.
fn suppress(workspace: &Workspace, command: &mut Command) -> Result<(), String> {
    let file = workspace.target.join("tsan.suppressions");
    let written = std::fs::create_dir_all(&workspace.target)
        .and_then(|()| std::fs::write(&file, BLIND_IN_STD));
    written.map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let (variable, options) = Sanitizer::Thread.options();
    command.env(variable, format!("{options}:suppressions={}", file.display()));
    Ok(())
}

fn command(workspace: &Workspace, sanitizer: Sanitizer, part: &Part, nightly: &Nightly) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "test", "--no-fail-fast", "--target", TARGET]);
    command
        .arg("--target-dir")
        .arg(workspace.target.join(format!("sanitize-{}", sanitizer.name())));
    command.args(part.targets).current_dir(&workspace.root);
    for package in part.packages {
        command.args(["-p", package]);
    }
    let features = workspace.sanitizer_features(part.packages);
    if sanitizer == Sanitizer::Address && !features.is_empty() {
        command.args(["--features", &features]);
    }
    if nightly.has_std_source {
        command.arg("-Zbuild-std");
    }
    if !part.filters.is_empty() {
        command.arg("--").args(part.filters);
    }
    let (variable, options) = sanitizer.options();
    command.env("RUSTFLAGS", flags(sanitizer, nightly.has_std_source)).env(variable, options);
    command
}

/// The flags of rustc.
fn flags(sanitizer: Sanitizer, has_std_source: bool) -> String {
    let mut flags = format!("-Zsanitizer={}", sanitizer.name());
    match sanitizer {
        Sanitizer::Address => flags += " --cfg millpond_asan",
        // rustc counts this sanitizer as part of the ABI and refuses a precompiled std.
        Sanitizer::Thread if !has_std_source => {
            flags += " -Cunsafe-allow-abi-mismatch=sanitizer";
        }
        Sanitizer::Thread => {}
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_argument_is_both_and_a_wrong_one_is_refused() {
        assert_eq!(parse(&[]).unwrap(), Sanitizer::ALL);
        assert_eq!(parse(&["thread".to_owned()]).unwrap(), [Sanitizer::Thread]);
        assert!(parse(&["memory".to_owned()]).unwrap_err().text.contains("usage: "));
    }

    #[test]
    fn a_precompiled_std_is_accepted_only_where_rustc_would_refuse_it() {
        assert!(flags(Sanitizer::Thread, false).contains("abi-mismatch"));
        assert!(!flags(Sanitizer::Thread, true).contains("abi-mismatch"));
        assert!(flags(Sanitizer::Address, false).contains("--cfg millpond_asan"));
    }
}
