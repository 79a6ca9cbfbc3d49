//! One line of status, on a terminal only.
//!
//! Redrawn once a second by a goroutine: goroutines, connections, requests in the last second,
//! memory. Written to the error stream, so that standard output stays readable by scripts.

use super::Server;
use crate::table;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millpond::{chan, debug, go};
use std::convert::Infallible;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The line while it is drawn.
pub(super) struct Status {
    /// Closing it ends the goroutine; `None` if there is no terminal.
    running: Option<(chan::Sender<Infallible>, ProgressBar)>,
}

pub(super) fn start(server: &Arc<Server>) -> Status {
    if !std::io::stderr().is_terminal() {
        return Status { running: None };
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{msg}").expect("a template of one key"));
    let (running, stopped) = chan::bounded(1);
    let (server, line) = (server.clone(), bar.clone());
    drop(go(move || draw(&server, &line, &stopped)));
    Status { running: Some((running, bar)) }
}

fn draw(server: &Server, bar: &ProgressBar, stopped: &chan::Receiver<Infallible>) {
    let (mut served, mut at) = (0, Instant::now());
    while stopped.recv_timeout(Duration::from_secs(1)) == Err(chan::RecvTimeoutError::Timeout) {
        let (now_served, now) = (server.served.load(Ordering::Relaxed), Instant::now());
        let per_second = (now_served - served) as f64 / now.duration_since(at).as_secs_f64();
        (served, at) = (now_served, now);
        let memory = millpond_sys::task::memory().unwrap_or_default();
        bar.set_message(format!(
            "{} goroutines  {} connections  {} requests/s  {} RSS",
            table::count(debug::counts().live as u64),
            table::count(server.connections.open() as u64),
            table::count(per_second as u64),
            table::bytes(memory.rss_bytes),
        ));
        bar.tick();
    }
}

impl Status {
    /// Takes the line away.
    pub(super) fn stop(self) {
        if let Some((running, bar)) = self.running {
            running.close();
            bar.finish_and_clear();
        }
    }
}
