//! The examples do what they say: each is run as a user would run it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::Duration;

/// The program of an example. `cargo test` builds the examples beside the tests; a run of this test
/// alone does not, so they are built here once.
fn example(name: &str) -> PathBuf {
    static BUILD: Once = Once::new();
    let test = std::env::current_exe().expect("this program has a path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
    let program = profile.join("examples").join(name);
    BUILD.call_once(|| {
        if !program.exists() {
            build(profile);
        }
    });
    program
}

fn build(profile: &Path) {
    let target = profile.parent().expect("target/PROFILE");
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--examples", "--profile", name, "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .status();
    assert!(status.expect("run cargo").success(), "cargo build --examples");
}

/// A running server; killed when dropped.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    fn start(name: &str) -> Self {
        let mut child = Command::new(example(name))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start the example {name}: {error}"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let addr = line.trim().strip_prefix("listening on ").and_then(|addr| addr.parse().ok());
        Self { child, addr: addr.unwrap_or_else(|| panic!("{name}: {line:?}")) }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.addr).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set a limit");
        BufReader::new(stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It serves until it is killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn echo_gives_back_what_each_of_many_clients_sends() {
    let server = Server::start("echo");
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        let message = format!("{id}").repeat(1000);
        client.get_mut().write_all(message.as_bytes()).unwrap();
        client.get_mut().shutdown(Shutdown::Write).unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, message);
    }
}

#[test]
fn the_pipeline_agrees_with_its_loop() {
    let out = Command::new(example("pipeline")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.stdout.iter().filter(|&&byte| byte == b'\n').count(), 3);
}

#[test]
fn a_chat_carries_lines_to_all_others_and_puts_out_who_does_not_read() {
    let server = Server::start("chat");
    let line = |client: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        line
    };
    let (mut ann, mut bob) = (server.connect(), server.connect());
    ann.get_mut().write_all(b"ann\n").unwrap();
    assert_eq!(line(&mut ann), "* 0 others are here\n");
    bob.get_mut().write_all(b"bob\r\n").unwrap();
    assert_eq!(line(&mut bob), "* 1 others are here\n");
    assert_eq!(line(&mut ann), "* bob is here\n");
    ann.get_mut().write_all(b"hello\nworld\n").unwrap();
    assert_eq!((line(&mut bob), line(&mut bob)), ("ann: hello\n".into(), "ann: world\n".into()));

    // A line without end costs the sender its place, not the room its memory.
    bob.get_mut().write_all(&[b'b'; 1024]).unwrap();
    assert_eq!(line(&mut ann), "* bob has left\n");
    assert_eq!(line(&mut bob), "");

    let mut deaf = server.connect();
    deaf.get_mut().write_all(b"deaf\n").unwrap();
    assert_eq!(line(&mut ann), "* deaf is here\n");
    // More than the sockets' buffers hold: the room waits for the deaf one, then goes on without.
    let text = format!("{}\n", "t".repeat(1000)).repeat(50_000);
    ann.get_mut().write_all(text.as_bytes()).unwrap();
    let mut heard = Vec::new();
    // A reset instead of an orderly end is all the same.
    let _ = deaf.read_to_end(&mut heard);
    assert!(heard.len() < text.len(), "the deaf one was waited for to the end");
}
