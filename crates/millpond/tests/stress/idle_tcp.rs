//! What a connection costs that has spoken once and says nothing more.
//!
//! `cargo xtask bench idle-tcp` shows the same with 19,000 and beside other runtimes. Here the clients are plain
//! threads' sockets in the same process: to it they are descriptors, and their memory is the kernel's. Nothing is
//! kept warm, or two thousand would not rest.

use crate::harness::{Run, Table, eventually};
use crate::table;
use millpond::debug::rest_stats;
use millpond::go;
use millpond::net::{TcpListener, TcpStream};
use millpond::sync::Pool;
use millpond_sys::task::memory;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

pub const TESTS: Table = table![
    an_idle_connection_that_borrows_its_buffer_costs_little_more_than_a_kilobyte,
    an_idle_connection_with_a_buffer_on_its_stack_costs_no_page_for_it,
];

pub const SCENARIOS: Table = table![borrowing, naive];

const CONNECTIONS: usize = 2_000;

/// What the buffer holds.
const BUFFER_BYTES: usize = 4096;

/// Bytes each of RSS and page tables: 1.3 KiB; with a buffer less than a page, although the buffer is one. What
/// is not optimised has more on its stack.
const BORROWING_BYTES: u64 = if cfg!(debug_assertions) { 2048 } else { 1331 };
const NAIVE_BYTES: u64 = 4095;

const PATIENCE: Duration = Duration::from_secs(120);

static BUFFERS: LazyLock<Pool<Box<[u8]>>> =
    LazyLock::new(|| Pool::new(|| vec![0; BUFFER_BYTES].into()));

fn echo_when_ready(conn: TcpStream) -> io::Result<()> {
    while conn.readable().is_ok() && echo_once(&conn, &mut BUFFERS.get())? {}
    Ok(())
}

fn echo_once(mut conn: &TcpStream, buf: &mut [u8]) -> io::Result<bool> {
    let got = conn.read(buf)?;
    conn.write_all(&buf[..got])?;
    Ok(got > 0)
}

fn echo_until_closed(conn: TcpStream) -> io::Result<()> {
    let mut buf = [0; BUFFER_BYTES];
    while echo_once(&conn, &mut buf)? {}
    Ok(())
}

/// A connection from outside that has got its message back.
fn client(addr: SocketAddr, message: [u8; 64]) -> std::net::TcpStream {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.write_all(&message).unwrap();
    let mut reply = [0; 64];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply, message);
    stream
}

/// So many connections, each served by `handler`, and then at rest, take at most so many bytes each, once the
/// allocator has given back what it needed in between.
fn take_at_most(most: u64, handler: fn(TcpStream) -> io::Result<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(go(move || {
        while let Ok((conn, _peer)) = listener.accept() {
            drop(go(move || handler(conn)));
        }
    }));
    let connect = move |count| (0..count).map(|i| client(addr, [i as u8; 64])).collect::<Vec<_>>();
    // What the first ones bring along is not each one's.
    let first = millpond::blocking(move || connect(50));
    eventually("the first rest", PATIENCE, || rest_stats().resting >= 50);
    let before = memory().unwrap().total_bytes();
    let streams = millpond::blocking(move || connect(CONNECTIONS));
    eventually("all rest", PATIENCE, || rest_stats().resting >= 50 + CONNECTIONS);
    eventually("little memory each", PATIENCE, || {
        millpond::time::sleep(Duration::from_millis(100));
        let each = memory().unwrap().total_bytes().saturating_sub(before) / CONNECTIONS as u64;
        println!("{each} bytes a connection, to be at most {most}");
        each <= most
    });
    // They come back as they were.
    let echoed = millpond::blocking(move || {
        let all = first.into_iter().chain(streams).map(|mut stream| {
            let (message, mut reply) = ([7; 64], [0; 64]);
            stream.write_all(&message).and_then(|()| stream.read_exact(&mut reply)).unwrap();
            usize::from(reply == message)
        });
        all.sum::<usize>()
    });
    assert_eq!(echoed, 50 + CONNECTIONS);
}

fn scenario(handler: fn(TcpStream) -> io::Result<()>, most: u64) {
    millpond_sys::task::raise_nofile_limit().unwrap();
    let builder = millpond::runtime::Builder::new().procs(2).warm_stacks(0);
    builder
        .rest_after(Duration::from_millis(100))
        .run(move || take_at_most(most, handler))
        .unwrap();
}

fn borrowing() {
    scenario(echo_when_ready, BORROWING_BYTES);
}

fn an_idle_connection_that_borrows_its_buffer_costs_little_more_than_a_kilobyte() {
    Run::of("borrowing").passes();
}

fn naive() {
    scenario(echo_until_closed, NAIVE_BYTES);
}

fn an_idle_connection_with_a_buffer_on_its_stack_costs_no_page_for_it() {
    Run::of("naive").passes();
}
