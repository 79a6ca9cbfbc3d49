//! `millpond load`: a closed loop per connection, every reply checked.
//!
//! 1. The first connection is made before anything else: a target that is not there is one line.
//! 2. Each other connection is made by its own goroutine; all wait for the start.
//! 3. Each sends, waits for the whole reply, checks it, notes the time, and sends again.
//! 4. At the end each finishes the exchange that it is in.
//!
//! A closed loop measures what a connection feels, not what arrives: a server that stalls is asked
//! less meanwhile, so the percentiles are those of the requests that were made. Times go into a few
//! shared histograms, each behind a lock that is held for some nanoseconds and never while parked:
//! one per connection would take 20 KiB each.

mod client;
mod echo;
mod http;
mod report;

use crate::args::Load;
use crate::{context, say};
use client::{Client, Run};
use indicatif::{ProgressBar, ProgressStyle};
use millpond::net::TcpStream;
use millpond::{go, time};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Load) -> io::Result<ExitCode> {
    // With fewer descriptors than connections, the surplus fails to connect and says why.
    let _ = millpond_sys::task::raise_nofile_limit();
    let probe = TcpStream::connect(args.target.as_str())
        .map_err(context(format_args!("cannot connect to {}", args.target)))?;
    let run = Arc::new(Run::new(args, probe.peer_addr()?));
    start(&run, probe, args.conns);
    let bar = progress_bar(args);
    let took = watch(&run, args.secs, &bar);
    bar.finish_and_clear();

    let report = run.report(took);
    let text = if args.json { format!("{}\n", report.json()) } else { report.table() };
    io::stdout().write_all(text.as_bytes())?;
    if report.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("load: {}", report.complaint()));
    Ok(ExitCode::FAILURE)
}

/// Starts a goroutine for each connection and returns when all are connected, or have failed.
fn start(run: &Arc<Run>, probe: TcpStream, conns: u32) {
    let mut probe = Some(probe);
    for index in 0..conns {
        let mut client = Client::new(run.clone(), index, probe.take());
        drop(go(move || client.run()));
    }
    run.connecting.wait();
}

/// Lets them go, and waits for the end; how long it took.
fn watch(run: &Run, length: Duration, bar: &ProgressBar) -> Duration {
    let began = run.begin(length);
    while began.elapsed() < length && !run.is_over() {
        time::sleep(DRAW_EVERY.min(length.saturating_sub(began.elapsed())));
        bar.set_position(began.elapsed().as_millis() as u64);
        bar.set_message(run.so_far(began.elapsed()));
    }
    run.running.wait();
    Instant::now().duration_since(began)
}

/// On a terminal only.
fn progress_bar(args: &Load) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(args.secs.as_millis() as u64);
    let style = ProgressStyle::with_template("[{bar:40}] {elapsed}  {msg}");
    bar.set_style(style.expect("a template of known keys"));
    bar
}
