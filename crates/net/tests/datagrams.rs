//! UDP and Unix sockets on the real kernel.

mod common;

use common::Kind;
use millpond_net::{UdpSocket, UnixDatagram, UnixListener, UnixStream};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

for_all_kinds!(
    udp_keeps_datagrams_apart,
    a_connected_udp_socket_learns_of_a_refusal,
    a_unix_listener_and_its_streams,
    a_unix_connect_waits_for_a_full_queue,
    unix_datagrams_wait_for_a_full_receiver,
    descriptors_sent_along_do_not_stop_the_stream,
);

/// A path for a socket file that nobody else uses.
fn path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(format!("millpond-net-{process}-{next}"))
}

fn udp_keeps_datagrams_apart(kind: Kind) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let echo = kind.start(move || {
        let mut buf = [0; 2048];
        loop {
            let (len, from) = server.recv_from(&mut buf).unwrap();
            if len == 0 {
                return;
            }
            server.send_to(&buf[..len], from).unwrap();
        }
    });
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(addr).unwrap();
    assert_eq!(client.peer_addr().unwrap(), addr);
    for len in [1, 2, 1500, 3] {
        client.send(&vec![len as u8; len]).unwrap();
        let mut buf = [0; 2048];
        assert_eq!(client.peek(&mut buf).unwrap(), len);
        assert_eq!(client.recv(&mut buf).unwrap(), len);
        assert!(buf[..len].iter().all(|byte| *byte == len as u8));
    }
    client.send(&[]).unwrap();
    echo.join();
}

fn a_connected_udp_socket_learns_of_a_refusal(_kind: Kind) {
    let unused = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(unused).unwrap();
    socket.send(b"anybody there?").unwrap();
    let error = socket.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // The error was told once; the socket waits again.
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
}

fn a_unix_listener_and_its_streams(kind: Kind) {
    let path = path();
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(UnixListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    let server = kind.start(move || {
        let (mut conn, _) = listener.accept().unwrap();
        let mut text = String::new();
        conn.read_to_string(&mut text).unwrap();
        text
    });
    let mut client = UnixStream::connect(&path).unwrap();
    assert_eq!(client.peer_addr().unwrap().as_pathname(), Some(&*path));
    client.write_all(b"over a file").unwrap();
    drop(client);
    assert_eq!(server.join(), "over a file");
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::NotFound);
}

fn a_unix_connect_waits_for_a_full_queue(kind: Kind) {
    let path = path();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let listener = UnixListener::from_std(socket.into()).unwrap();
    const CLIENTS: usize = 4;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let path = path.clone();
            kind.start(move || UnixStream::connect(path).unwrap().write_all(b"x").unwrap())
        })
        .collect();
    for _ in 0..CLIENTS {
        listener.accept().unwrap().0.read_exact(&mut [0]).unwrap();
    }
    clients.into_iter().for_each(|client| client.join());
    std::fs::remove_file(&path).unwrap();
}

fn unix_datagrams_wait_for_a_full_receiver(kind: Kind) {
    let path = path();
    let receiver = UnixDatagram::bind(&path).unwrap();
    const EACH: u32 = 500;
    let connected = UnixDatagram::unbound().unwrap();
    connected.connect(&path).unwrap();
    let unconnected = UnixDatagram::unbound().unwrap();
    let to = path.clone();
    let one = move |_| assert_eq!(connected.send(b"c").unwrap(), 1);
    let other = move |_| assert_eq!(unconnected.send_to(b"u", &to).unwrap(), 1);
    let senders = [
        kind.start(move || (0..EACH).for_each(one)),
        kind.start(move || (0..EACH).for_each(other)),
    ];
    let mut buf = [0; 8];
    for _ in 0..2 * EACH {
        assert_eq!(receiver.recv(&mut buf).unwrap(), 1);
    }
    senders.into_iter().for_each(|sender| sender.join());

    let unconnected = UnixDatagram::unbound().unwrap();
    unconnected.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
    let error = loop {
        if let Err(error) = unconnected.send_to(b"nobody takes it", &path) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    std::fs::remove_file(&path).unwrap();
}

fn descriptors_sent_along_do_not_stop_the_stream(kind: Kind) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;
    let (near, far) = UnixStream::pair().unwrap();
    let reader = kind.start(move || {
        let mut all = Vec::new();
        (&near).read_to_end(&mut all).unwrap();
        all
    });
    for round in 0..10u8 {
        let fds = [far.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let byte = [round];
        let text = [std::io::IoSlice::new(&byte)];
        sendmsg(far.as_fd(), &text, &mut control, SendFlags::empty()).unwrap();
        (&far).write_all(&[round]).unwrap();
    }
    far.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(reader.join(), (0..20).map(|i| i / 2).collect::<Vec<u8>>());
}
