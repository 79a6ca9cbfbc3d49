//! Running one process: its line, its end, its time limit.
//!
//! A program prints `key=number` words on one line and ends with status 0; anything else is a [`Failure`] with its own
//! words. A server prints `listening ADDRESS` and goes on until its standard input is closed ([`Server`]).
//!
//! Each child is read by a thread, so that one which hangs is killed and named instead of being waited for.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A run that has not ended by then hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// A server that does not listen by then does not start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Why a run gave no figures.
pub type Failure = String;

/// The words of a line: names and numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields(Vec<(String, f64)>);

impl Fields {
    /// Reads the last line of an output.
    pub fn parse(output: &str) -> Result<Fields, Failure> {
        let line = output.lines().last().unwrap_or_default();
        let pair = |word: &str| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), value.parse().ok()?))
        };
        let fields: Option<Vec<_>> = line.split_whitespace().map(pair).collect();
        match fields {
            Some(fields) if !fields.is_empty() => Ok(Fields(fields)),
            _ => Err(format!("expected key=number words, found {line:?}")),
        }
    }

    /// The number of that name.
    pub fn get(&self, key: &str) -> Result<f64, Failure> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|&(_, value)| value).ok_or_else(|| format!("the result has no {key}"))
    }

    /// Fields of our own making.
    pub fn from_pairs(pairs: &[(&str, f64)]) -> Fields {
        Fields(pairs.iter().map(|&(key, value)| (key.to_owned(), value)).collect())
    }
}

/// What the command prints on standard output before it ends well.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    output_within(command, LIMIT)
}

/// The same, for a run that may take longer than others.
pub fn output_within(command: &mut Command, limit: Duration) -> Result<String, Failure> {
    let mut child = spawn(command.stdin(Stdio::null()))?;
    let out = read_all(child.stdout.take());
    let err = read_all(child.stderr.take());
    let Ok(text) = out.recv_timeout(limit) else {
        end(&mut child);
        return Err(format!("killed: not finished after {} s", limit.as_secs()));
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(text);
    }
    // A grandchild may still hold the pipe; what has come by then has to do.
    let complaint = err.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let first = complaint.lines().find(|line| !line.trim().is_empty()).unwrap_or("without a word");
    Err(format!("{status}: {first}"))
}

fn spawn(command: &mut Command) -> Result<Child, Failure> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn();
    child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))
}

/// Everything that comes out of a pipe, when it is closed.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A server that listens. It ends when this is dropped.
pub struct Server {
    child: Child,
    /// Closing it asks the server to end.
    stdin: Option<ChildStdin>,
    /// Where it listens.
    pub address: String,
}

impl Server {
    /// Starts it, and waits until it listens.
    pub fn start(command: &mut Command) -> Result<Server, Failure> {
        let mut child = spawn(command.stdin(Stdio::piped()))?;
        let stdin = child.stdin.take();
        let err = read_all(child.stderr.take());
        let (send, receive) = mpsc::channel();
        let out = child.stdout.take();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = out.map(|out| BufReader::new(out).read_line(&mut line));
            let _ = send.send(line);
        });
        let line = receive.recv_timeout(START_LIMIT).unwrap_or_default();
        if let Some(address) = line.strip_prefix("listening ") {
            let address = address.trim().to_owned();
            return Ok(Server { child, stdin, address });
        }
        end(&mut child);
        let complaint = err.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        Err(format!(
            "the server does not listen: {}",
            complaint.lines().next().unwrap_or("no word")
        ))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The number behind the colon.
    pub fn port(&self) -> Result<u64, Failure> {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.ok_or_else(|| format!("no port in {}", self.address))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself, within the time that a thread takes to notice; if it does not, it is ended.
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        end(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_last_line_of_the_output_is_the_result() {
        let text = output(&mut shell("echo warming up; echo ns=1500 ops=3 check=7")).unwrap();
        let fields = Fields::parse(&text).unwrap();
        assert_eq!((fields.get("ns"), fields.get("check")), (Ok(1500.0), Ok(7.0)));
        assert!(fields.get("bytes").unwrap_err().contains("bytes"));
        for bad in ["", "ns", "ns=fast", "ns=1 ops"] {
            assert!(Fields::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_end_is_told_in_the_programs_own_words() {
        let failure =
            output(&mut shell("echo ns=1; echo 'no stack left' >&2; exit 3")).unwrap_err();
        assert!(failure.contains("no stack left") && failure.contains('3'), "{failure}");
        assert!(
            output(&mut Command::new("no-such-program")).unwrap_err().contains("no-such-program")
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let failure =
            output_within(&mut shell("exec sleep 1000"), Duration::from_millis(200)).unwrap_err();
        assert!(failure.contains("killed"), "{failure}");
    }

    #[test]
    fn a_server_is_found_by_its_line_and_ends_with_its_input() {
        let server =
            Server::start(&mut shell("echo listening 127.0.0.1:4711; cat >/dev/null")).unwrap();
        assert_eq!((server.address.as_str(), server.port()), ("127.0.0.1:4711", Ok(4711)));
        let stat = format!("/proc/{}/stat", server.pid());
        drop(server);
        assert!(std::fs::read_to_string(stat).is_err(), "it has been waited for");
        let failure = Server::start(&mut shell("echo 'address in use' >&2")).err().unwrap();
        assert!(failure.contains("address in use"), "{failure}");
    }
}
