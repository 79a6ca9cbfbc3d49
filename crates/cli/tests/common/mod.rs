//! The built binary as a child process, and a client that sends exact bytes.
//!
//! Everything waits for an event with a limit: a line, an end of stream, an exit. A limit that runs
//! out is a failed test, not a slow one.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longer than anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The binary, without the settings of whoever runs the tests except those of the runtime itself.
pub fn millpond() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.stdin(Stdio::null()).env_remove("MILLPOND_HTTP").env_remove("MILLPOND_ECHO");
    command
}

/// Runs the binary to its end: status, standard output, standard error.
pub fn run(args: &[&str]) -> (ExitStatus, String, String) {
    let out = millpond().args(args).output().expect("run the binary");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (out.status, text(out.stdout), text(out.stderr))
}

/// A running `millpond serve`. Dropping it kills it.
pub struct Server {
    child: Child,
    pub http: SocketAddr,
    pub echo: SocketAddr,
    /// Lines of the error stream, as they come.
    pub log: Receiver<String>,
}

impl Server {
    /// Starts it with both ports picked by the kernel.
    pub fn start(args: &[&str]) -> Self {
        let mut command = millpond();
        command.args(["serve", "--http", "127.0.0.1:0", "--echo", "127.0.0.1:0"]).args(args);
        Self::from(command)
    }

    /// Starts what `command` says, which must be a `millpond serve`.
    pub fn from(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the server");
        let out = lines(child.stdout.take().expect("piped"));
        let log = lines(child.stderr.take().expect("piped"));
        let mut addr = |prefix: &str| {
            let line = out.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                let _ = child.kill();
                panic!("no line {prefix:?}; the log: {:?}", log.iter().collect::<Vec<_>>())
            });
            let addr = line.strip_prefix(prefix).unwrap_or_else(|| panic!("{prefix:?}: {line:?}"));
            addr.parse().unwrap_or_else(|_| panic!("not an address: {line:?}"))
        };
        let http = addr("http listening on http://");
        let echo = addr("echo listening on ");
        Self { child, http, echo, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("signal the server");
    }

    /// Waits for a line of the log that contains `what`.
    pub fn wait_for_log(&self, what: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(what) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with {what:?} in the log: {error}"),
            }
        }
    }

    /// Waits for the end.
    pub fn wait(mut self) -> ExitStatus {
        // The error stream ends with the process.
        let until = Instant::now() + PATIENCE;
        loop {
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("wait"),
                Err(RecvTimeoutError::Timeout) => panic!("the server did not end"),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    told
}

/// A raw connection with a limit on each read.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

/// A reply, taken apart.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a field, if the head has it.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a limit");
        stream.set_nodelay(true).expect("set an option");
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("send");
    }

    /// Sends as much as the server takes; whether it refused the rest.
    pub fn send_until_refused(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_err()
    }

    /// The head of a reply, up to and with the empty line.
    pub fn read_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let got = self.stream.read_line(&mut head).expect("read a head");
            assert!(got > 0, "the connection ended within a head: {head:?}");
        }
        head
    }

    /// A reply with its body, by `content-length` or chunks.
    pub fn read_reply(&mut self) -> Reply {
        let mut reply = self.read_reply_to_head();
        if let Some(length) = reply.field("content-length") {
            reply.body = self.read_bytes(length.parse().expect("a number"));
        } else if reply.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.read_chunk() {
                reply.body.extend(chunk);
            }
        }
        reply
    }

    /// A reply that has no body, whatever its head says.
    pub fn read_reply_to_head(&mut self) -> Reply {
        let head = self.read_head();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {head:?}"));
        Reply { status, head, body: Vec::new() }
    }

    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("read");
        bytes
    }

    /// One chunk of a chunked body; `None` for the last.
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("read the size of a chunk");
        let size = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("{line:?}"));
        let mut chunk = self.read_bytes(size + 2);
        assert_eq!(chunk.split_off(size), b"\r\n");
        (size > 0).then_some(chunk)
    }

    /// Everything up to the end of the connection, which must be orderly: no reset.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("read to an orderly end");
        rest
    }

    /// Sends `request` and reads its reply.
    pub fn ask(&mut self, request: &str) -> Reply {
        self.send(request);
        self.read_reply()
    }
}

/// Whether a client program is here; says so if not.
pub fn have(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}
