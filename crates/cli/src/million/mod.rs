//! `millpond million`: a burst of goroutines, what one costs at rest, and what is left after.
//!
//! The program is one that a user could write. Goroutines stand in a ring, each with a gate (a
//! `WaitGroup` that counts one) and a handle to its neighbour's:
//!
//! ```text
//!   main ──▶ gate 0 ──▶ gate 1 ──▶ ... ──▶ gate n-1 ──▶ main's gate
//! ```
//!
//! 1. *spawn*: all are started, fill their live bytes, and wait at their gates;
//! 2. *settle*: nothing is done until no more stacks go to rest; the memory is read;
//! 3. *wake*: main opens gate 0; each goroutine that wakes checks its bytes, closes its own gate
//!    again and opens the next. One hop is one wake and one park;
//! 4. *end*: the same once more, but each ends instead of waiting again;
//! 5. the memory is read again.
//!
//! With `--rounds` all of it is done several times in one process: what the last round needs more than
//! the first has leaked. A thread reads the memory all the time, for the peak.
//!
//! A goroutine that cannot start (out of stacks) breaks the ring. Its closure is dropped, and that
//! opens its neighbour's gate with the note that the ring is broken, so that all leave and the
//! shortfall is reported instead of waited for.
//!
//! Rejected: channels of capacity one as gates (160 bytes more each, and the same wake); a chain of
//! join handles (no gate at all, but then a wake cannot be told from an end).

mod live;
mod peak;
mod report;
mod ring;

use crate::args::Million;
use crate::say;
use indicatif::{ProgressBar, ProgressStyle};
use millpond::debug::rest_stats;
use millpond_sys::task::memory;
use peak::Peak;
use report::{Report, Round};
use ring::Ring;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) fn run(args: &Million) -> io::Result<ExitCode> {
    let bar = progress_bar(u64::from(args.count));
    let peak = Peak::watch();
    let before = memory()?;
    let rounds = (0..args.rounds).map(|_| measure(args, &bar)).collect::<io::Result<Vec<_>>>()?;
    let report = Report {
        count: u64::from(args.count),
        live_bytes: u64::from(args.live),
        before,
        peak_bytes: peak.bytes(),
        rounds,
    };
    bar.finish_and_clear();
    let text = if args.json { format!("{}\n", report.json()) } else { report.table() };
    // Figures per goroutine mean nothing when not all of them were there.
    if report.unstarted() == 0 || args.json {
        io::stdout().write_all(text.as_bytes())?;
    }
    if report.verified() == u64::from(args.count) {
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("million: {}", report.shortfall()));
    Ok(ExitCode::FAILURE)
}

/// How long nothing has to happen until everything has settled: longer than an M waits with a stack.
const SETTLED_AFTER: Duration = Duration::from_millis(1500);

/// How long it is waited for.
const SETTLED_BY: Duration = Duration::from_secs(60);

/// Waits until no more stacks are put to rest.
fn settle() {
    let began = Instant::now();
    let (mut rested, mut since) = (rest_stats().rested, began);
    while since.elapsed() < SETTLED_AFTER && began.elapsed() < SETTLED_BY {
        millpond::time::sleep(Duration::from_millis(100));
        let now = rest_stats().rested;
        if now != rested {
            (rested, since) = (now, Instant::now());
        }
    }
}

/// The phases of one round, with a look at the clock and at the memory between them.
fn measure(args: &Million, bar: &ProgressBar) -> io::Result<Round> {
    let began = Instant::now();
    bar.set_message("spawn");
    let ring = Ring::start(args.count, args.live, bar);
    let spawn = began.elapsed();
    bar.set_message("settle");
    settle();
    let parked = memory()?;
    let resting = rest_stats();

    bar.set_message("wake");
    let began = Instant::now();
    ring.go_round(bar);
    let wake = began.elapsed();
    let woken = rest_stats();

    bar.set_message("end");
    let began = Instant::now();
    ring.go_round(bar);
    let tally = ring.wait_for_end();
    let end = began.elapsed();
    let after = memory()?;
    let (verified, unstarted) = (tally.verified, tally.unstarted);
    Ok(Round { verified, unstarted, spawn, wake, end, parked, after, resting, woken })
}

/// On a terminal only.
fn progress_bar(len: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(len);
    let style = ProgressStyle::with_template("{msg:>6} [{bar:40}] {human_pos}/{human_len}");
    bar.set_style(style.expect("a template of known keys"));
    bar
}
