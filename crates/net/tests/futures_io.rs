//! `futures_io` traits over our streams, owned and by reference.
#![cfg(feature = "futures-io")]

mod common;

use common::{block_on, tcp_pair};
use futures_io::{AsyncRead, AsyncWrite};
use millpond_net::UnixStream;
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;

async fn write_all(mut to: impl AsyncWrite + Unpin, mut buf: &[u8]) -> io::Result<()> {
    while !buf.is_empty() {
        let n = poll_fn(|cx| Pin::new(&mut to).poll_write(cx, buf)).await?;
        buf = &buf[n..];
    }
    poll_fn(|cx| Pin::new(&mut to).poll_flush(cx)).await?;
    poll_fn(|cx| Pin::new(&mut to).poll_close(cx)).await
}

async fn read_to_end(mut from: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let (mut all, mut buf) = (Vec::new(), vec![0; 10_000]);
    loop {
        match poll_fn(|cx| Pin::new(&mut from).poll_read(cx, &mut buf)).await? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

fn exchange<S>(near: S, far: S, len: usize)
where
    S: AsyncWrite + AsyncRead + Unpin + Send + 'static,
    for<'a> &'a S: AsyncWrite + AsyncRead + Unpin,
{
    let sent: Vec<u8> = (0..len).map(|i| i as u8).collect();
    let expected = sent.clone();
    let writer = std::thread::spawn(move || block_on(write_all(&near, &sent)).map(|()| near));
    assert_eq!(block_on(read_to_end(far)).unwrap(), expected);
    drop(writer.join().unwrap().unwrap());
}

#[test]
fn streams_carry_more_than_their_buffers_hold() {
    let (near, far) = tcp_pair();
    exchange(near, far, 8 << 20);
    let (near, far) = UnixStream::pair().unwrap();
    exchange(near, far, 8 << 20);
}

#[test]
fn vectored_forms_take_all_buffers() {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    block_on(async {
        let bufs = [IoSlice::new(b"ab"), IoSlice::new(b"cd")];
        let sent = poll_fn(|cx| Pin::new(&mut near).poll_write_vectored(cx, &bufs)).await;
        assert_eq!(sent.unwrap(), 4);
        let (mut a, mut b) = ([0; 1], [0; 3]);
        let bufs = &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        let got = poll_fn(|cx| Pin::new(&mut far).poll_read_vectored(cx, bufs)).await;
        assert_eq!((got.unwrap(), &a, &b), (4, b"a", b"bcd"));
    });
}

#[test]
fn tasks_on_several_threads_poll_one_socket() {
    let (near, far) = tcp_pair();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let reader = near.try_clone().unwrap();
            std::thread::spawn(move || block_on(read_to_end(reader)).unwrap().len())
        })
        .collect();
    block_on(write_all(far, &vec![1; 1 << 20])).unwrap();
    let total: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert_eq!(total, 1 << 20);
}
