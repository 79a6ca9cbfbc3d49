//! Sockets under a context: it fails what it finds done, ends what waits, and takes nothing along.
//!
//! Each test runs on plain threads, which wait in poll(2), and on goroutines, which park. A canceller
//! comes before or after the wait begins, as it happens; the rounds see both.

mod common;

use common::{Kind, tcp_pair};
use millpond_net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixStream};
use millpond_rt::Context;
use millpond_rt::context::ContextError;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

for_all_kinds!(
    a_cancellation_ends_a_read_and_the_stream_goes_on,
    a_cancellation_ends_a_write,
    a_deadline_ends_a_read_wherever_it_is_hidden,
    a_context_that_is_done_takes_no_data,
    the_nearer_of_two_limits_says_so,
    a_cancellation_ends_an_accept,
    a_connection_is_made_within_a_context,
    a_cancellation_ends_a_connect_to_a_full_listener,
    datagrams_are_waited_for_within_a_context,
    a_cancellation_ends_a_send_to_a_full_receiver,
);

const ROUNDS: usize = 100;
const FAR: Duration = Duration::from_secs(3600);

#[track_caller]
fn assert_cancelled<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(ContextError::of(&error), Some(ContextError::Cancelled), "{error}");
}

/// A context that a party of this kind cancels.
fn cancelled_by(kind: Kind) -> (Context, common::Party<()>) {
    let (ctx, cancel) = Context::background().with_timeout(FAR);
    (ctx, kind.start(move || cancel.cancel()))
}

fn a_cancellation_ends_a_read_and_the_stream_goes_on(kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    for _ in 0..ROUNDS {
        let (ctx, canceller) = cancelled_by(kind);
        assert_cancelled(near.with_ctx(&ctx).read(&mut [0; 8]));
        canceller.join();
        let (ctx, canceller) = cancelled_by(kind);
        assert_cancelled(near.readable_ctx(&ctx));
        canceller.join();
        far.write_all(b"x").unwrap();
        assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
    }
}

fn a_cancellation_ends_a_write(kind: Kind) {
    let (near, _far) = UnixStream::pair().unwrap();
    fill(&near);
    for _ in 0..ROUNDS {
        let (ctx, canceller) = cancelled_by(kind);
        assert_cancelled(near.with_ctx(&ctx).write_all(b"no room"));
        canceller.join();
        let (ctx, canceller) = cancelled_by(kind);
        assert_cancelled(near.writable_ctx(&ctx));
        canceller.join();
    }
}

/// Writes until there is no room, without waiting.
fn fill(stream: &UnixStream) {
    let fd = stream.as_fd().try_clone_to_owned().unwrap();
    let mut stream = std::os::unix::net::UnixStream::from(fd);
    for chunk in [&[7; 4096][..], &[7; 1]] {
        let error = loop {
            if let Err(error) = stream.write(chunk) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

fn a_deadline_ends_a_read_wherever_it_is_hidden(_kind: Kind) {
    let (near, mut far) = tcp_pair();
    far.write_all(b"half a li").unwrap();
    let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(5));
    let mut line = String::new();
    let error = BufReader::new(near.with_ctx(&ctx)).read_line(&mut line).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(ContextError::of(&error), Some(ContextError::DeadlineExceeded));
    assert!(Instant::now() >= ctx.deadline().unwrap());
}

fn a_context_that_is_done_takes_no_data(_kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    far.write_all(b"kept").unwrap();
    near.readable().unwrap();
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    assert_cancelled(near.with_ctx(&ctx).read(&mut [0; 8]));
    assert_cancelled(near.with_ctx(&ctx).write(b"not sent"));
    assert_eq!(near.read(&mut [0; 8]).unwrap(), 4);
    drop(near);
    assert_eq!(far.read(&mut [0; 8]).unwrap(), 0);
}

fn the_nearer_of_two_limits_says_so(_kind: Kind) {
    let (near, _far) = tcp_pair();
    let (far_away, _cancel) = Context::background().with_timeout(FAR);
    near.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let error = near.with_ctx(&far_away).read(&mut [0; 8]).unwrap_err();
    assert_eq!((error.kind(), ContextError::of(&error)), (ErrorKind::TimedOut, None));
    near.set_read_timeout(Some(FAR)).unwrap();
    let (soon, _cancel) = Context::background().with_timeout(Duration::from_millis(5));
    let error = near.with_ctx(&soon).read(&mut [0; 8]).unwrap_err();
    assert_eq!(ContextError::of(&error), Some(ContextError::DeadlineExceeded));
}

fn a_cancellation_ends_an_accept(kind: Kind) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..ROUNDS {
        let (ctx, canceller) = cancelled_by(kind);
        assert_cancelled(listener.accept_ctx(&ctx));
        canceller.join();
    }
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept_ctx(&Context::background()).unwrap();
}

fn a_connection_is_made_within_a_context(_kind: Kind) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (ctx, cancel) = Context::background().with_timeout(FAR);
    let mut client = TcpStream::connect_ctx(&ctx, ("localhost", addr.port())).unwrap();
    let (mut server, _) = listener.accept_ctx(&ctx).unwrap();
    client.write_all(b"hi").unwrap();
    assert_eq!(server.read(&mut [0; 8]).unwrap(), 2);
    cancel.cancel();
    assert_cancelled(TcpStream::connect_ctx(&ctx, addr));
    assert_cancelled(TcpStream::connect_ctx(&ctx, ("localhost", addr.port())));
}

fn a_cancellation_ends_a_connect_to_a_full_listener(kind: Kind) {
    let path = std::env::temp_dir().join(format!("millpond-full-{}-{kind:?}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let waiting = UnixStream::connect_ctx(&Context::background(), &path).unwrap();
    for _ in 0..ROUNDS / 10 {
        let (ctx, canceller) = cancelled_by(kind);
        assert_cancelled(UnixStream::connect_ctx(&ctx, &path));
        canceller.join();
    }
    // Ends what the blocking pool still does for those who gave up.
    drop((listener, waiting));
    std::fs::remove_file(&path).unwrap();
}

fn datagrams_are_waited_for_within_a_context(kind: Kind) {
    let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = b.local_addr().unwrap();
    let (near, far) = UnixDatagram::pair().unwrap();
    let mut buf = [0; 16];
    for _ in 0..ROUNDS {
        let (ctx, canceller) = cancelled_by(kind);
        assert_cancelled(b.recv_from_ctx(&ctx, &mut buf));
        assert_cancelled(b.recv_ctx(&ctx, &mut buf));
        assert_cancelled(a.send_to_ctx(&ctx, b"not sent", to));
        canceller.join();
        let (ctx, canceller) = cancelled_by(kind);
        assert_cancelled(near.recv_ctx(&ctx, &mut buf));
        assert_cancelled(near.recv_from_ctx(&ctx, &mut buf));
        assert_cancelled(far.send_ctx(&ctx, b"not sent"));
        canceller.join();
    }
    let ctx = Context::background().with_timeout(FAR).0;
    a.send_to_ctx(&ctx, b"ping", to).unwrap();
    assert_eq!(b.recv_from_ctx(&ctx, &mut buf).unwrap(), (4, a.local_addr().unwrap()));
    far.send_ctx(&ctx, b"pong!").unwrap();
    assert_eq!(near.recv_ctx(&ctx, &mut buf).unwrap(), 5);
}

fn a_cancellation_ends_a_send_to_a_full_receiver(kind: Kind) {
    let path = std::env::temp_dir().join(format!("millpond-dgram-{}-{kind:?}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let receiver = UnixDatagram::bind(&path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    let late = loop {
        let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(20));
        if let Err(error) = sender.send_to_ctx(&ctx, b"x", &path) {
            break error;
        }
    };
    assert_eq!(ContextError::of(&late), Some(ContextError::DeadlineExceeded));
    let (ctx, canceller) = cancelled_by(kind);
    assert_cancelled(sender.send_to_ctx(&ctx, b"x", &path));
    canceller.join();
    drop(receiver);
    std::fs::remove_file(&path).unwrap();
}
