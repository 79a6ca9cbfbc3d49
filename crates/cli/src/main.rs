//! The `millpond` binary: `serve`, `million`, `load`.
//!
//! Each command is a module that gets its arguments and returns an exit status; this file only
//! chooses one. Whatever keeps a command from doing its work is one line on the error stream and
//! a status above zero: 2 for arguments that make no sense, 1 for everything else.
//!
//! A command's body runs as the first goroutine of a runtime, so that all of it may park.

#![forbid(unsafe_code)]

mod args;
mod load;
mod million;
mod serve;
mod table;

use args::{Args, Command};
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

// Chosen by the crate itself in that configuration.
#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond::Alloc = millpond::Alloc;

fn main() -> ExitCode {
    let args = match Args::from_command_line() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let (name, done) = match args.command {
        Command::Serve(serve) => ("serve", on_runtime(serve.procs, move || serve::run(&serve))),
        Command::Million(million) => {
            ("million", on_runtime(million.procs, move || million::run(&million)))
        }
        Command::Load(load) => ("load", on_runtime(load.procs, move || load::run(&load))),
    };
    done.unwrap_or_else(|error| {
        say(format_args!("{name}: {error}"));
        ExitCode::FAILURE
    })
}

/// One line for the operator. An error stream that nobody reads is no reason to stop.
fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "millpond {line}");
}

/// Runs `body` as the first goroutine.
fn on_runtime<F>(procs: Option<usize>, body: F) -> io::Result<ExitCode>
where
    F: FnOnce() -> io::Result<ExitCode> + Send + 'static,
{
    let mut builder = millpond::runtime::Builder::new();
    if let Some(procs) = procs {
        builder = builder.procs(procs);
    }
    builder.run(body)?
}

/// `error` with what was tried.
fn context(what: impl Display) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}
