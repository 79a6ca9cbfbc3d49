//! Requests in all the ways in which bytes may arrive, and what is no request.

use crate::client::{bulk, request};
use crate::{connect, start};
use std::io::Write;
use std::net::Shutdown;

/// Requests of all forms, and the replies to them.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let binary: Vec<u8> = (0..=255).collect();
    let parts: [(Vec<u8>, Vec<u8>); 9] = [
        (b"PING\r\n".to_vec(), b"+PONG\r\n".to_vec()),
        (b"\r\n\r\n*0\r\n".to_vec(), Vec::new()),
        (request(&[b"SET", &binary[..], b"\r\n\0"]), b"+OK\r\n".to_vec()),
        (request(&[b"get", &binary[..]]), bulk(b"\r\n\0")),
        (b"echo 'a b' x\n".to_vec(), wrong_arity("echo")),
        (b"ECHO \"\\x00\\n\"\n".to_vec(), bulk(b"\0\n")),
        (request(&[b"RPUSH", &b"l"[..], b"", b"two"]), b":2\r\n".to_vec()),
        (
            request(&["LRANGE", "l", "0", "-1"]),
            [b"*2\r\n".to_vec(), bulk(b""), bulk(b"two")].concat(),
        ),
        (request(&["DEL", "l"]), b":1\r\n".to_vec()),
    ];
    let (requests, replies): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    (requests.concat(), replies.concat())
}

fn wrong_arity(name: &str) -> Vec<u8> {
    format!("-ERR wrong number of arguments for '{name}' command\r\n").into_bytes()
}

#[test]
fn requests_may_be_cut_anywhere() {
    let server = start();
    let (requests, replies) = conversation();
    for at in 0..requests.len() {
        let mut client = connect(&server);
        client.send(&requests[..at]);
        // An answer in between shows that the first part has been looked at.
        assert_eq!(connect(&server).say("PING"), "+PONG\r\n");
        client.send(&requests[at..]);
        client.stream().shutdown(Shutdown::Write).unwrap();
        assert!(client.rest() == replies, "cut at {at}");
    }
    let mut client = connect(&server);
    for byte in &requests {
        client.send([*byte]);
    }
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert!(client.rest() == replies, "byte by byte");
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    const COUNT: usize = 20_000;
    let server = start();
    let mut client = connect(&server);
    let requests: Vec<u8> =
        (0..COUNT).flat_map(|i| request(&["APPEND", "a", &"x".repeat(i % 7)])).collect();
    let mut writer = client.stream().try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&requests));
    let mut len = 0;
    for i in 0..COUNT {
        len += i % 7;
        assert_eq!(client.reply(), format!(":{len}\r\n").into_bytes());
    }
    writing.join().unwrap().unwrap();
}

#[test]
fn big_values_go_in_and_out_whole_and_beside_small_ones() {
    let server = start();
    let mut client = connect(&server);
    for size in [16_383, 16_384, 100_000, 5_000_000] {
        let value: Vec<u8> = (0..size).map(|i: u32| (i ^ i >> 8) as u8).collect();
        assert_eq!(client.ask(&[b"SET", &b"big"[..], &value]), b"+OK\r\n");
        client.send(
            [request(&["PING"]), request(&["GET", "big"]), request(&["STRLEN", "big"])].concat(),
        );
        assert_eq!(client.reply(), b"+PONG\r\n");
        assert!(client.reply() == bulk(&value), "{size}");
        assert_eq!(client.reply(), format!(":{size}\r\n").into_bytes());
    }
}

#[test]
fn a_client_that_does_not_read_is_waited_for_and_others_are_served() {
    let server = start();
    let mut deaf = connect(&server);
    assert_eq!(deaf.ask(&[b"SET", &b"big"[..], &[b'x'; 1 << 20]]), b"+OK\r\n");
    // More than the buffers of both sockets hold.
    let requests = request(&["GET", "big"]).repeat(50);
    deaf.send(&requests);
    let first = deaf.reply();
    let mut other = connect(&server);
    assert_eq!(other.ask(&[b"SET", &b"big"[..], b"small"]), b"+OK\r\n");
    // What was done before that comes as it was, what was done after it is small.
    let sizes: Vec<usize> = (1..50).map(|_| deaf.reply().len()).collect();
    assert!(first == bulk(&[b'x'; 1 << 20]) && sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    assert_eq!(sizes[48], bulk(b"small").len(), "replies are made before they can be written");
}

#[test]
fn what_is_no_request_gets_redis_answer_and_the_end() {
    let server = start();
    let cases: [(Vec<u8>, &str); 9] = [
        (b"*x\r\n".to_vec(), "invalid multibulk length"),
        (b"*1048577\r\n".to_vec(), "invalid multibulk length"),
        (b"*2\r\n$3\r\nGET\r\nkey\r\n".to_vec(), "expected '$', got 'k'"),
        (b"*1\r\n\r\n".to_vec(), "expected '$', got ' '"),
        (b"*1\r\n$-1\r\n".to_vec(), "invalid bulk length"),
        (b"*1\r\n$536870913\r\n".to_vec(), "invalid bulk length"),
        (b"set a \"b\r\n".to_vec(), "unbalanced quotes in request"),
        (vec![b'a'; 100_000], "too big inline request"),
        ([b"*".to_vec(), vec![b'1'; 100_000]].concat(), "too big mbulk count string"),
    ];
    for (bytes, text) in cases {
        let mut client = connect(&server);
        client.send(request(&["PING"]));
        client.send(bytes);
        let expected = format!("+PONG\r\n-ERR Protocol error: {text}\r\n");
        assert_eq!(String::from_utf8_lossy(&client.rest()), expected);
    }
    assert_eq!(connect(&server).say("PING"), "+PONG\r\n");
}

#[test]
fn what_is_announced_and_does_not_come_costs_nothing() {
    let server = start();
    let announced: Vec<_> = (0..100)
        .map(|_| {
            let mut client = connect(&server);
            client.send(b"*1048576\r\n$536870912\r\nstart");
            client
        })
        .collect();
    assert_eq!(connect(&server).say("PING"), "+PONG\r\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident_kb: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident_kb < 512 << 10, "{resident_kb} kB for {} clients", announced.len());
}

#[test]
fn quit_is_answered_and_ends_the_connection() {
    let server = start();
    let mut client = connect(&server);
    client.send(b"QUIT\r\nPING\r\n");
    assert_eq!(client.rest(), b"+OK\r\n");
}
