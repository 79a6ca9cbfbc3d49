//! Runs one test command: shows its output as it comes, counts results, and ends it when it hangs.
//!
//! 1. the child's standard output goes through a pipe; a thread reads it line by line (standard error is inherited);
//! 2. the caller's thread prints each line and adds every `test result:` line to the [`Tally`];
//! 3. when the limit passes first, the child and everything that it started are killed, and that is a failure.
//!
//! A command that ends badly without having counted a failure (it did not compile, it crashed, it hung) counts as one
//! failure: the closing numbers never look better than the truth.
//!
//! Rejected: `cargo test --message-format=json` for the results, because the format of libtest's own events is
//! unstable.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Counted results of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and commands that did not get as far as a result.
    pub failed: u64,
    /// Tests that were not run.
    pub ignored: u64,
}

impl Tally {
    /// Adds the results of another run.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    /// Adds what a line of libtest's output says, if it is a result line.
    fn add_line(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        for part in counts.split(['.', ';']) {
            let mut words = part.split_whitespace();
            if let (Some(Ok(n)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) {
                match what {
                    "passed" => self.passed += n,
                    "failed" => self.failed += n,
                    "ignored" => self.ignored += n,
                    _ => {}
                }
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Runs a test command to its end, or to the end of `limit`; shows its output on ours.
pub fn run(command: &mut Command, limit: Duration) -> Tally {
    run_into(command, limit, &mut io::stdout())
}

/// [`run`], with its output somewhere else.
fn run_into(command: &mut Command, limit: Duration, out: &mut dyn Write) -> Tally {
    let mut tally = Tally::default();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let ended_well = match child {
        Ok(mut child) => follow(&mut child, limit, &mut tally, out),
        Err(error) => {
            complain(out, &format!("cannot start {}: {error}", command.get_program().display()));
            false
        }
    };
    if !ended_well && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

/// Reads the child's output to its end; true if the child ended with status 0.
fn follow(child: &mut Child, limit: Duration, tally: &mut Tally, out: &mut dyn Write) -> bool {
    let deadline = Instant::now() + limit;
    let lines = lines_of(child);
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                tally.add_line(&String::from_utf8_lossy(&line));
                show(out, &line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                kill_tree(child);
                complain(out, &format!("killed: not finished after {} s", limit.as_secs()));
                return false;
            }
        }
    }
    match child.wait() {
        Ok(status) if status.success() => true,
        Ok(status) => {
            complain(out, &format!("ended with {status}"));
            false
        }
        Err(error) => {
            complain(out, &format!("cannot wait for the command: {error}"));
            false
        }
    }
}

/// The lines of the child's standard output, as a channel.
fn lines_of(child: &mut Child) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            loop {
                let mut line = Vec::new();
                match output.read_until(b'\n', &mut line) {
                    Ok(n) if n > 0 && send.send(line).is_ok() => {}
                    _ => return,
                }
            }
        });
    }
    receive
}

/// Passes a line on. A closed pipe behind us (`| head`) must not lose the count.
fn show(out: &mut dyn Write, line: &[u8]) {
    let _ = out.write_all(line).and_then(|()| out.flush());
}

fn complain(out: &mut dyn Write, what: &str) {
    let _ = writeln!(out, "xtask: {what}");
}

/// Kills the child and all its descendants: cargo's death alone would leave the hanging test behind.
fn kill_tree(child: &mut Child) {
    let family = descendants(child.id(), &parents());
    let pids = family.iter().map(u32::to_string);
    if !family.is_empty() {
        let _ = Command::new("kill").arg("-9").args(pids).stderr(Stdio::null()).status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pid = |name: &std::ffi::OsStr| name.to_string_lossy().parse::<u32>().ok();
    entries
        .flatten()
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid(&entry.file_name())?, parent_in(&stat)?))
        })
        .collect()
}

/// The parent in a `/proc/pid/stat`. The name in parentheses may itself hold spaces and parentheses.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// All processes below `pid`.
fn descendants(pid: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        next += 1;
        let is_new = |child: u32| !family.contains(&child);
        let children = parents.iter().filter(|&&(child, p)| p == parent && is_new(child));
        let children: Vec<u32> = children.map(|&(child, _)| child).collect();
        family.extend(children);
    }
    family.remove(0);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Tally {
        run_into(Command::new("sh").args(["-c", script]), limit, &mut Vec::new())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn result_lines_are_summed_and_other_lines_are_not() {
        let script =
            "echo 'test result: ok. 17 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out'
                      echo '5 passed; 5 failed'; echo 'test result: ok. 3 passed; 0 failed'";
        let wanted = Tally { passed: 20, failed: 1, ignored: 2 };
        assert_eq!(shell(script, LONG), wanted);
        assert_eq!(shell("echo 'it said test result: ok. 9 passed'", LONG), Tally::default());
    }

    #[test]
    fn a_bad_end_without_a_result_is_one_failure() {
        let failed = |n| Tally { failed: n, ..Tally::default() };
        assert_eq!(shell("exit 101", LONG), failed(1));
        assert_eq!(shell("kill -9 $$", LONG), failed(1));
        assert_eq!(
            shell("echo 'test result: FAILED. 0 passed; 4 failed'; exit 101", LONG),
            failed(4)
        );
        let missing = &mut Command::new("no-such-program");
        assert_eq!(run_into(missing, LONG, &mut Vec::new()), failed(1));
        assert_eq!(shell("exit 0", LONG), failed(0));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let mut out = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        assert_eq!(run_into(&mut command, Duration::from_secs(2), &mut out).failed, 1);
        let text = String::from_utf8(out).unwrap();
        let (pid, rest) = text.split_once('\n').unwrap();
        assert!(rest.contains("killed"), "{text}");
        // A signal is delivered some time after it was sent.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let deadline = Instant::now() + LONG;
        while !gone() {
            assert!(Instant::now() < deadline, "the grandchild {pid} lives");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_in("7 (a) b) c) S 3 7 7"), Some(3));
        assert_eq!(parent_in("nonsense"), None);
        assert_eq!(descendants(1, &[(2, 1), (3, 2), (4, 9), (1, 0)]), [2, 3]);
    }
}
