//! Redis' own programs, where they are installed.

use crate::start;
use crate::support::{Server, have};
use std::io::Write;
use std::process::{Command, Stdio};

fn run(server: &Server, program: &str, args: &[&str]) -> String {
    let port = server.addr.port().to_string();
    let out = Command::new(program).args(["-p", &port]).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{program} {args:?}: {out:?}");
    text
}

#[test]
fn redis_cli_sets_gets_and_helps() {
    if !have("redis-cli") {
        return;
    }
    let server = start();
    let cli = |args: &[&str]| run(&server, "redis-cli", args);
    assert_eq!(cli(&["set", "greeting", "hello world"]), "OK\n");
    assert_eq!(cli(&["get", "greeting"]), "hello world\n");
    assert_eq!(cli(&["rpush", "list", "a", "b"]), "2\n");
    assert_eq!(cli(&["lrange", "list", "0", "-1"]), "a\nb\n");
    assert!(cli(&["lpush", "greeting", "x"]).starts_with("WRONGTYPE "));
    // The pipe mode of redis-cli sends raw requests and counts replies and errors.
    let port = server.addr.port().to_string();
    let mut pipe = Command::new("redis-cli")
        .args(["-p", &port, "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let requests = "SET pipe:1 x\r\n".repeat(1000);
    pipe.stdin.take().unwrap().write_all(requests.as_bytes()).unwrap();
    let out = pipe.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(text.contains("errors: 0, replies: 1000"), "{text}");
}

#[test]
fn redis_benchmark_sees_no_error() {
    if !have("redis-benchmark") {
        return;
    }
    let server = start();
    let tests =
        "ping_inline,ping_mbulk,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,lrange_100,mset";
    for pipeline in ["1", "16"] {
        let args = ["-t", tests, "-c", "200", "-P", pipeline, "-n", "4000", "-r", "1000", "-q"];
        let text = run(&server, "redis-benchmark", &args);
        // It ends with a failure at the first error reply that it sees.
        let lines = text.split(['\r', '\n']).filter(|line| line.contains("requests per second"));
        assert!(lines.count() >= 13, "{text}");
        assert!(!text.to_lowercase().contains("error"), "{text}");
    }
    run(
        &server,
        "redis-benchmark",
        &["-t", "set,get", "-d", "100000", "-n", "500", "-c", "20", "-q"],
    );
}
