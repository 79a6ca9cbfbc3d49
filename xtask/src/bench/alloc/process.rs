//! One run of a row: a process, and what it says.
//!
//! A row's time is what the program says that its work took. The row *tiny* has no work: its time is that of the whole
//! process as seen from here, from the call that starts it to its end, the median of [`STARTS`].

use super::table::{FIGURES, TIME, median};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Runs of a program that does nothing: each takes a millisecond, and some of them twice that.
const STARTS: usize = 41;

/// A program, and what is put before it.
pub struct Program {
    pub name: &'static str,
    pub path: PathBuf,
    pub preload: Option<PathBuf>,
}

/// The figures of one run, in the order of [`FIGURES`].
pub fn measure(program: &Program, row: &str, settles: bool) -> Option<[u64; FIGURES.len()]> {
    let mut command = Command::new(&program.path);
    command.arg(row).args(settles.then_some("settle"));
    if let Some(library) = &program.preload {
        command.env("LD_PRELOAD", library);
    }
    let run = |command: &mut Command| {
        let began = Instant::now();
        let output = command.output().ok().filter(|output| output.status.success())?;
        let took_ns = u64::try_from(began.elapsed().as_nanos()).ok()?;
        Some((parse(&String::from_utf8_lossy(&output.stdout))?, took_ns))
    };
    let (mut figures, _) = run(&mut command)?;
    if row == "tiny" && !settles {
        let runs: Option<Vec<_>> = (0..STARTS).map(|_| run(&mut command)).collect();
        let times: Vec<u64> = runs?.into_iter().map(|(_, took_ns)| took_ns).collect();
        figures[TIME] = median(&times);
    }
    Some(figures)
}

/// Reads the line of `bench-alloc`.
fn parse(line: &str) -> Option<[u64; FIGURES.len()]> {
    let mut fields = line.split_whitespace().skip(2).map(|field| field.parse().ok());
    let mut next = || fields.next().flatten();
    let (time, start, peak, end, _live, floor) =
        (next()?, next()?, next()?, next()?, next()?, next()?);
    Some([time, peak, end, end, start, floor])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_in_the_order_of_the_tables() {
        let figures = parse("mixed system 1 2 3 4 5 6\n");
        assert_eq!(figures, Some([1, 3, 4, 4, 2, 6]));
        assert_eq!(parse("mixed system 1 2 3"), None);
    }
}
