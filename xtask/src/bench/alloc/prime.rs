//! Memory that the machine has at hand, for whoever is measured next.
//!
//! A virtual machine may tell its host which memory is free (*free page reporting*), and the host takes it: some
//! hundred mebibytes every two seconds. The next touch of it is a fault in the host besides the one in the guest: 8 µs
//! for 4 KiB instead of 0.35 in a huge page and 1.5 in a small one. It falls on whoever comes next, whatever the
//! allocator, and less on the one whose neighbour has just ended. So before each process another one touches and frees
//! more than any allocator needs for the row ([`needs_mib`]), which the kernel hands out next. On a machine whose
//! memory is its own it changes nothing.
//!
//! [`SLACK_MIB`] more are touched, because a report may come between the two, and all of it again while that becomes
//! cheaper. What is left of the noise is a report in the middle of a run: rows that take much memory need five rounds
//! or more. Huge pages are asked for by glibc's tunable, as it is faster; what is freed serves as either kind. Where
//! the C library is another, it takes longer.
//!
//! Rejected: to ask the kernel for no reports, since that is the machine's owner's decision. To hold the memory for
//! the two seconds until no report is due: the next one was not to be foreseen, and runs were no steadier.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The most that memory is touched before a run.
const TURNS: usize = 4;

/// What a report takes, and some more.
const SLACK_MIB: usize = 1024;

/// The largest peak of a row, of all allocators, rounded up.
fn needs_mib(row: &str) -> usize {
    match row {
        "idle-threads" => 1024,
        "mixed" | "server" => 512,
        _ if row.starts_with("freed-95") => 2560,
        _ if row.starts_with("freed-all") => 512,
        _ => 256,
    }
}

/// Makes memory ready for a run of a row. Without it the run is as good, but not as well to be compared.
pub fn before(row: &str) {
    let Ok(own) = std::env::current_exe() else { return };
    let mib = needs_mib(row) + SLACK_MIB;
    let mut command = Command::new(own);
    command.args(["bench", "alloc", "--touch", &mib.to_string()]);
    command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1").stdout(Stdio::null());
    if !command.status().is_ok_and(|status| status.success()) {
        eprintln!("bench: {mib} MiB could not be made ready for {row}");
    }
}

/// Touches so much and frees it, again and again while that becomes cheaper.
pub fn touch(mib: usize) {
    repeat_while_cheaper(|| {
        let began = Instant::now();
        let mut bytes = vec![0u8; mib << 20];
        bytes.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        drop(std::hint::black_box(bytes));
        began.elapsed()
    });
}

/// Until a turn takes more than two thirds of the one before, at most [`TURNS`] times. Returns how often.
fn repeat_while_cheaper(mut turn: impl FnMut() -> Duration) -> usize {
    let mut last = turn();
    for turns in 2..=TURNS {
        let took = turn();
        if took * 3 > last * 2 {
            return turns;
        }
        last = took;
    }
    TURNS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_gets_something_and_the_largest_the_most() {
        let rows = ["tiny", "mixed", "freed-all", "freed-95", "freed-95-later"];
        let needs: Vec<usize> = rows.iter().map(|row| needs_mib(row)).collect();
        assert_eq!(needs, [256, 512, 512, 2560, 2560]);
    }

    #[test]
    fn memory_is_touched_until_that_is_as_cheap_as_the_last_time() {
        let turns = |took: &[u64]| {
            let mut took = took.iter().map(|&ms| Duration::from_millis(ms));
            repeat_while_cheaper(|| took.next().unwrap())
        };
        assert_eq!(turns(&[300, 290]), 2);
        assert_eq!(turns(&[5000, 300, 310]), 3);
        assert_eq!(turns(&[5000, 3000, 1000, 300]), TURNS);
    }
}
