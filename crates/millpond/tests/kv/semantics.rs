//! What commands mean where time, other clients or the end of the server come in. (What they mean
//! otherwise is compared with Redis in `side_by_side`.)

use crate::client::request;
use crate::{connect, start};
use std::process::Command;
use std::time::Instant;

/// Asks until the answer is as expected. Each question is a round trip, so this does not spin.
fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + crate::support::PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it did not become so");
    }
}

#[test]
fn keys_expire_for_who_asks_and_are_removed_if_nobody_does() {
    let server = start();
    let mut client = connect(&server);
    assert_eq!(client.say("SET a 1 PX 1"), "+OK\r\n");
    until(|| client.say("GET a") == "$-1\r\n");
    for i in 0..1000 {
        assert_eq!(client.say(&format!("SET key:{i} 1 PX 1")), "+OK\r\n");
    }
    assert_eq!(client.say("SET later 1 EX 1000"), "+OK\r\n");
    assert_eq!(client.say("SET stays 1"), "+OK\r\n");
    until(|| client.say("DBSIZE") == ":2\r\n");
    // One that is due long before the next: the sweeper is told.
    assert_eq!(client.say("SET sooner 1 PX 1"), "+OK\r\n");
    until(|| client.say("DBSIZE") == ":2\r\n");
    assert!(client.say("INFO keyspace").contains("keys=2,expires=1"));
    assert_eq!(client.say("SET later 2"), "+OK\r\n");
    assert_eq!(client.say("TTL later"), ":-1\r\n");
}

#[test]
fn a_time_to_live_counts_down_and_can_be_kept_or_removed() {
    let server = start();
    let mut client = connect(&server);
    let mut pttl = |line: &str| {
        client.say(line);
        let reply = client.say("PTTL a");
        reply.trim_end().trim_start_matches(':').parse::<i64>().unwrap()
    };
    let ten = pttl("SET a 1 EX 10000");
    assert!((1..=10_000_000).contains(&ten));
    assert!((1..=ten).contains(&pttl("SET a 2 KEEPTTL")));
    assert!((1..=ten).contains(&pttl("APPEND a 3")));
    assert!((1..=5000).contains(&pttl("PEXPIRE a 5000 LT")));
    assert_eq!(pttl("PERSIST a"), -1);
    assert_eq!(pttl("PEXPIRE a -1"), -2);
}

#[test]
fn commands_on_several_keys_are_atomic() {
    let server = start();
    // They lie in different shards, and are named in different orders.
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let writer = |id: usize| {
        let mut client = connect(&server);
        move || {
            for i in 0..300 {
                let value = format!("{id}:{i}");
                let mut words = vec!["MSET".to_owned()];
                for at in 0..names.len() {
                    words.extend([names[(at * 3 + id) % names.len()].to_owned(), value.clone()]);
                }
                assert_eq!(client.ask(&words), b"+OK\r\n");
            }
        }
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4).map(|id| scope.spawn(writer(id))).collect();
        let mut client = connect(&server);
        let all = request(&[&["MGET"], &names[..]].concat());
        while !writers.iter().all(|writer| writer.is_finished()) {
            client.send(&all);
            let reply = String::from_utf8(client.reply()).unwrap();
            let values: Vec<&str> = reply.lines().skip(2).step_by(2).collect();
            assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{reply}");
        }
    });
}

#[test]
fn counters_lose_nothing_between_many_clients() {
    let server = start();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut client = connect(&server);
            scope.spawn(move || {
                client.send(request(&["INCR", "n"]).repeat(500));
                (0..500).for_each(|_| drop(client.reply()));
            });
        }
    });
    assert_eq!(connect(&server).say("GET n"), "$4\r\n4000\r\n");
}

#[test]
fn an_interrupt_lets_clients_have_their_replies_and_ends_the_server() {
    let server = start();
    let mut idle = connect(&server);
    assert_eq!(idle.say("PING"), "+PONG\r\n");
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(idle.rest(), b"");
    assert!(server.wait().success());
}

#[test]
fn a_bad_command_line_is_refused_with_the_usage() {
    let run =
        |args: &[&str]| Command::new(crate::support::example("kv")).args(args).output().unwrap();
    for args in [&["--addr"][..], &["--port", "1"], &["127.0.0.1:0"]] {
        let out = run(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("usage: kv"));
    }
    let out = run(&["--addr", "nowhere.invalid"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("nowhere.invalid"), "{out:?}");
    assert!(run(&["--help"]).status.success());
}
