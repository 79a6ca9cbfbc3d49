//! The echo server: a task and a buffer for each connection.
//!
//! smol brings no HTTP; its users take hyper through an adapter, and that row would measure the adapter. With
//! `burn_ms=N` one more task computes for that long in each second, without an await in between.

use crate::spawn;
use bench_common::{Args, MESSAGE_BYTES, NAIVE_BYTES, Outcome, announce, burn, raise_limits};
use smol::Timer;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};
use std::io;
use std::time::Duration;

pub(crate) async fn echo(args: Args) -> Outcome {
    serve::<MESSAGE_BYTES>(args).await
}

pub(crate) async fn echo_4k(args: Args) -> Outcome {
    serve::<NAIVE_BYTES>(args).await
}

async fn serve<const BUFFER: usize>(args: Args) -> Outcome {
    raise_limits();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    announce(listener.local_addr().expect("it is bound"));
    if let Some(ms) = args.find("burn_ms") {
        let burning = async move {
            loop {
                burn(Duration::from_millis(ms));
                Timer::after(Duration::from_millis(1000 - ms)).await;
            }
        };
        spawn(burning).detach();
    }
    loop {
        let (conn, _peer) = listener.accept().await.expect("there are descriptors");
        spawn(echo_until_closed::<BUFFER>(conn)).detach();
    }
}

async fn echo_until_closed<const BUFFER: usize>(mut conn: TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let mut buf = [0; BUFFER];
    loop {
        let got = conn.read(&mut buf).await?;
        if got == 0 {
            return Ok(());
        }
        conn.write_all(&buf[..got]).await?;
    }
}
