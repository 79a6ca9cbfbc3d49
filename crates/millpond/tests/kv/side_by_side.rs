//! The same requests to Redis and to us: the replies must be the same, byte by byte.

use crate::client::{Client, request};
use crate::support::have;
use crate::{connect, start};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// A Redis of our own, without a port and without files; killed when dropped.
struct Redis {
    child: Child,
    socket: PathBuf,
}

impl Redis {
    fn start() -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("millpond-kv-{}-{number}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let mut child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start redis-server");
        let mut log = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("eady to accept connections") && !line.contains("server is now ready")
        {
            line.clear();
            assert!(log.read_line(&mut line).expect("read the log") > 0, "redis-server ended");
        }
        // It goes on to write, and must not be stopped by a full pipe.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { child, socket }
    }

    fn connect(&self) -> Client<UnixStream> {
        let stream = UnixStream::connect(&self.socket).expect("connect to redis-server");
        stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("set a limit");
        Client::new(stream)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

const SCRIPT: &str = include_str!("side_by_side.txt");

#[test]
fn a_script_of_all_commands_gets_the_replies_of_redis() {
    if !have("redis-server") {
        return;
    }
    let (server, redis) = (start(), Redis::start());
    let (mut ours, mut theirs) = (connect(&server), redis.connect());
    for line in SCRIPT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // As an inline command: the quotes are taken apart by both.
        ours.send(format!("{line}\r\n"));
        theirs.send(format!("{line}\r\n"));
        let (ours, theirs) = (ours.reply(), theirs.reply());
        let name = line.split(' ').next().unwrap();
        assert_eq!(comparable(name, &ours), comparable(name, &theirs), "{line}");
    }
}

/// xorshift: the same seed gives the same commands.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Commands with the most arguments that they are given here.
const COMMANDS: &[(&str, usize)] = &[
    ("set", 4),
    ("get", 1),
    ("getset", 2),
    ("mget", 3),
    ("mset", 4),
    ("del", 2),
    ("exists", 3),
    ("type", 1),
    ("ttl", 1),
    ("persist", 1),
    ("incr", 1),
    ("decr", 1),
    ("incrby", 2),
    ("decrby", 2),
    ("append", 2),
    ("strlen", 1),
    ("lpush", 3),
    ("rpush", 3),
    ("lpop", 2),
    ("rpop", 2),
    ("llen", 1),
    ("lrange", 3),
    ("lindex", 2),
    ("hset", 5),
    ("hget", 2),
    ("hdel", 3),
    ("hgetall", 1),
    ("hlen", 1),
    ("sadd", 3),
    ("srem", 3),
    ("smembers", 1),
    ("sismember", 2),
    ("scard", 1),
    ("keys", 1),
    ("dbsize", 0),
    ("expire", 3),
    ("setnx", 2),
    ("getdel", 1),
];

const KEYS: &[&str] = &["a", "b", "c", "key:1", ""];

const WORDS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "-2",
    "10",
    "01",
    "x",
    "abc",
    "",
    "nx",
    "xx",
    "get",
    "keepttl",
    "*",
    "?",
    "[a-b]",
    "9223372036854775807",
    "-9223372036854775808",
];

/// Times to live. None ends while the test runs, on one side earlier than on the other.
const TIMES: &[&str] = &["100000", "200000", "0", "-1", "x", "9223372036854775807"];

fn random_command(random: &mut Random) -> Vec<&'static str> {
    let (name, most) = COMMANDS[random.below(COMMANDS.len())];
    // Mostly the right number of words, sometimes not.
    let count = if random.below(10) == 0 { random.below(most + 2) } else { most };
    let mut words = vec![name];
    for at in 0..count {
        let from = if at == 1 && name == "expire" {
            TIMES
        } else if at == 0 && name != "keys" || random.below(5) == 0 {
            KEYS
        } else {
            WORDS
        };
        words.push(random.pick(from));
    }
    words
}

/// What does not depend on the order of elements, for commands that promise none; and not on the
/// seconds that went by between two commands.
fn comparable(name: &str, reply: &[u8]) -> String {
    let lines = text(reply);
    if name.eq_ignore_ascii_case("ttl") {
        let number = reply.strip_prefix(b":").and_then(|rest| std::str::from_utf8(rest).ok());
        return match number.and_then(|number| number.trim().parse::<i64>().ok()) {
            Some(seconds @ 1..) => format!("about {}", (seconds + 25) / 50 * 50),
            _ => lines,
        };
    }
    let step = match name {
        "smembers" | "keys" => 2,
        "hgetall" => 4,
        _ => return lines,
    };
    let parts: Vec<&str> = lines.split("\\r\\n").collect();
    let elements: BTreeSet<_> = parts[1..].chunks(step).map(|element| element.join(" ")).collect();
    format!("{} {elements:?}", parts[0])
}

#[test]
fn random_commands_get_the_replies_of_redis() {
    if !have("redis-server") {
        return;
    }
    let (server, redis) = (start(), Redis::start());
    let (mut ours, mut theirs) = (connect(&server), redis.connect());
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    for _ in 0..100 {
        let commands: Vec<_> = (0..100).map(|_| random_command(&mut random)).collect();
        let requests: Vec<u8> = commands.iter().flat_map(|words| request(words)).collect();
        ours.send(&requests);
        theirs.send(&requests);
        for words in commands {
            let (ours, theirs) = (ours.reply(), theirs.reply());
            let name = words[0];
            assert_eq!(comparable(name, &ours), comparable(name, &theirs), "{words:?}");
        }
    }
}

#[test]
fn what_is_malformed_gets_the_replies_of_redis() {
    if !have("redis-server") {
        return;
    }
    let (server, redis) = (start(), Redis::start());
    let cases = [
        "*x\r\n",
        "*\r\n",
        "*-1\r\n*1\r\n$4\r\nPING\r\n*x\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$\r\n",
        "*1\r\n:4\r\n",
        "*1\r\n\r\n\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$00\r\n",
        "*1\r\n$536870913\r\n",
        "get \"a\r\n",
        "get 'a'b\r\n",
        "get \"\\x4",
        "*99999999999\r\n",
        "*2\r\n$1\r\na\r\nPING\r\n",
    ];
    for case in cases {
        let (mut ours, mut theirs) = (connect(&server), redis.connect());
        for stream in [&mut ours as &mut dyn Talk, &mut theirs] {
            stream.tell(case.as_bytes());
        }
        assert_eq!(text(&ours.rest()), text(&theirs.rest()), "{case:?}");
    }
}

/// Sends, and says that no more will come.
trait Talk {
    fn tell(&mut self, bytes: &[u8]);
}

impl Talk for Client<std::net::TcpStream> {
    fn tell(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.stream().shutdown(std::net::Shutdown::Write).unwrap();
    }
}

impl Talk for Client<UnixStream> {
    fn tell(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.stream().shutdown(std::net::Shutdown::Write).unwrap();
    }
}
