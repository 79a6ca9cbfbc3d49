//! Futures on plain threads: the `*_async` twins, dropped waits, deadlines.

mod common;

use common::{block_on, tcp_pair};
use millpond_net::{Closed, TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

#[test]
fn twins_connect_accept_read_and_write() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        block_on(async {
            let (conn, _) = listener.accept_async().await.unwrap();
            let mut buf = [0; 1024];
            loop {
                match conn.read_async(&mut buf).await.unwrap() {
                    0 => return,
                    n => conn.write_all_async(&buf[..n]).await.unwrap(),
                }
            }
        })
    });
    block_on(async {
        let client = TcpStream::connect_async(addr).await.unwrap();
        client.writable_async().await.unwrap();
        for round in 0..5_000u32 {
            client.write_all_async(&round.to_le_bytes()).await.unwrap();
            let (mut got, mut have) = ([0; 4], 0);
            while have < 4 {
                have += client.read_async(&mut got[have..]).await.unwrap();
            }
            assert_eq!(u32::from_le_bytes(got), round);
        }
        drop(client);
    });
    server.join().unwrap();
}

#[test]
fn twins_of_datagrams_and_unix_sockets() {
    block_on(async {
        let (a, b) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        a.send_to_async(b"ping", b.local_addr().unwrap()).await.unwrap();
        let mut buf = [0; 8];
        let (len, from) = b.recv_from_async(&mut buf).await.unwrap();
        assert_eq!((&buf[..len], from), (&b"ping"[..], a.local_addr().unwrap()));

        let path = std::env::temp_dir().join(format!("millpond-net-tasks-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect_async(&path).await.unwrap();
        let (server, _) = listener.accept_async().await.unwrap();
        client.write_async(b"x").await.unwrap();
        assert_eq!(server.read_async(&mut buf).await.unwrap(), 1);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_dropped_read_takes_nothing_and_leaves_the_line() {
    let (near, mut far) = tcp_pair();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        let mut buf = [0; 8];
        let mut read = pin!(near.read_async(&mut buf));
        assert!(matches!(read.as_mut().poll(&mut cx), Poll::Pending));
    }
    far.write_all(b"x").unwrap();
    assert_eq!(block_on(near.read_async(&mut [0; 8])).unwrap(), 1);
}

#[test]
fn two_futures_of_one_task_wait_for_one_socket() {
    let (near, mut far) = tcp_pair();
    let writer = std::thread::spawn(move || far.write_all(b"ab").map(|()| far).unwrap());
    let (mut a, mut b) = ([0], [0]);
    let (mut first, mut second) = (None, None);
    {
        let (mut one, mut two) = (pin!(near.read_async(&mut a)), pin!(near.read_async(&mut b)));
        block_on(std::future::poll_fn(|cx| {
            for (read, slot) in [(one.as_mut(), &mut first), (two.as_mut(), &mut second)] {
                if slot.is_none()
                    && let Poll::Ready(result) = read.poll(cx)
                {
                    *slot = Some(result.unwrap());
                }
            }
            if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
    assert_eq!((first, second), (Some(1), Some(1)));
    let mut both = [a[0], b[0]];
    both.sort_unstable();
    assert_eq!(&both, b"ab");
    drop(writer.join().unwrap());
}

#[test]
fn close_ends_a_future_that_waits() {
    for _ in 0..100 {
        let (near, _far) = tcp_pair();
        let clone = near.try_clone().unwrap();
        let closer = std::thread::spawn(move || clone.close());
        let error = block_on(near.read_async(&mut [0; 8])).unwrap_err();
        assert!(Closed::is(&error));
        closer.join().unwrap();
    }
}

#[test]
fn a_blocking_reader_and_a_future_share_a_socket() {
    let (near, mut far) = tcp_pair();
    let mut blocking = near.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        let mut all = Vec::new();
        blocking.read_to_end(&mut all).unwrap()
    });
    let writer = std::thread::spawn(move || {
        for _ in 0..1000 {
            far.write_all(b"0123456789").unwrap();
        }
    });
    let mut got = 0;
    block_on(async {
        let mut buf = [0; 7];
        loop {
            match near.read_async(&mut buf).await.unwrap() {
                0 => return,
                n => got += n,
            }
        }
    });
    assert_eq!(got + thread.join().unwrap(), 10_000);
    writer.join().unwrap();
}

#[test]
fn deadlines_and_time_outs_bind_futures_too() {
    let (near, mut far) = tcp_pair();
    let short = Duration::from_millis(10);
    let began = Instant::now();
    near.set_read_timeout(Some(short)).unwrap();
    let error = block_on(near.read_async(&mut [0; 8])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(began.elapsed() >= short);
    near.set_read_timeout(None).unwrap();

    for _ in 0..100 {
        near.set_read_deadline(None);
        let clone = near.try_clone().unwrap();
        let setter = std::thread::spawn(move || clone.set_read_deadline(Some(Instant::now())));
        let error = block_on(near.read_async(&mut [0; 8])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        setter.join().unwrap();
    }
    near.set_read_deadline(Some(Instant::now() + Duration::from_secs(60)));
    far.write_all(b"x").unwrap();
    assert_eq!(block_on(near.read_async(&mut [0; 8])).unwrap(), 1);
}

#[test]
fn tasks_of_the_runtime_echo() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = millpond_rt::spawn(async move {
        let (conn, _) = listener.accept_async().await.unwrap();
        let (mut buf, mut total) = ([0; 256], 0);
        loop {
            match conn.read_async(&mut buf).await.unwrap() {
                0 => return total,
                n => conn.write_all_async(&buf[..n]).await.unwrap(),
            }
            total += 1;
        }
    });
    let client = millpond_rt::spawn(async move {
        let client = TcpStream::connect_async(addr).await.unwrap();
        for _ in 0..2_000 {
            client.write_all_async(b"tick").await.unwrap();
            let (mut buf, mut have) = ([0; 4], 0);
            while have < 4 {
                have += client.read_async(&mut buf[have..]).await.unwrap();
            }
            assert_eq!(&buf, b"tick");
        }
    });
    client.join().unwrap();
    assert!(server.join().unwrap() >= 2_000);
}
