//! `cargo xtask bench alloc`: the allocator beside its peers, row by row, as ratios to the best.
//!
//! 1. `bench-alloc` is built once per allocator, with fat LTO, in a target folder of its own: a program has one
//!    global allocator. One that does not build (no C++ compiler, no network) is said, and left out. gperftools'
//!    tcmalloc is the system's library, put before the program that has chosen none (`LD_PRELOAD`). Millpond's comes
//!    twice: as it is, and as `unhardened`, without the checks (`--cfg millpond_unhardened`).
//! 2. Round after round, each row runs on each allocator in turn, so that all of them meet the same neighbours. In the
//!    last round a run more waits two seconds after its work, for what comes back late.
//! 3. Before each process, memory that the machine has at hand is made ready for it ([`prime`]); [`process`] runs it.
//! 4. [`table`] makes ratios of that, and geometric means; [`verdict`] says which of the targets hold.
//!
//! On a machine that cannot be quiet for long, rows are run one at a time: `--raw FILE` adds what each has found to a
//! file, and `--from FILE` makes the tables of it.
//!
//! Rows with threads spread by the machine's placement: do not read differences below a third there.
//!
//! Rejected: `LD_PRELOAD` of one program for all. Calls through the C library's names cost every peer the same detour,
//! which hides what the fast paths differ in. tcmalloc has no crate that is kept, so it pays for the detour here, as
//! glibc's does.

mod options;
mod prime;
mod process;
mod table;
mod verdict;

use self::options::{Options, USAGE};
use self::process::{Program, measure};
use self::table::Samples;
use crate::Problem;
use crate::cargo;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is measured; all but `system`, `tcmalloc` and `unhardened` are features of `bench-alloc`.
const ALLOCATORS: [&str; 9] = [
    "millpond",
    "unhardened",
    "system",
    "mimalloc2",
    "mimalloc3",
    "jemalloc",
    "snmalloc",
    "rpmalloc",
    "tcmalloc",
];

/// Builds, runs, prints. `Ok(false)`: a run failed.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, Problem> {
    let options = Options::parse(arguments)?;
    if let Some(mib) = options.touch_mib {
        prime::touch(mib);
        return Ok(true);
    }
    if let Some(file) = &options.from {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let (rows, samples) = table::from_text(&text)
            .ok_or_else(|| format!("{} was not written by --raw", file.display()))?;
        print!("{}{}", table::render(&rows, &samples), verdict::render(&rows, &samples));
        return Ok(true);
    }
    let wanted = |name: &&&str| options.with.is_empty() || options.with.iter().any(|w| w == *name);
    let mut programs = Vec::new();
    for name in ALLOCATORS.iter().filter(wanted) {
        match program(root, name) {
            Ok(program) => programs.push(program),
            Err(why) => eprintln!("bench: {name} is left out: {why}"),
        }
    }
    let Some(first) = programs.first() else {
        return Err("no allocator could be built".to_owned().into());
    };
    let rows = rows(&first.path, &options)?;
    let (mut samples, mut failed) = (Samples::new(), 0);
    for round in 0..options.rounds {
        for (number, row) in rows.iter().enumerate() {
            let first = (round + number) % programs.len();
            programs.rotate_left(first);
            let settles = options.settle && round + 1 == options.rounds;
            for program in &programs {
                let run = |settles| {
                    if options.prime {
                        prime::before(row);
                    }
                    measure(program, row, settles)
                };
                let later = settles.then(|| run(true));
                let Some(mut figures) = run(false) else {
                    eprintln!("bench: {row} on {} FAILED", program.name);
                    failed += 1;
                    continue;
                };
                if let Some(later) = later.flatten() {
                    figures[table::LATER] = later[table::END];
                }
                for (figure, value) in figures.into_iter().enumerate() {
                    // Not every round waits.
                    if figure != table::LATER || settles {
                        let row = samples.entry((figure, number)).or_default();
                        row.entry(program.name).or_default().push(value);
                    }
                }
            }
            eprintln!("round {}/{} {row}", round + 1, options.rounds);
        }
    }
    if let Some(file) = &options.raw {
        let adds = OpenOptions::new().create(true).append(true).open(file);
        adds.and_then(|mut adds| adds.write_all(table::to_text(&rows, &samples).as_bytes()))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    print!("{}{}", table::render(&rows, &samples), verdict::render(&rows, &samples));
    Ok(failed == 0)
}

fn program(root: &Path, name: &'static str) -> Result<Program, String> {
    let preload = match name {
        "tcmalloc" => Some(tcmalloc()?),
        _ => None,
    };
    Ok(Program { name, path: build(root, name)?, preload })
}

/// Where the system has gperftools' library.
fn tcmalloc() -> Result<PathBuf, String> {
    let missing =
        "libtcmalloc_minimal is not here: `apt-get install libtcmalloc-minimal4`, or gperftools";
    let output = Command::new("/sbin/ldconfig").arg("-p").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let line = text.lines().find(|line| line.trim_start().starts_with("libtcmalloc_minimal.so"));
    let path = line.and_then(|line| line.split_once("=> ")).map(|(_, path)| path.trim().into());
    path.ok_or_else(|| missing.to_owned())
}

fn build(root: &Path, name: &str) -> Result<PathBuf, String> {
    // The program under tcmalloc is the one that has chosen nothing.
    let name = if name == "tcmalloc" { "system" } else { name };
    let target = cargo::Workspace::load(root)?.target.join("bench-alloc").join(name);
    let mut command = cargo::command(&root.join("bench"));
    command.args(["build", "--release", "--locked", "-p", "bench-alloc", "--target-dir"]);
    command.arg(&target).env("CARGO_PROFILE_RELEASE_LTO", "fat");
    match name {
        "system" => {}
        "unhardened" => {
            command.args(["--features", "millpond"]);
            command.env("RUSTFLAGS", "--cfg millpond_unhardened");
        }
        _ => {
            command.args(["--features", name]);
        }
    }
    let status = command.status().map_err(|error| error.to_string())?;
    match status.success() {
        true => Ok(target.join("release/bench-alloc")),
        false => Err("it does not build".to_owned()),
    }
}

/// All rows that the program knows, or those of the command line.
fn rows(program: &Path, options: &Options) -> Result<Vec<String>, Problem> {
    let output = Command::new(program).output().map_err(|error| error.to_string())?;
    let usage = String::from_utf8_lossy(&output.stderr).into_owned();
    let known = usage.split("rows: ").nth(1).unwrap_or_default();
    let known: Vec<String> = known.split_whitespace().map(str::to_owned).collect();
    if let Some(row) = options.rows.iter().find(|row| !known.contains(row)) {
        return Err(Problem::usage(format!("no row `{row}`: {}", known.join(", ")), USAGE));
    }
    Ok(if options.rows.is_empty() { known } else { options.rows.clone() })
}
