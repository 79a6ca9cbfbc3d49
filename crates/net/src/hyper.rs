//! `hyper::rt`: hyper reads and writes our sockets, starts tasks, and sleeps.
//!
//! hyper lends a buffer that is not initialised, and the kernel fills it; initialising it first
//! would cost more than the read of a small request.

use crate::{TcpStream, UnixStream};
use ::hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use millpond_rt::io::Side;
use rustix::net::{RecvFlags, recv};
use std::future::Future;
use std::io::{self, IoSlice, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Receives into what `buf` has left; how much.
fn receive(socket: impl AsFd, buf: &mut ReadBufCursor<'_>) -> io::Result<usize> {
    // SAFETY: the slice is only written to, by the kernel, never de-initialised.
    let ((filled, _rest), _len) = recv(socket, unsafe { buf.as_mut() }, RecvFlags::empty())?;
    let got = filled.len();
    // SAFETY: `filled` is the part of the slice that the kernel has initialised.
    unsafe { buf.advance(got) };
    Ok(got)
}

impl Read for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let want = buf.remaining();
        ready!(self.source.poll_read_stream(cx, want, |socket| receive(socket, &mut buf)))?;
        Poll::Ready(Ok(()))
    }
}

impl Read for UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.source.poll_io(cx, Side::Read, |socket| receive(socket, &mut buf)))?;
        Poll::Ready(Ok(()))
    }
}

macro_rules! writes {
    ($($name:ident),*) => {$(
        impl Write for $name {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.source.poll_io(cx, Side::Write, |mut socket| socket.write(buf))
            }

            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.shutdown(Shutdown::Write))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.source.poll_io(cx, Side::Write, |mut socket| socket.write_vectored(bufs))
            }
        }
    )*};
}

writes!(TcpStream, UnixStream);

/// Starts hyper's futures as tasks of the runtime, detached.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskExecutor;

impl<F> Executor<F> for TaskExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(millpond_rt::spawn(future));
    }
}

/// hyper's time-outs, on the timers of the runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskTimer;

/// The sleep of [`TaskTimer`]. A type of our own, because hyper's trait is not for others' types.
struct TaskSleep(millpond_rt::time::Sleep);

impl Future for TaskSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Sleep for TaskSleep {}

impl Timer for TaskTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(TaskSleep(millpond_rt::time::sleep_async(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(TaskSleep(millpond_rt::time::Sleep::until(deadline)))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<TaskSleep>() {
            Some(mut sleep) => sleep.0.reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}
