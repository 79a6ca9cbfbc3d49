//! Running a script: its answer, its time, and the most memory that one of its processes had.
//!
//! The kernel keeps the account: the memory that the largest process below the shell ever had resident, of those that
//! were waited for. It is exact, where looking from time to time would miss the peak.
//!
//! A script that has not ended after [`LIMIT`] is killed with all that it started, by `timeout`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use wait4::Wait4;

/// Seconds after which a script hangs.
const LIMIT: &str = "600";

/// What one run was like.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it printed.
    pub answer: Vec<u8>,
    /// Seconds.
    pub secs: f64,
    /// Most bytes that one process had resident.
    pub peak_bytes: u64,
}

/// Where commands are looked for: the distribution's before what somebody has put before them, since a wrapper around a
/// program is not the program.
pub fn path() -> String {
    let mut folders = vec!["/usr/bin".to_owned(), "/bin".to_owned()];
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.last().map(|folder| folder.display().to_string()));
    folders.push(std::env::var("PATH").unwrap_or_default());
    folders.join(":")
}

/// The first place of a command.
pub fn find(command: &str) -> Option<PathBuf> {
    let path = path();
    let mut places = path.split(':').map(|folder| Path::new(folder).join(command));
    places.find(|place| place.is_file())
}

/// Runs a script in a folder. `library` comes before the C library's allocator; `None` runs the program as it is.
pub fn run(script: &str, folder: &Path, size: u32, library: Option<&Path>) -> Result<Run, String> {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", LIMIT, "sh", "-ec", script]).current_dir(folder);
    command.env("PATH", path()).env("N", size.to_string()).env("HOME", folder);
    let preload = library.map(|library| format!("env LD_PRELOAD={}", library.display()));
    command.env("RUN", preload.as_deref().unwrap_or("env")).env_remove("LD_PRELOAD");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("cannot start a shell: {error}"))?;
    let mut stderr = child.stderr.take().ok_or("no pipe")?;
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    let mut answer = Vec::new();
    let mut stdout = child.stdout.take().ok_or("no pipe")?;
    stdout.read_to_end(&mut answer).map_err(|error| format!("cannot read: {error}"))?;
    let ended = child.wait4().map_err(|error| format!("cannot wait: {error}"))?;
    let secs = started.elapsed().as_secs_f64();
    let complaints = complaints.join().ok().and_then(Result::ok).unwrap_or_default();
    if !ended.status.success() {
        return Err(format!("{}: {}", ended.status, String::from_utf8_lossy(&complaints).trim()));
    }
    Ok(Run { answer, secs, peak_bytes: ended.rusage.maxrss })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_and_the_largest_process_are_found() {
        let folder = std::env::temp_dir();
        let run = |script| run(script, &folder, 3, None);
        let small = run("$RUN echo $N").unwrap();
        assert_eq!(small.answer, b"3\n");
        let large = run("head -c 60000000 /dev/zero | tail -n 1 | wc -c").unwrap();
        assert!(large.peak_bytes > small.peak_bytes + (30 << 20), "{large:?}");
        assert!(run("echo why >&2; exit 3").unwrap_err().contains("why"));
    }
}
