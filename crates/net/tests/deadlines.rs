//! Time-outs per operation, and deadlines that reach an operation which waits already.

mod common;

use common::{Kind, tcp_pair};
use millpond_net::{TcpListener, UdpSocket, UnixStream};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

for_all_kinds!(
    a_time_out_holds_for_each_operation,
    a_zero_time_out_is_refused,
    a_deadline_ends_operations_until_it_is_set_again,
    a_deadline_reaches_an_operation_that_waits,
    a_longer_deadline_reaches_an_operation_that_waits,
    a_deadline_is_shared_by_clones,
    a_passed_deadline_takes_no_data,
    accept_and_recv_time_out,
);

const SHORT: Duration = Duration::from_millis(20);

fn a_time_out_holds_for_each_operation(_kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    near.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(near.read_timeout().unwrap(), Some(SHORT));
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(near.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= SHORT);
    }
    far.write_all(b"x").unwrap();
    near.set_read_timeout(None).unwrap();
    assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
}

fn a_zero_time_out_is_refused(_kind: Kind) {
    let (near, _far) = tcp_pair();
    let error = near.set_write_timeout(Some(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(near.write_timeout().unwrap(), None);
}

fn a_deadline_ends_operations_until_it_is_set_again(_kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    let deadline = Instant::now() + SHORT;
    near.set_read_deadline(Some(deadline));
    for _ in 0..3 {
        assert_eq!(near.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(Instant::now() >= deadline);
    }
    near.write_all(b"the other direction is not concerned").unwrap();
    far.write_all(b"x").unwrap();
    near.set_read_deadline(None);
    assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
}

fn a_deadline_reaches_an_operation_that_waits(kind: Kind) {
    // Some of the rounds find the reader waiting, some before: the end is the same.
    for _ in 0..200 {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut reader = near.try_clone().unwrap();
        let reading = kind.start(move || reader.read(&mut [0; 8]).unwrap_err().kind());
        near.set_read_deadline(Some(Instant::now()));
        assert_eq!(reading.join(), ErrorKind::TimedOut);
    }
}

fn a_longer_deadline_reaches_an_operation_that_waits(kind: Kind) {
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_read_deadline(Some(Instant::now() + Duration::from_millis(200)));
    let mut reader = near.try_clone().unwrap();
    let reading = kind.start(move || reader.read(&mut [0; 8]));
    let late = Instant::now() + Duration::from_millis(400);
    near.set_read_deadline(Some(late + Duration::from_secs(60)));
    // Beyond the first deadline: time itself is the subject.
    millpond_rt::time::sleep(late.saturating_duration_since(Instant::now()));
    far.write_all(b"x").unwrap();
    assert_eq!(reading.join().unwrap(), 1);
}

fn a_deadline_is_shared_by_clones(_kind: Kind) {
    let (near, _far) = tcp_pair();
    let mut clone = near.try_clone().unwrap();
    clone.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(near.read_timeout().unwrap(), Some(Duration::from_secs(60)));
    near.set_deadline(Some(Instant::now() - SHORT));
    assert_eq!(clone.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(clone.write(&[0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(clone.readable().unwrap_err().kind(), ErrorKind::TimedOut);
}

fn a_passed_deadline_takes_no_data(_kind: Kind) {
    let (mut near, mut far) = tcp_pair();
    far.write_all(b"kept").unwrap();
    near.readable().unwrap();
    near.set_read_deadline(Some(Instant::now()));
    assert_eq!(near.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    near.set_read_deadline(None);
    let mut buf = [0; 4];
    near.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"kept");
}

fn accept_and_recv_time_out(_kind: Kind) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_accept_timeout(Some(SHORT)).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::TimedOut);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_deadline(Some(Instant::now() + SHORT));
    assert_eq!(socket.recv_from(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
}
