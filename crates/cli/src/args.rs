//! The command line. Each flag is also an environment variable, `MILLPOND_` and its name.
//!
//! A mistake in it is one line: what is wrong, and where help is. clap would add usage and tips,
//! which push the one line that matters out of a log.

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// A Go-style runtime for Rust services: a server, a burst of goroutines, a load generator.
#[derive(Debug, Parser)]
#[command(name = "millpond", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve HTTP/1.1 and a TCP echo until SIGINT or SIGTERM
    Serve(Serve),
    /// Start goroutines by the million, park them, wake them in a ring, and measure
    Million(Million),
    /// Put load on a TCP echo or an HTTP server, and check every reply
    Load(Load),
}

/// `millpond serve`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Serve {
    /// Where HTTP listens; port 0 picks a free one
    #[arg(long, value_name = "ADDR", env = "MILLPOND_HTTP", default_value = "127.0.0.1:8080")]
    pub(crate) http: String,
    /// Where the echo listens; port 0 picks a free one
    #[arg(long, value_name = "ADDR", env = "MILLPOND_ECHO", default_value = "127.0.0.1:7000")]
    pub(crate) echo: String,
    /// How many goroutines run at once [default: the processors of this process]
    #[arg(long, value_name = "N", env = "MILLPOND_PROCS")]
    pub(crate) procs: Option<usize>,
    /// How long open connections may take to finish after SIGINT or SIGTERM
    #[arg(
        long, value_name = "SECS",
        env = "MILLPOND_DRAIN", default_value = "10",
        value_parser = seconds,
    )]
    pub(crate) drain: Duration,
    /// After how long without progress a connection is closed
    #[arg(
        long, value_name = "SECS",
        env = "MILLPOND_IDLE", default_value = "60",
        value_parser = seconds_above_zero,
    )]
    pub(crate) idle: Duration,
    /// How long the head of a request may take
    #[arg(
        long, value_name = "SECS",
        env = "MILLPOND_HEADER_TIMEOUT", default_value = "10",
        value_parser = seconds_above_zero,
    )]
    pub(crate) header_timeout: Duration,
    /// How large the head of a request may be: 431 above
    #[arg(
        long, value_name = "BYTES",
        env = "MILLPOND_MAX_HEADER", default_value = "16384",
        value_parser = header_bytes,
    )]
    pub(crate) max_header: usize,
    /// How large the body of a request may be: 413 above
    #[arg(long, value_name = "BYTES", env = "MILLPOND_MAX_BODY", default_value = "16777216")]
    pub(crate) max_body: u64,
}

/// `millpond million`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Million {
    /// How many goroutines
    #[arg(
        long, value_name = "N",
        env = "MILLPOND_COUNT", default_value = "1000000",
        value_parser = clap::value_parser!(u32).range(1..=100_000_000),
    )]
    pub(crate) count: u32,
    /// How many bytes each keeps alive on its stack, checked after it was woken
    #[arg(
        long, value_name = "BYTES",
        env = "MILLPOND_LIVE", default_value = "0",
        value_parser = clap::value_parser!(u32).range(0..=4 << 20),
    )]
    pub(crate) live: u32,
    /// How many times all of it is done, in one process
    #[arg(
        long, value_name = "N",
        env = "MILLPOND_ROUNDS", default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=1000),
    )]
    pub(crate) rounds: u32,
    /// How many goroutines run at once [default: the processors of this process]
    #[arg(long, value_name = "N", env = "MILLPOND_PROCS")]
    pub(crate) procs: Option<usize>,
    /// Print the figures as one line of JSON
    #[arg(long, env = "MILLPOND_JSON")]
    pub(crate) json: bool,
}

/// `millpond load`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Load {
    /// Whom to load
    #[arg(value_name = "HOST:PORT", env = "MILLPOND_TARGET")]
    pub(crate) target: String,
    /// How many connections, each with one request at a time
    #[arg(
        long, value_name = "N",
        env = "MILLPOND_CONNS", default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..),
    )]
    pub(crate) conns: u32,
    /// For how long
    #[arg(
        long, value_name = "S",
        env = "MILLPOND_SECS", default_value = "10",
        value_parser = seconds_above_zero,
    )]
    pub(crate) secs: Duration,
    /// Speak HTTP (GET /) instead of the echo
    #[arg(long, env = "MILLPOND_LOAD_HTTP")]
    pub(crate) http: bool,
    /// How large an echoed message is
    #[arg(
        long, value_name = "BYTES",
        env = "MILLPOND_SIZE", default_value = "64",
        value_parser = clap::value_parser!(u32).range(1..=1 << 20),
    )]
    pub(crate) size: u32,
    /// How many goroutines run at once [default: the processors of this process]
    #[arg(long, value_name = "N", env = "MILLPOND_PROCS")]
    pub(crate) procs: Option<usize>,
    /// Print the figures as one line of JSON
    #[arg(long, env = "MILLPOND_JSON")]
    pub(crate) json: bool,
}

impl Args {
    /// The arguments of this process; or its exit status, after help or the one line was printed.
    pub(crate) fn from_command_line() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                // Nothing can be done about an output that is closed.
                let _ = error.print();
                ExitCode::from(if error.use_stderr() { 2 } else { 0 })
            }
            _ => {
                let text = error.to_string();
                // Up to the first empty line: a list of what is missing has a line for each.
                let lines = text.lines().take_while(|line| !line.trim().is_empty());
                let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
                let what = line.strip_prefix("error: ").unwrap_or(&line);
                // As above.
                let _ = writeln!(io::stderr(), "millpond: {what} (millpond --help tells more)");
                ExitCode::from(2)
            }
        })
    }
}

/// Seconds, with a fraction if need be.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok();
    number
        .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
        .ok_or_else(|| "expected a number of seconds".to_owned())
}

fn seconds_above_zero(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("expected more than zero seconds".to_owned()),
        duration => Ok(duration),
    }
}

/// A request line and a host need some room; nobody needs a gigabyte.
fn header_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 64..=0x10_0000) => Ok(bytes),
        _ => Err("expected 64 to 1048576 bytes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_flag_is_also_an_environment_variable() {
        let command = Args::command();
        for subcommand in command.get_subcommands() {
            for arg in subcommand.get_arguments().filter(|arg| arg.get_id() != "help") {
                let env = arg.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                assert!(env.starts_with("MILLPOND_"), "{arg} of {}", subcommand.get_name());
            }
        }
        command.debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction_but_not_be_nonsense() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["", "x", "-1", "NaN", "1e300"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert!(seconds_above_zero("0").is_err());
        assert!(header_bytes("63").is_err() && header_bytes("64") == Ok(64));
    }
}
