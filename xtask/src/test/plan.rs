//! Which suites there are, and which of them a command line asks for.
//!
//! | suite | what runs | under |
//! |---|---|---|
//! | `plain` | all tests and documentation examples | the defaults |
//! | `procs-1`, `-2`, `-8` | unit and integration tests above the stacks | `MILLPOND_PROCS` |
//! | `guard-mprotect` | those of the runtime and of the whole | `MILLPOND_GUARD=mprotect` |
//! | `release` | processes and stress with their full counts: a million goroutines, ten times | `--release` |
//! | `alloc`, when named | goroutines' tests on our allocator; its own | `--cfg millpond_alloc`, `--release` |
//! | `loom` | the models | `--cfg loom`, its own target folder |
//! | `bench`, when named | the benchmarks' own tests, and a tiny run of them | `--release`, the rivals built |
//!
//! One processor makes every hand-over a switch, two is the smallest count that steals, eight is more than this kind of
//! machine has, so that threads are preempted at bad moments. The guard suite runs the mode of kernels without
//! `MADV_GUARD_INSTALL`, which are most. The stacks' own tests force each mode themselves and are not run again, and
//! channels and sockets do not know what lies under their goroutine. As many processors as the machine has are what
//! `plain` ran with, and are left out after it.
//!
//! [`Options::parse`] owns the grammar of the command line; [`Options::suites`] is the table above.

use crate::Problem;

/// Packages whose tests run goroutines.
pub const ABOVE_STACKS: &[&str] = &["crates/rt", "crates/sync", "crates/net", "crates/millpond"];

/// Packages whose tests meet the end of a stack.
pub const ON_STACKS: &[&str] = &["crates/rt", "crates/millpond"];

/// [`ABOVE_STACKS`], by name.
pub const ALLOC: &[&str] = &["millpond-rt", "millpond-sync", "millpond-net", "millpond"];

/// Packages with loom models.
pub const LOOM: &[&str] =
    &["millpond-prim", "millpond-heap", "millpond-stack", "millpond-rt", "millpond-sync"];

/// Test programs that gain nothing from being run again: what they check does not depend on the settings.
pub const ONCE: &[&str] = &["compile_fail"];

/// How a suite is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `cargo test` over the workspace.
    Plain,
    /// The built programs of some packages, under one environment variable.
    Again {
        /// The packages, by folder.
        packages: &'static [&'static str],
        /// The variable and its value.
        setting: (&'static str, &'static str),
    },
    /// `cargo test --release` of what counts to a million only there.
    Release,
    /// Programs with the allocator of this repository as the global one.
    Alloc,
    /// `cargo test` of the models.
    Loom,
    /// The other workspace, and the test of the driver that needs its programs.
    Bench,
}

/// One suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suite {
    /// What `--only` calls it.
    pub name: &'static str,
    /// How it is run.
    pub kind: Kind,
}

/// All suites, in the order in which they run: the cheap and the telling first.
pub const SUITES: &[Suite] = &[
    Suite { name: "plain", kind: Kind::Plain },
    procs("procs-1", "1"),
    procs("procs-2", "2"),
    procs("procs-8", "8"),
    Suite {
        name: "guard-mprotect",
        kind: Kind::Again { packages: ON_STACKS, setting: ("MILLPOND_GUARD", "mprotect") },
    },
    Suite { name: "release", kind: Kind::Release },
    Suite { name: "alloc", kind: Kind::Alloc },
    Suite { name: "loom", kind: Kind::Loom },
    Suite { name: "bench", kind: Kind::Bench },
];

const fn procs(name: &'static str, count: &'static str) -> Suite {
    Suite { name, kind: Kind::Again { packages: ABOVE_STACKS, setting: ("MILLPOND_PROCS", count) } }
}

/// Suites that build a second world, with other flags or other people's runtimes: minutes of compiling, which nobody
/// would wait for before each commit. They run when they are named.
pub const ON_REQUEST: &[&str] = &["alloc", "bench"];

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on after a suite that failed.
    pub keep_going: bool,
    /// Beginnings of the names of the wanted suites; all when empty.
    wanted: Vec<String>,
}

impl Options {
    /// Reads the arguments after `cargo xtask test`.
    pub fn parse(arguments: &[String]) -> Result<Options, Problem> {
        let mut options = Options::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--keep-going" => options.keep_going = true,
                "--quick" => options.wanted.push("plain".to_owned()),
                "--loom" => options.wanted.push("loom".to_owned()),
                "--procs" => options.wanted.push("procs-".to_owned()),
                "--guard" => options.wanted.push("guard-".to_owned()),
                "--only" => {
                    let missing = || bad(format!("--only needs a suite: {}", names()));
                    let name = rest.next().ok_or_else(missing)?;
                    options.wanted.push(name.clone());
                }
                other => return Err(bad(format!("unknown argument `{other}`"))),
            }
        }
        for wanted in &options.wanted {
            if !SUITES.iter().any(|suite| suite.name.starts_with(wanted.as_str())) {
                return Err(bad(format!("there is no suite `{wanted}`: expected {}", names())));
            }
        }
        Ok(options)
    }

    /// The suites that were asked for, in their order, on a machine of so many `processors`.
    pub fn suites(&self, processors: usize) -> Vec<Suite> {
        let usual = |suite: &Suite| {
            !ON_REQUEST.contains(&suite.name) && suite.name != format!("procs-{processors}")
        };
        let wants = |suite: &&Suite| {
            self.wanted.is_empty() && usual(suite)
                || self.wanted.iter().any(|w| suite.name.starts_with(w.as_str()))
        };
        SUITES.iter().filter(wants).copied().collect()
    }
}

/// The command line in short.
pub const USAGE: &str = "usage: cargo xtask test [--quick] [--procs] [--guard] [--loom] \
                         [--only SUITE]... [--keep-going]";

fn bad(what: String) -> Problem {
    Problem::usage(what, USAGE)
}

fn names() -> String {
    SUITES.iter().map(|suite| suite.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(arguments: &[&str]) -> Result<Vec<&'static str>, Problem> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let suites = Options::parse(&arguments)?.suites(3);
        Ok(suites.iter().map(|suite| suite.name).collect())
    }

    #[test]
    fn no_arguments_is_everything_but_what_takes_another_build_of_the_world() {
        let usual = SUITES.len() - ON_REQUEST.len();
        for arguments in [&[][..], &["--keep-going"]] {
            let chosen = chosen(arguments).unwrap();
            assert_eq!(chosen.len(), usual);
            assert!(chosen.iter().all(|name| !ON_REQUEST.contains(name)));
        }
        assert_eq!(chosen(&["--only", "alloc", "--only", "bench"]).unwrap(), ON_REQUEST);
    }

    #[test]
    fn as_many_processors_as_the_machine_has_are_the_defaults() {
        let names =
            |options: &Options| options.suites(2).iter().map(|s| s.name).collect::<Vec<_>>();
        let usual = names(&Options::default());
        assert!(usual.contains(&"procs-1") && !usual.contains(&"procs-2"), "{usual:?}");
        let named = Options::parse(&["--procs".to_owned()]).unwrap();
        assert_eq!(names(&named), ["procs-1", "procs-2", "procs-8"], "named, it runs");
    }

    #[test]
    fn flags_and_names_choose_suites_and_add_up() {
        assert_eq!(chosen(&["--quick"]).unwrap(), ["plain"]);
        assert_eq!(
            chosen(&["--loom", "--procs"]).unwrap(),
            ["procs-1", "procs-2", "procs-8", "loom"]
        );
        assert_eq!(
            chosen(&["--only", "procs-8", "--guard"]).unwrap(),
            ["procs-8", "guard-mprotect"]
        );
    }

    #[test]
    fn a_bad_command_line_says_what_is_expected() {
        let refused = [
            (&["--fast"][..], "unknown argument `--fast`"),
            (&["--only"], "procs-8"),
            (&["--only", "nothing"], "expected plain"),
        ];
        for (arguments, wanted) in refused {
            let problem = chosen(arguments).unwrap_err();
            assert!(problem.text.contains(wanted) && problem.text.contains("usage: "));
            assert_eq!(problem.status, 2);
        }
    }
}
