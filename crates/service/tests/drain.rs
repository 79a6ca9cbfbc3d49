//! Connections as a set: they finish, or they are cut, and late ones are turned away.

use millpond_net::{Closed, TcpListener, TcpStream};
use millpond_rt::{Builder, block_on, go};
use millpond_service::{Acceptor, Connections, Manner};
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

fn run(body: impl FnOnce() + Send + 'static) {
    Builder::new().procs(2).private().run(body).unwrap();
}

/// A connection, its two ends.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn a_reader_sees_the_end_of_input_after_what_had_arrived() {
    run(|| {
        let (connections, (mut peer, mut conn)) = (Connections::new(), pair());
        let live = connections.enter(&conn, Manner::EndOfInput).unwrap();
        peer.write_all(b"arrived").unwrap();
        conn.readable().unwrap();
        let reader = go(move || {
            let mut text = String::new();
            conn.read_to_string(&mut text).unwrap();
            drop(live);
            text
        });
        let drained = connections.drain(LONG);
        assert_eq!((drained.finished, drained.cut), (1, 0));
        assert_eq!(reader.join().unwrap(), "arrived");
    });
}

#[test]
fn who_is_only_signalled_may_read_on() {
    run(|| {
        let (connections, (mut peer, mut conn)) = (Connections::new(), pair());
        let live = connections.enter(&conn, Manner::Signal).unwrap();
        assert!(!live.is_stopping());
        let handler = go(move || {
            block_on(live.stopping());
            assert!(live.is_stopping());
            peer.write_all(b"x").unwrap();
            let got = conn.read(&mut [0; 8]).unwrap();
            drop(live);
            got
        });
        assert_eq!(connections.drain(LONG).finished, 1);
        assert_eq!(handler.join().unwrap(), 1);
    });
}

#[test]
fn what_is_left_when_the_time_is_up_is_cut() {
    run(|| {
        let (connections, (_peer, mut conn)) = (Connections::new(), pair());
        let live = connections.enter(&conn, Manner::Signal).unwrap();
        let handler = go(move || {
            let error = conn.read(&mut [0; 8]).unwrap_err();
            drop(live);
            Closed::is(&error)
        });
        let drained = connections.drain(Duration::from_millis(20));
        assert_eq!((drained.finished, drained.cut), (0, 1));
        assert!(handler.join().unwrap(), "a cut is an error that says so");
    });
}

#[test]
fn nothing_is_entered_after_draining_has_begun() {
    run(|| {
        let (connections, (_peer, conn)) = (Connections::new(), pair());
        connections.drain(LONG);
        assert!(connections.is_draining());
        assert!(connections.enter(&conn, Manner::EndOfInput).is_none());

        // A loop that starts late ends at once, and its port is free.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        Acceptor::new(listener, &connections).run(|_| {}, |_, _, _| {}).unwrap();
        let refused = TcpStream::connect(addr).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_handler_that_panics_leaves_the_set() {
    run(|| {
        let connections = Connections::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = Acceptor::new(listener, &connections);
        let (tell, told) = mpsc::channel();
        let server = go(move || {
            acceptor.run(
                |_| {},
                move |_conn, _peer, _live| {
                    tell.send(()).unwrap();
                    panic!("a handler's own fault");
                },
            )
        });
        let mut client = TcpStream::connect(addr).unwrap();
        // The end of the connection, however it looks, comes after the panic.
        let _ = client.read(&mut [0; 1]);
        told.recv().unwrap();
        let drained = connections.drain(LONG);
        assert_eq!(drained.cut, 0);
        server.join().unwrap().unwrap();
    });
}
