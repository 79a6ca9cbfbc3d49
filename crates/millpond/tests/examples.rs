//! The examples do what they say: each is run as a user would run it.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use support::{Server, run};

#[test]
fn echo_gives_back_what_each_of_many_clients_sends() {
    let server = Server::start("echo", &["127.0.0.1:0"]);
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
fn the_pipeline_agrees_with_its_loop_and_stops_early() {
    let out = run("pipeline");
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.contains("an endless text: stopped"), "{out}");
}

#[test]
fn fanned_out_jobs_come_back_in_their_order() {
    let out = run("fan");
    assert!(out.starts_with("of 5000 numbers 3711 takes the most steps, 237\n"), "{out}");
}

#[test]
fn an_actor_sells_each_seat_once_and_hands_over_its_books() {
    let out = run("actor");
    let first = out.lines().next().expect("it says what it has sold");
    let numbers = first.split(' ').filter_map(|word| word.parse::<u32>().ok());
    assert_eq!(numbers.sum::<u32>(), 100, "{out}");
}

#[test]
fn a_crawl_finds_every_page_once_and_ends_with_its_context() {
    let out = run("crawl");
    assert!(out.starts_with("100 pages, 50 broken links\n"), "{out}");
    assert!(out.contains("HTTP/1.0 404 Not Found"), "{out}");
    assert!(out.ends_with("a deaf site: context deadline exceeded\n"), "{out}");
}

#[test]
fn an_error_group_keeps_the_first_error_and_stops_the_others() {
    let out = run("errgroup");
    let lines: Vec<_> = out.lines().collect();
    let [whole, corrupt, late] = lines[..] else { panic!("{out}") };
    assert!(whole.ends_with("all whole"), "{out}");
    assert!(corrupt.starts_with("part 7 is corrupt"), "{out}");
    assert_eq!(late, "context deadline exceeded");
}

#[test]
fn limited_jobs_start_no_earlier_than_their_tokens() {
    // It compares each start with the clock itself.
    assert_eq!(run("ratelimit").lines().count(), 2);
}

#[test]
fn a_chat_carries_lines_to_all_others_and_puts_out_who_does_not_read() {
    let server = Server::start("chat", &["127.0.0.1:0"]);
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
