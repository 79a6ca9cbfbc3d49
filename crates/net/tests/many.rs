//! Thousands of sockets at once, and nothing left of them. One test: it counts descriptors.

mod common;

use common::block_on;
use millpond_net::{TcpListener, TcpStream, UnixStream};
use std::future::Future;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// How many connections the limit on descriptors allows, up to some thousands.
fn connections() -> usize {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: usize = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    (soft.saturating_sub(100) / 2).min(4000)
}

struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn thousands_of_sockets_come_and_go_without_a_trace() {
    // What the first use leaves behind for good: the poller, and this thread's bell.
    touch_everything();
    let before = common::open_descriptors();
    tcp_connections(connections());
    waiting_futures(connections());
    touch_everything();
    assert_eq!(common::open_descriptors(), before);
}

fn touch_everything() {
    let (a, mut b) = UnixStream::pair().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut buf = [0; 1];
        let mut read = std::pin::pin!(a.read_async(&mut buf));
        assert!(matches!(read.as_mut().poll(&mut cx), Poll::Pending));
    }
    a.set_read_timeout(Some(std::time::Duration::from_millis(1))).unwrap();
    (&a).read(&mut [0; 1]).unwrap_err();
    b.write_all(b"x").unwrap();
    (&a).read_exact(&mut [0; 1]).unwrap();
}

fn tcp_connections(count: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let conns: Vec<_> = listener.incoming().take(count).map(|conn| conn.unwrap()).collect();
        block_on(async {
            for conn in &conns {
                let mut buf = [0; 16];
                let len = conn.read_async(&mut buf).await.unwrap();
                conn.write_all_async(&buf[..len]).await.unwrap();
            }
        });
    });
    let mut clients: Vec<_> = (0..count).map(|_| TcpStream::connect(addr).unwrap()).collect();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    for client in &mut clients {
        let mut buf = [0; 5];
        client.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"hello");
    }
    server.join().unwrap();
}

/// All of them wait at the same time, all are woken, some are dropped while they wait.
fn waiting_futures(count: usize) {
    let counter = Arc::new(Counter(AtomicUsize::new(0)));
    let waker = counter.clone().into();
    let mut cx = Context::from_waker(&waker);
    let mut pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
    let (near, far): (Vec<_>, Vec<_>) = pairs.drain(..).unzip();
    let mut reads: Vec<_> = near
        .iter()
        .map(|stream| {
            Box::pin(async move {
                let mut buf = [0; 1];
                stream.read_async(&mut buf).await.unwrap()
            })
        })
        .collect();
    for read in &mut reads {
        assert!(matches!(read.as_mut().poll(&mut cx), Poll::Pending));
    }
    let dropped = reads.split_off(count / 2);
    drop(dropped);
    for stream in &far {
        (&*stream).write_all(b"x").unwrap();
    }
    let read: usize = reads.into_iter().map(block_on).sum();
    assert_eq!(read, count / 2);
    assert!(counter.0.load(Ordering::Relaxed) <= count / 2, "only those in line are woken");
}
