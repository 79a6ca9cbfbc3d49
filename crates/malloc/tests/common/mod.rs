//! What the tests of the library share: building it, building programs of C and C++, and running these with it.
//!
//! The library is built by cargo as a user would build it (`--profile malloc`), once per test program: cargo builds no
//! `cdylib` for tests, and in a build of the whole workspace the heap would have other features. Programs are
//! compiled by `cc` and `c++` (or `$CC`, `$CXX`), which whoever links Rust has.

pub mod pprof;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Seconds after which a program hangs. `timeout` counts them, so that a hanging one does not stay behind.
const LIMIT: &str = "120";

/// The library, built if need be.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--profile", "malloc", "-p", "millpond-malloc"]);
        build.args(["--features", "initial-exec"]);
        build.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        build.arg("--target-dir").arg(target);
        assert!(build.status().unwrap().success(), "the library does not build");
        let library = target.join("malloc/libmillpond_malloc.so");
        assert!(library.exists(), "{library:?}");
        library
    })
}

/// Compiles `tests/SOURCE` to `name`.
pub fn compile(source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join(name);
    let (variable, compiler) = if source.ends_with(".cc") { ("CXX", "c++") } else { ("CC", "cc") };
    let compiler = std::env::var_os(variable).unwrap_or_else(|| compiler.into());
    let mut compile = Command::new(compiler);
    compile.args(["-Wall", "-Wextra", "-O1", "-g", "-o"]).arg(&program).args(flags);
    compile.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source));
    let output = compile.args(["-ldl", "-pthread"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compile:?}: {text}");
    program
}

/// A command that runs a program, with the library before the C library's `malloc` or without it.
pub fn command(program: &Path, preloaded: bool) -> Command {
    command_within(LIMIT, program, preloaded)
}

/// As [`command`], for a program that has more to do: it hangs after `limit` seconds.
pub fn command_within(limit: &str, program: &Path, preloaded: bool) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", limit]).arg("env");
    if preloaded {
        // Not for `timeout`, whose own end is none of the test's business.
        command.arg(format!("LD_PRELOAD={}", library().display()));
    }
    let settings = ["HEAP_CHECK", "HEAP_PROFILE", "DEBUG", "MEMORY_LIMIT", "SCAVENGER"];
    for setting in settings {
        command.env_remove(format!("MILLPOND_{setting}"));
    }
    command.arg(program);
    command
}

/// What a run has written, which must have ended with status 0.
pub fn passes(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// Both outputs.
pub fn text(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The functions of a program that is linked to a fixed address.
pub struct Symbols(Vec<(u64, String)>);

/// What `nm` knows.
pub fn symbols(program: &Path) -> Symbols {
    let output = Command::new("nm").arg("--defined-only").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let symbol = |line: &str| {
        let mut words = line.split(' ');
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        words.next().filter(|kind| kind.eq_ignore_ascii_case("t"))?;
        Some((address, words.next()?.to_owned()))
    };
    let mut symbols: Vec<(u64, String)> = text.lines().filter_map(symbol).collect();
    symbols.sort_unstable();
    assert!(!symbols.is_empty(), "{program:?} has no functions");
    Symbols(symbols)
}

impl Symbols {
    /// The function that an address of code is in. Addresses beyond the program's are in none.
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self.0.partition_point(|(start, _)| *start <= address);
        // Behind `_fini`, the last function, everything is somebody else's.
        (after < self.0.len())
            .then(|| self.0.get(after.checked_sub(1)?))
            .flatten()
            .map(|(_, name)| name.as_str())
    }
}
