//! TCP on the real kernel: what `std` promises, and clones, half close, resets, refusals.

mod common;

use common::{Kind, tcp_pair};
use millpond_net::{Closed, ListenerBuilder, TcpListener, TcpStream};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

for_all_kinds!(
    an_echo_returns_what_was_sent,
    many_tiny_messages_lose_no_edge,
    vectored_writes_survive_full_buffers,
    vectored_reads_fill_their_buffers_in_turn,
    a_clone_reads_while_another_writes,
    two_clones_read_and_both_end,
    half_close_ends_one_direction,
    an_end_that_came_with_the_last_bytes_is_read,
    shutdown_ends_a_read_of_another_clone,
    close_ends_accept_and_read_of_other_clones,
    a_reset_is_an_error,
    a_refused_connection_is_an_error,
    connect_gives_up_in_time,
    readable_returns_when_there_is_something,
    writable_returns_when_there_is_room,
    peek_leaves_the_bytes,
    many_accept_on_one_listener,
    an_urgent_byte_does_not_stop_the_stream,
    a_socket_goes_to_std_and_back,
);

fn an_echo_returns_what_was_sent(kind: Kind) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    assert_ne!(addr.port(), 0);
    let server = kind.start(move || {
        let (mut conn, _) = listener.accept().unwrap();
        let mut buf = [0; 1024];
        loop {
            match conn.read(&mut buf).unwrap() {
                0 => return,
                n => conn.write_all(&buf[..n]).unwrap(),
            }
        }
    });
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_nodelay(true).unwrap();
    assert!(client.nodelay().unwrap());
    for len in [1, 100, 1024, 5000] {
        let sent: Vec<u8> = (0..len).map(|i| i as u8).collect();
        client.write_all(&sent).unwrap();
        let mut got = vec![0; len];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, sent);
    }
    drop(client);
    server.join();
}

fn many_tiny_messages_lose_no_edge(kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    const ROUNDS: u32 = 20_000;
    let echo = kind.start(move || {
        let mut buf = [0; 64];
        loop {
            match far.read(&mut buf).unwrap() {
                0 => return,
                n => far.write_all(&buf[..n]).unwrap(),
            }
        }
    });
    for round in 0..ROUNDS {
        near.write_all(&round.to_le_bytes()).unwrap();
        let mut got = [0; 4];
        near.read_exact(&mut got).unwrap();
        assert_eq!(u32::from_le_bytes(got), round);
    }
    drop(near);
    echo.join();
}

fn vectored_writes_survive_full_buffers(kind: Kind) {
    let (near, mut far) = tcp_pair();
    const TOTAL: usize = 16 << 20;
    let writer = kind.start(move || {
        let (a, b) = (vec![1u8; 70_000], vec![2u8; 50_000]);
        let mut sent = 0;
        while sent < TOTAL {
            let n = (&near).write_vectored(&[IoSlice::new(&a), IoSlice::new(&b)]).unwrap();
            assert!(n > 0);
            // Whatever part was taken, the whole pair is sent again: only the count matters.
            sent += n;
        }
        sent
    });
    let (mut got, mut buf) = (0, vec![0; 1 << 16]);
    loop {
        match far.read(&mut buf).unwrap() {
            0 => break,
            n => {
                assert!(buf[..n].iter().all(|byte| [1, 2].contains(byte)));
                got += n;
            }
        }
    }
    assert_eq!(got, writer.join());
}

fn vectored_reads_fill_their_buffers_in_turn(_kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    near.write_all(b"abcdef").unwrap();
    let (mut a, mut b) = ([0; 2], [0; 8]);
    while far.peek(&mut [0; 8]).unwrap() < 6 {
        millpond_rt::yield_now();
    }
    let bufs = &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    assert_eq!(far.read_vectored(bufs).unwrap(), 6);
    assert_eq!((&a, &b[..4]), (b"ab", &b"cdef"[..]));
}

fn a_clone_reads_while_another_writes(kind: Kind) {
    let (near, far) = tcp_pair();
    const TOTAL: usize = 4 << 20;
    let parties: Vec<_> = [near, far]
        .into_iter()
        .flat_map(|stream| {
            let (mut reader, mut writer) = (stream.try_clone().unwrap(), stream);
            let write = kind.start(move || {
                writer.write_all(&vec![7; TOTAL]).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
                TOTAL
            });
            let read = kind.start(move || {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).unwrap()
            });
            [write, read]
        })
        .collect();
    for party in parties {
        assert_eq!(party.join(), TOTAL);
    }
}

fn two_clones_read_and_both_end(kind: Kind) {
    let (near, mut far) = tcp_pair();
    let readers = [(); 2].map(|()| {
        let mut reader = near.try_clone().unwrap();
        kind.start(move || {
            let (mut total, mut buf) = (0, [0; 8]);
            loop {
                match reader.read(&mut buf).unwrap() {
                    0 => return total,
                    n => total += n,
                }
            }
        })
    });
    for _ in 0..1000 {
        far.write_all(b"0123456789").unwrap();
    }
    drop(far);
    assert_eq!(readers.into_iter().map(|reader| reader.join()).sum::<usize>(), 10_000);
}

fn half_close_ends_one_direction(_kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    near.write_all(b"question").unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    far.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question");
    far.write_all(b"answer").unwrap();
    drop(far);
    text.clear();
    near.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer");
    assert_eq!(near.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn an_end_that_came_with_the_last_bytes_is_read(kind: Kind) {
    // The first reads are short, so that the shortcut is taken; the end must still be found.
    for _ in 0..200 {
        let (mut near, mut far) = tcp_pair();
        let reader = kind.start(move || {
            let (mut total, mut buf) = (0, [0; 64]);
            loop {
                match near.read(&mut buf).unwrap() {
                    0 => return total,
                    n => total += n,
                }
            }
        });
        far.write_all(b"first").unwrap();
        far.write_all(b"last").unwrap();
        drop(far);
        assert_eq!(reader.join(), 9);
    }
}

fn shutdown_ends_a_read_of_another_clone(kind: Kind) {
    for _ in 0..100 {
        let (near, _far) = tcp_pair();
        let mut clone = near.try_clone().unwrap();
        let reader = kind.start(move || clone.read(&mut [0; 8]).unwrap());
        near.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join(), 0);
    }
}

fn close_ends_accept_and_read_of_other_clones(kind: Kind) {
    for _ in 0..100 {
        let (near, _far) = tcp_pair();
        let mut clone = near.try_clone().unwrap();
        let reader = kind.start(move || clone.read(&mut [0; 8]).unwrap_err());
        near.close();
        assert!(Closed::is(&reader.join()));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clone = listener.try_clone().unwrap();
        let acceptor = kind.start(move || clone.incoming().count());
        listener.close();
        assert_eq!(acceptor.join(), 0, "the iterator ends, without an error");
        assert!(Closed::is(&listener.accept().unwrap_err()));
    }
}

fn a_reset_is_an_error(kind: Kind) {
    let (mut near, far) = tcp_pair();
    let reader = kind.start(move || near.read(&mut [0; 8]).unwrap_err().kind());
    far.set_linger(Some(Duration::ZERO)).unwrap();
    assert_eq!(far.linger().unwrap(), Some(Duration::ZERO));
    drop(far);
    assert_eq!(reader.join(), ErrorKind::ConnectionReset);
}

fn a_refused_connection_is_an_error(_kind: Kind) {
    // A port that was free a moment ago and that nobody listens on.
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = TcpStream::connect(unused).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addrs = [unused, listener.local_addr().unwrap()];
    TcpStream::connect(&addrs[..]).expect("the second address answers");
}

fn connect_gives_up_in_time(_kind: Kind) {
    // A listener whose queue is full drops further requests: those connections neither succeed
    // nor fail.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    let error = loop {
        match TcpStream::connect_timeout(&addr, Duration::from_millis(50)) {
            Ok(stream) => held.push(stream),
            Err(error) => break error,
        }
        assert!(held.len() < 64, "the queue never filled");
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let zero = TcpStream::connect_timeout(&addr, Duration::ZERO).unwrap_err();
    assert_eq!(zero.kind(), ErrorKind::InvalidInput);
}

fn readable_returns_when_there_is_something(kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    let reader = kind.start(move || {
        let mut got = Vec::new();
        loop {
            near.readable().unwrap();
            // Only now is a buffer needed. It is small, so that data stays behind.
            let mut buf = [0; 3];
            match near.read(&mut buf).unwrap() {
                0 => return got,
                n => got.extend_from_slice(&buf[..n]),
            }
        }
    });
    far.write_all(b"hello, ").unwrap();
    far.write_all(b"world").unwrap();
    drop(far);
    assert_eq!(reader.join(), b"hello, world");
}

fn writable_returns_when_there_is_room(kind: Kind) {
    let (near, mut far) = tcp_pair();
    near.writable().unwrap();
    near.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut sent = 0;
    let error = loop {
        match (&near).write(&[0; 1 << 16]) {
            Ok(n) => sent += n,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    near.set_write_timeout(None).unwrap();
    let drain = kind.start(move || std::io::copy(&mut far, &mut std::io::sink()).unwrap());
    near.writable().unwrap();
    sent += (&near).write(b"x").unwrap();
    drop(near);
    assert_eq!(drain.join(), sent as u64);
}

fn peek_leaves_the_bytes(_kind: Kind) {
    let (mut near, far) = tcp_pair();
    near.write_all(b"abc").unwrap();
    let mut buf = [0; 8];
    let seen = far.peek(&mut buf).unwrap();
    assert!(seen > 0);
    assert_eq!((&far).read(&mut buf).unwrap(), seen);
}

fn many_accept_on_one_listener(kind: Kind) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptors = [(); 4].map(|()| {
        let listener = listener.try_clone().unwrap();
        kind.start(move || listener.incoming().filter(|conn| conn.is_ok()).count())
    });
    let mut clients: Vec<_> = (0..200).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for client in &mut clients {
        // The end of the stream says that somebody accepted, and dropped, this one.
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    listener.close();
    assert_eq!(acceptors.into_iter().map(|acceptor| acceptor.join()).sum::<usize>(), 200);
}

fn an_urgent_byte_does_not_stop_the_stream(_kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    // Waits once, so that all that follows is told by one edge.
    near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    near.read(&mut [0; 8]).unwrap_err();
    far.write_all(b"before").unwrap();
    socket2::SockRef::from(&far).send_out_of_band(b"!").unwrap();
    far.write_all(b"after").unwrap();
    // The read stops at the mark; what is behind it has no edge of its own.
    near.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut all, mut buf) = (Vec::new(), [0; 64]);
    while all.len() < 11 {
        let got = near.read(&mut buf).unwrap();
        all.extend_from_slice(&buf[..got]);
    }
    assert_eq!(all, b"beforeafter");
}

fn a_socket_goes_to_std_and_back(_kind: Kind) {
    let (mut near, far) = tcp_pair();
    let clone = far.try_clone().unwrap();
    assert_eq!(clone.into_std().unwrap_err().kind(), ErrorKind::ResourceBusy);
    let mut far = far.into_std().unwrap();
    near.write_all(b"x").unwrap();
    // Blocking mode again: the byte need not be there yet.
    far.read_exact(&mut [0]).unwrap();
    let mut far = TcpStream::try_from(far).unwrap();
    near.write_all(b"y").unwrap();
    far.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_port_in_use_is_refused_and_can_be_shared_on_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    assert_eq!(TcpListener::bind(addr).unwrap_err().kind(), ErrorKind::AddrInUse);
    let shared = ListenerBuilder::new().reuse_port(true);
    let first = shared.bind("127.0.0.1:0").unwrap();
    shared.bind(first.local_addr().unwrap()).unwrap();
}

#[test]
fn accepted_and_opened_sockets_do_not_leak_into_children() {
    use std::os::fd::{AsFd, AsRawFd};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    for fd in [listener.as_fd(), near.as_fd(), far.as_fd()] {
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & 0o2004000, 0o2004000, "CLOEXEC and NONBLOCK");
    }
}
