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
//! `--correct` runs ours alone and measures nothing: for a busy machine. `--quick` makes the work small. On a machine
//! that cannot be quiet for long, programs and rounds are run one at a time: `--raw FILE` adds what each has found to
//! a file, and `--from FILE` makes the table of it.
//!
//! *glibc* is preloaded too: Debian's Redis is linked to jemalloc, and would show its figures under glibc's name.

mod libraries;
mod measure;
mod options;
mod programs;
mod table;

use crate::Problem;
use crate::cargo::Workspace;
use libraries::{Library, OURS};
use measure::Run;
use options::Options;
use programs::{PROGRAMS, Program};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Instant;
use table::Row;

pub use options::USAGE;

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
    if let Some(file) = &options.from {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let (columns, rows) = table::from_text(&text)
            .ok_or_else(|| format!("{} was not written by --raw", file.display()))?;
        print!("{}", table::render(&columns, &rows));
        return Ok(true);
    }
    let workspace = Workspace::load(root)?;
    let libraries = libraries::load(&workspace, &options)?;
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
    let columns: Vec<&str> = libraries.iter().map(|library| library.name).collect();
    if let Some(file) = &options.raw {
        let adds = OpenOptions::new().create(true).append(true).open(file);
        adds.and_then(|mut adds| adds.write_all(table::to_text(&columns, &rows).as_bytes()))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if !options.correct {
        print!("{}", table::render(&columns, &rows));
    }
    println!("realprogs: {}", if fine { "every answer was the same" } else { "FAILED" });
    Ok(fine)
}

/// All runs of a program, and whether ours were right.
fn row(
    program: &Program,
    folder: &Path,
    libraries: &[Library],
    options: &Options,
) -> Result<(Row, bool), String> {
    let started = Instant::now();
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
        let (rounds, bytes) = (options.rounds, wanted.len());
        let secs = started.elapsed().as_secs_f64();
        println!("{}: {rounds} rounds, answers of {bytes} B, {secs:.1} s", program.name);
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
