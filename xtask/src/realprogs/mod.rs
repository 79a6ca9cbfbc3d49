//! `cargo xtask realprogs`: programs that nobody here wrote, on our `malloc` and on others.
//!
//! 1. the library is built (`--profile malloc`), and the others are looked for where Debian puts them;
//! 2. each program of [`programs`] makes its input, and runs once as it is: that is the answer to compare with;
//! 3. in every round each library has its turn with the same input, so that what disturbs one round disturbs all;
//!    an answer that differs by a byte, or a bad end, is a failure of the library;
//! 4. [`table`] shows medians as ratios to the row's best, and the verdicts.
//!
//! Programs and libraries that are missing are named with the package that has them, and left out. A failure of
//! another library is shown and costs it the row; a failure of ours fails the command.
//!
//! `--correct` runs ours alone and measures nothing: for a busy machine. `--quick` makes the work small.
//!
//! *glibc* is preloaded too: Debian's Redis is linked to jemalloc, and would show its figures under glibc's name.

mod measure;
mod programs;
mod table;

use crate::Problem;
use crate::cargo::{self, Workspace};
use measure::Run;
use programs::{PROGRAMS, Program};
use std::path::{Path, PathBuf};
use table::Row;

/// The command line in short.
pub const USAGE: &str = "usage: cargo xtask realprogs [--quick] [--correct] [--rounds N] [--only LIBRARY]... \
                         [--list] [PROGRAM]...";

/// The other libraries: name, file, package.
const OTHERS: [(&str, &str, &str); 4] = [
    ("glibc", "libc.so.6", "libc6"),
    ("jemalloc", "libjemalloc.so.2", "libjemalloc2"),
    ("mimalloc", "libmimalloc.so.2", "libmimalloc2.0"),
    ("tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
];

const OURS: &str = "millpond";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    quick: bool,
    correct: bool,
    list: bool,
    rounds: usize,
    only: Vec<String>,
    programs: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, Problem> {
        let mut options = Options {
            quick: false,
            correct: false,
            list: false,
            rounds: 5,
            only: Vec::new(),
            programs: Vec::new(),
        };
        let bad = |what: String| Problem::usage(format!("realprogs: {what}"), USAGE);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--correct" => options.correct = true,
                "--list" => options.list = true,
                "--rounds" => {
                    let rounds = rest.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                    options.rounds =
                        rounds.ok_or_else(|| bad("--rounds needs a number".to_owned()))?;
                }
                "--only" => {
                    let name = rest.next().filter(|name| {
                        *name == OURS || OTHERS.iter().any(|(other, ..)| other == name)
                    });
                    let name = name.ok_or_else(|| bad("--only needs a library".to_owned()))?;
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

    fn wants(&self, program: &Program) -> bool {
        self.programs.is_empty() || self.programs.iter().any(|name| program.name.starts_with(name))
    }
}

/// A library to run programs with.
struct Library {
    name: &'static str,
    path: PathBuf,
}

/// Runs what the arguments ask for. `Ok(false)`: a program crashed on our library, or answered otherwise.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, Problem> {
    let options = Options::parse(arguments)?;
    if options.list {
        for Program { name, needs, .. } in PROGRAMS {
            let needs: Vec<&str> = needs.iter().map(|(_, package)| *package).collect();
            println!("{name:<14} needs {}", needs.join(", "));
        }
        return Ok(true);
    }
    let workspace = Workspace::load(root)?;
    let libraries = libraries(&workspace, &options)?;
    let folder = workspace.target.join("realprogs");
    let mut rows = Vec::new();
    let mut fine = true;
    for program in PROGRAMS.iter().filter(|program| options.wants(program)) {
        if let Some((command, package)) =
            program.needs.iter().find(|(command, _)| measure::find(command).is_none())
        {
            println!("{}: skipped: {command} is not here: apt-get install {package}", program.name);
            continue;
        }
        let folder = folder.join(program.name);
        let (row, ours_is_fine) = row(program, &folder, &libraries, &options)?;
        fine &= ours_is_fine;
        if program.measured {
            rows.push(row);
        }
    }
    if !options.correct {
        let columns: Vec<&str> = libraries.iter().map(|library| library.name).collect();
        print!("{}", table::render(&columns, &rows));
    }
    println!("realprogs: {}", if fine { "every answer was the same" } else { "FAILED" });
    Ok(fine)
}

/// Ours, built, and the others that are here; in this order.
fn libraries(workspace: &Workspace, options: &Options) -> Result<Vec<Library>, String> {
    let wanted = |name: &str| match options.correct {
        true => name == OURS,
        false => options.only.is_empty() || options.only.iter().any(|only| only == name),
    };
    let mut libraries = Vec::new();
    if wanted(OURS) {
        let mut build = cargo::command(&workspace.root);
        build.args(["build", "--quiet", "--profile", "malloc", "-p", "millpond-malloc"]);
        let built = build.status().map_err(|error| format!("cannot run cargo: {error}"))?;
        if !built.success() {
            return Err("the library does not build".to_owned());
        }
        let path = workspace.target.join("malloc/libmillpond_malloc.so");
        libraries.push(Library { name: OURS, path });
    }
    for (name, file, package) in OTHERS.into_iter().filter(|(name, ..)| wanted(name)) {
        let folders =
            ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
        let places = folders.map(|folder| Path::new(folder).join(file));
        match places.into_iter().find(|place| place.exists()) {
            Some(path) => libraries.push(Library { name, path }),
            None => println!("{name}: skipped: {file} is not here: apt-get install {package}"),
        }
    }
    Ok(libraries)
}

/// All runs of a program, and whether ours were right.
fn row(
    program: &Program,
    folder: &Path,
    libraries: &[Library],
    options: &Options,
) -> Result<(Row, bool), String> {
    let size = program.sizes[usize::from(!options.quick)];
    // What an earlier run has left is not this run's input.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let refused = |what: String| format!("{}: without a library: {what}", program.name);
    measure::run(program.prepare, folder, size, None).map_err(refused)?;
    let wanted = measure::run(program.run, folder, size, None).map_err(refused)?.answer;
    let mut runs: Vec<Vec<Run>> = libraries.iter().map(|_| Vec::new()).collect();
    let mut failed = vec![false; libraries.len()];
    for round in 1..=options.rounds {
        for (n, library) in
            libraries.iter().enumerate().filter(|(n, _)| !failed[*n]).collect::<Vec<_>>()
        {
            let problem = match measure::run(program.run, folder, size, Some(&library.path)) {
                Ok(run) if run.answer == wanted => {
                    runs[n].push(run);
                    continue;
                }
                Ok(run) => difference(&wanted, &run.answer),
                Err(problem) => problem,
            };
            println!("{}: {} FAILED in round {round}: {problem}", program.name, library.name);
            failed[n] = true;
            runs[n].clear();
        }
    }
    let _ = std::fs::remove_dir_all(folder);
    let ours = libraries.iter().position(|library| library.name == OURS);
    let fine = ours.is_none_or(|ours| !failed[ours]);
    if fine {
        println!("{}: {} rounds, answers of {} B", program.name, options.rounds, wanted.len());
    }
    Ok((Row { name: program.name, runs }, fine))
}

/// Where two answers part.
fn difference(wanted: &[u8], found: &[u8]) -> String {
    let at = wanted.iter().zip(found).take_while(|(a, b)| a == b).count();
    let line = |text: &[u8]| {
        let start =
            text[..at.min(text.len())].iter().rposition(|&byte| byte == b'\n').map_or(0, |n| n + 1);
        let end =
            text[start..].iter().position(|&byte| byte == b'\n').unwrap_or(text.len() - start);
        String::from_utf8_lossy(&text[start..start + end.min(200)]).into_owned()
    };
    let (wanted, found) = (line(wanted), line(found));
    format!("another answer from byte {at} on: expected {wanted:?}, found {found:?}")
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
        for bad in [&["emacs"][..], &["--rounds", "0"], &["--only", "hoard"], &["--fast"]] {
            assert_eq!(parse(bad).unwrap_err().status, 2);
        }
    }

    #[test]
    fn the_line_in_which_answers_part_is_shown() {
        let text = difference(b"one\ntwo\nthree", b"one\ntwx\nthree");
        assert!(
            text.contains("byte 6") && text.contains("\"two\"") && text.contains("\"twx\""),
            "{text}"
        );
        assert!(difference(b"one", b"").contains("found \"\""));
    }
}
