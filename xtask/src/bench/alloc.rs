//! `cargo xtask bench alloc`: the allocator beside its peers, row by row, as ratios to the best.
//!
//! 1. `bench-alloc` is built once per allocator, with fat LTO, in a target folder of its own: a program has one
//!    global allocator. One that does not build (no C++ compiler, no network) is said, and left out.
//! 2. Round after round, each row runs on each allocator in turn, so that all of them meet the same neighbours.
//! 3. Each figure is the median of the rounds; the table shows it for the best, and the ratio of each to it. The last
//!    lines are geometric means over the rows.
//!
//! Rows with threads spread by the machine's placement: do not read differences below a third there.
//!
//! Rejected: `LD_PRELOAD` of one program. Calls through the C library's names cost every peer the same detour, which
//! hides what the fast paths differ in.

use crate::Problem;
use crate::cargo;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `bench-alloc` can be built with; the system's allocator needs no feature.
const ALLOCATORS: [&str; 7] =
    ["millpond", "system", "mimalloc2", "mimalloc3", "jemalloc", "snmalloc", "rpmalloc"];

/// The columns of a row's line, after its name and the allocator.
const FIGURES: [&str; 3] = ["time", "peak", "end"];

/// The command line in short.
pub const USAGE: &str =
    "usage: cargo xtask bench alloc [--rounds N] [--with ALLOCATOR]... [ROW]...";

struct Options {
    rounds: usize,
    with: Vec<String>,
    rows: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, Problem> {
        let mut options = Options { rounds: 3, with: Vec::new(), rows: Vec::new() };
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

/// Figures of all rounds, by row, figure and allocator.
type Samples = BTreeMap<(usize, usize), BTreeMap<&'static str, Vec<u64>>>;

/// Builds, runs, prints. `Ok(false)`: a run failed.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, Problem> {
    let options = Options::parse(arguments)?;
    let wanted = |name: &&&str| options.with.is_empty() || options.with.iter().any(|w| w == *name);
    let mut programs = Vec::new();
    for name in ALLOCATORS.iter().filter(wanted) {
        match build(root, name) {
            Ok(program) => programs.push((*name, program)),
            Err(why) => eprintln!("bench: {name} is left out: {why}"),
        }
    }
    let Some((_, program)) = programs.first() else {
        return Err("no allocator could be built".to_owned().into());
    };
    let rows = rows(program, &options)?;
    let (mut samples, mut failed) = (Samples::new(), 0);
    for round in 0..options.rounds {
        for (number, row) in rows.iter().enumerate() {
            let first = (round + number) % programs.len();
            programs.rotate_left(first);
            for (name, program) in &programs {
                match measure(program, row) {
                    Some(figures) => figures.into_iter().enumerate().for_each(|(figure, value)| {
                        let row = samples.entry((figure, number)).or_default();
                        row.entry(name).or_default().push(value);
                    }),
                    None => {
                        eprintln!("bench: {row} on {name} FAILED");
                        failed += 1;
                    }
                }
            }
            eprintln!("round {}/{} {row}", round + 1, options.rounds);
        }
    }
    print!("{}", table(&rows, &samples));
    Ok(failed == 0)
}

fn build(root: &Path, name: &str) -> Result<PathBuf, String> {
    let target = cargo::Workspace::load(root)?.target.join("bench-alloc").join(name);
    let mut command = cargo::command(&root.join("bench"));
    command.args(["build", "--release", "--locked", "-p", "bench-alloc", "--target-dir"]);
    command.arg(&target).env("CARGO_PROFILE_RELEASE_LTO", "fat");
    if name != "system" {
        command.args(["--features", name]);
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

/// Time, peak and end of one run.
fn measure(program: &Path, row: &str) -> Option<[u64; 3]> {
    let output = Command::new(program).arg(row).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split_whitespace().skip(2).map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??])
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn table(rows: &[String], samples: &Samples) -> String {
    let mut text = String::new();
    for (figure, title) in FIGURES.iter().enumerate() {
        let names: Vec<&str> = ALLOCATORS
            .into_iter()
            .filter(|name| samples.values().any(|row| row.contains_key(name)))
            .collect();
        let unit = if figure == 0 { "ms" } else { "MiB" };
        text +=
            &format!("\n{title}, ratio to the best\n{:<22}{:>12}", "row", format!("best {unit}"));
        names.iter().for_each(|name| text += &format!("{name:>11}"));
        let mut sums = vec![(0.0, 0); names.len()];
        for (number, row) in rows.iter().enumerate() {
            let Some(found) = samples.get(&(figure, number)) else { continue };
            let best = found.values().map(|values| median(values)).min().unwrap_or(0).max(1) as f64;
            let shown = if figure == 0 { best / 1e6 } else { best / 1024.0 };
            text += &format!("\n{row:<22}{shown:>12.1}");
            for (name, sum) in names.iter().zip(&mut sums) {
                let Some(values) = found.get(name) else {
                    text += &format!("{:>11}", "-");
                    continue;
                };
                let ratio = median(values) as f64 / best;
                *sum = (sum.0 + ratio.max(1.0).ln(), sum.1 + 1);
                text += &format!("{ratio:>11.2}");
            }
        }
        text += &format!("\n{:<34}", "geometric mean");
        sums.iter().for_each(|(sum, n)| {
            text += &format!("{:>11.2}", (sum / f64::from((*n).max(1))).exp());
        });
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_best_of_the_row_and_their_mean_is_geometric() {
        let rows = ["a".to_owned(), "b".to_owned()];
        let mut samples = Samples::new();
        for (row, ours, theirs) in [(0, 1_000_000, 4_000_000), (1, 2_000_000, 2_000_000)] {
            let line = samples.entry((0, row)).or_default();
            line.insert("millpond", vec![ours, ours, ours * 100]);
            line.insert("system", vec![theirs]);
        }
        let text = table(&rows, &samples);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
        assert!(line("a ").ends_with("1.00       4.00"), "{text}");
        assert!(line("geometric").ends_with("1.00       2.00"), "{text}");
    }

    #[test]
    fn a_bad_command_line_says_what_is_expected() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        for words in [&["--rounds"][..], &["--rounds", "0"], &["--with", "none"], &["--what"]] {
            let problem = parse(words).err().expect("refused");
            assert!(problem.text.contains("usage: "), "{}", problem.text);
        }
        let options = parse(&["--rounds", "5", "--with", "system", "larson-1"]).ok().unwrap();
        assert_eq!((options.rounds, options.rows.len()), (5, 1));
    }
}
