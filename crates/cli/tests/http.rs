//! HTTP over raw sockets: every route, every limit, exact bytes.

mod common;

use common::{Client, Server};
use std::io::Read;
use std::net::Shutdown;
use std::time::{Duration, Instant};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")
}

#[test]
fn every_route_answers_on_one_kept_alive_connection() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    let root = client.ask(&get("/"));
    assert_eq!(root.status, 200);
    assert!(root.text().contains("millpond"), "{root:?}");
    assert!(root.field("content-type").unwrap().starts_with("text/plain"));

    let health = client.ask(&get("/healthz"));
    assert_eq!((health.status, health.text()), (200, "ok\n"));

    let dump = client.ask(&get("/debug/goroutines"));
    assert_eq!(dump.status, 200);
    for part in ["(http accept) [IO accept", "(http) [running", "(main) [", "created at "] {
        assert!(dump.text().contains(part), "{part}: {}", dump.text());
    }

    let sheet = client.ask(&get("/debug/memory"));
    assert_eq!(sheet.status, 200);
    for part in ["obtained from the system", "small blocks in use", "stacks"] {
        assert!(sheet.text().contains(part), "{part}: {}", sheet.text());
    }

    let echo = client.ask("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!((echo.status, echo.text()), (200, "hello"));
    assert_eq!(echo.field("content-length"), Some("5"));

    assert_eq!(client.ask(&get("/nowhere")).status, 404);
    let wrong = client.ask("DELETE / HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!((wrong.status, wrong.field("allow")), (405, Some("GET, HEAD")));
    let wrong = client.ask(&get("/echo"));
    assert_eq!((wrong.status, wrong.field("allow")), (405, Some("POST")));

    assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").status, 200);
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_head_request_gets_the_head_and_no_body() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    client.send("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n");
    let head = client.read_reply_to_head();
    assert_eq!(head.status, 200);
    let length = head.field("content-length").unwrap().to_owned();
    // A body would stand before this reply.
    let body = client.ask(&get("/"));
    assert_eq!((body.status, body.body.len().to_string()), (200, length));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    let post = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n";
    let all: String = (100..150).map(|i| format!("{}{post}{i}", get("/healthz"))).collect();
    client.send(all);
    for i in 100..150 {
        assert_eq!(client.read_reply().text(), "ok\n");
        assert_eq!(client.read_reply().text(), i.to_string());
    }
}

#[test]
fn an_echo_streams_each_piece_back_before_the_next_is_sent() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("5\r\nfirst\r\n");
    assert_eq!(client.read_reply_to_head().field("transfer-encoding"), Some("chunked"));
    assert_eq!(client.read_chunk().unwrap(), b"first");
    client.send("6\r\nsecond\r\n");
    assert_eq!(client.read_chunk().unwrap(), b"second");
    client.send("0\r\n\r\n");
    assert_eq!(client.read_chunk(), None);
    assert_eq!(client.ask(&get("/healthz")).status, 200, "the connection is kept");
}

#[test]
fn a_large_body_comes_back_whole() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    let body: Vec<u8> = (0..8 << 20).map(|i: u32| (i ^ i >> 11) as u8).collect();
    let mut sender = client.stream.get_ref().try_clone().unwrap();
    let sent = body.clone();
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        let length = sent.len();
        write!(sender, "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")?;
        sender.write_all(&sent)
    });
    let reply = client.read_reply();
    sending.join().unwrap().unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.body == body, "the body was changed");
}

#[test]
fn a_body_that_is_expected_to_be_asked_for_is_asked_for() {
    let server = Server::start(&["--max-body", "100"]);
    let mut client = Client::connect(server.http);
    client.send(
        "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
    );
    assert_eq!(client.read_head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ok");
    assert_eq!(client.read_reply().text(), "ok");

    // A body that is too large is refused without being asked for.
    client.send(
        "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 101\r\n\r\n",
    );
    assert_eq!(client.read_reply().status, 413);
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn what_is_not_http_is_400_and_the_connection_ends() {
    let server = Server::start(&[]);
    for bad in [
        "no http at all\r\n\r\n",
        "GET / HTTP/9.9\r\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: five\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
    ] {
        let mut client = Client::connect(server.http);
        // What follows must neither be answered nor turn the end into a reset.
        client.send(format!("{bad}{}", get("/")));
        let reply = client.read_reply();
        assert_eq!(reply.status, 400, "{bad:?}: {reply:?}");
        assert_eq!(client.read_to_end(), b"", "{bad:?}");
    }
    assert_eq!(Client::connect(server.http).ask(&get("/healthz")).status, 200);
}

#[test]
fn a_chunk_that_is_not_one_is_400() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnothex\r\n");
    assert_eq!(client.read_reply().status, 400);
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_body_chunked_twice_is_400() {
    let server = Server::start(&[]);
    for twice in ["chunked\r\ntransfer-encoding: chunked", "chunked, chunked"] {
        let mut client = Client::connect(server.http);
        let head = format!("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: {twice}\r\n\r\n");
        client.send(&(head + "0\r\n\r\n"));
        assert_eq!(client.read_reply().status, 400, "{twice:?}");
        assert_eq!(client.read_to_end(), b"", "{twice:?}");
    }
}

#[test]
fn a_head_over_the_limit_is_431_and_one_below_is_not() {
    for limit in [500_usize, 16_384, 100_000] {
        let server = Server::start(&["--max-header", &limit.to_string()]);
        let padded = |bytes: usize| {
            let frame = "GET / HTTP/1.1\r\nhost: x\r\npad: \r\n\r\n".len();
            format!("GET / HTTP/1.1\r\nhost: x\r\npad: {}\r\n\r\n", "p".repeat(bytes - frame))
        };
        let mut client = Client::connect(server.http);
        assert_eq!(client.ask(&padded(limit - 10)).status, 200, "{limit}");
        client.send_until_refused(padded(limit + 10));
        assert_eq!(client.read_reply().status, 431, "{limit}");
        assert_eq!(client.read_to_end(), b"");
    }
}

#[test]
fn a_head_without_end_and_one_with_too_many_fields_are_431() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    client.send_until_refused(format!("GET / HTTP/1.1\r\npad: {}", "p".repeat(1 << 20)));
    assert_eq!(client.read_reply().status, 431);
    assert_eq!(client.read_to_end(), b"");

    let mut client = Client::connect(server.http);
    client.send(format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101)));
    assert_eq!(client.read_reply().status, 431);
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_body_over_the_limit_is_413_whether_announced_or_chunked() {
    let server = Server::start(&["--max-body", "1000"]);
    let body = "b".repeat(1001);
    let mut client = Client::connect(server.http);
    client.send(format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n{body}"));
    let reply = client.read_reply();
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("at most 1000 bytes"), "{reply:?}");
    assert_eq!(client.read_to_end(), b"");

    let mut client = Client::connect(server.http);
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(format!("3e9\r\n{body}\r\n0\r\n\r\n"));
    assert_eq!(client.read_reply().status, 413);
    assert_eq!(client.read_to_end(), b"");

    let mut client = Client::connect(server.http);
    let fits =
        format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{}", &body[1..]);
    assert_eq!(client.ask(&fits).status, 200);
}

#[test]
fn a_large_body_that_is_refused_still_gets_its_413() {
    let server = Server::start(&["--max-body", "1000"]);
    let mut client = Client::connect(server.http);
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n");
    // All of it: the server reads on for a while, so that no reset destroys the reply.
    client.send(vec![b'b'; 4_000_000]);
    assert_eq!(client.read_reply().status, 413);
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_chunked_body_that_outgrows_the_limit_after_the_reply_began_is_cut() {
    let server = Server::start(&["--max-body", "1000"]);
    let mut client = Client::connect(server.http);
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("5\r\nfirst\r\n");
    assert_eq!(client.read_reply_to_head().status, 200);
    assert_eq!(client.read_chunk().unwrap(), b"first");
    client.send(format!("3e8\r\n{}\r\n0\r\n\r\n", "b".repeat(1000)));
    let rest = client.read_to_end();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the reply must not look complete: {rest:?}");
}

#[test]
fn a_slow_head_times_out_and_other_connections_do_not_notice() {
    let server = Server::start(&["--header-timeout", "0.3", "--idle", "30"]);
    let mut slow = Client::connect(server.http);
    let mut other = Client::connect(server.http);
    let began = Instant::now();
    slow.send("GET / HTTP/1.1\r\nhost: ");
    assert_eq!(other.ask(&get("/healthz")).status, 200);
    assert_eq!(slow.read_reply().status, 408);
    assert_eq!(slow.read_to_end(), b"");
    let took = began.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(20)).contains(&took), "{took:?}");
    assert_eq!(other.ask(&get("/healthz")).status, 200, "idle is not slow");
}

#[test]
fn idle_and_half_open_connections_are_closed() {
    let server = Server::start(&["--idle", "0.3"]);
    let mut silent = Client::connect(server.http);
    assert_eq!(silent.read_to_end(), b"");

    let mut kept = Client::connect(server.http);
    assert_eq!(kept.ask(&get("/healthz")).status, 200);
    assert_eq!(kept.read_to_end(), b"");

    // The rest of the body never comes.
    let mut stalled = Client::connect(server.http);
    stalled.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n");
    assert_eq!(stalled.read_reply().status, 408);
    assert_eq!(stalled.read_to_end(), b"");

    let mut echo = Client::connect(server.echo);
    echo.send("half");
    assert_eq!(echo.read_bytes(4), b"half");
    assert_eq!(echo.read_to_end(), b"");
}

#[test]
fn a_peer_that_does_not_read_its_reply_is_cut() {
    let server = Server::start(&["--idle", "0.5", "--max-body", "1000000000"]);
    let mut client = Client::connect(server.http);
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n");
    // More than all socket buffers hold, with nobody reading: ends when the server gives up.
    assert!(client.send_until_refused(vec![b'x'; 100_000_000]));
    let mut other = Client::connect(server.http);
    assert_eq!(other.ask(&get("/healthz")).status, 200);
}

#[test]
fn a_client_that_ends_its_side_after_the_request_gets_its_reply() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    client.send(get("/"));
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_reply().status, 200);
    assert_eq!(client.read_to_end(), b"");
}

/// Longer than a connection stays with hyper when it is idle.
const AT_REST: Duration = Duration::from_millis(1_300);

#[test]
fn a_connection_that_was_at_rest_goes_on_where_it_was() {
    let server = Server::start(&[]);
    let mut client = Client::connect(server.http);
    for _ in 0..2 {
        assert_eq!(client.ask(&get("/healthz")).status, 200);
        std::thread::sleep(AT_REST);
    }
    // One and a half requests: the half is kept, and completed later.
    let (head, tail) = ("GET /healthz HTTP/1.1\r\nho", "st: x\r\n\r\n");
    client.send(format!("{}{head}", get("/")));
    assert_eq!(client.read_reply().status, 200);
    std::thread::sleep(AT_REST);
    assert_eq!(client.ask(tail).text(), "ok\n");
    let post = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(client.ask(post).text(), "hello");
    std::thread::sleep(AT_REST);
    assert_eq!(client.ask(post).text(), "hello");
}

#[test]
fn a_body_that_nobody_read_is_never_taken_for_a_request() {
    let server = Server::start(&[]);
    let smuggled = get("/smuggled");
    for (head, status) in [("POST /healthz", 405), ("POST /nowhere", 404)] {
        let mut client = Client::connect(server.http);
        let length = smuggled.len();
        client.send(format!("{head} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"));
        assert_eq!(client.read_reply().status, status);
        std::thread::sleep(AT_REST);
        client.send_until_refused(&smuggled);
        client.stream.get_ref().shutdown(Shutdown::Write).ok();
        let mut rest = Vec::new();
        // The server may close with or without a reset; it must not answer.
        let _ = client.stream.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "", "{head}");
    }
}
