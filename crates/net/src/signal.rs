//! Unix signals, received like messages.
//!
//! The handler (of the `signal-hook` crate, which shares a signal between all that ask for it)
//! sets a flag per signal and then writes a byte to a socket pair; the receiving end is a
//! [`Source`] like any other, so waiting for a signal parks, and the deadlock report knows that
//! somebody outside may still wake this goroutine. As in the kernel, a signal that comes again
//! before it was received counts once.
//!
//! The default action of a signal is gone from the first subscription on, for the life of the
//! process: after the last one was dropped the signal does nothing.

use millpond_rt::Context;
use millpond_rt::io::{Side, Source};
use millpond_rt::select::Finish;
use millpond_rt::wait::{Until, WaitReason};
use signal_hook::SigId;
use signal_hook::low_level::{pipe, unregister};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use signal_hook::consts::signal::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGWINCH,
};

/// A subscription to some signals. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Signals {
    source: Source<UnixStream>,
    watched: Vec<Watched>,
    /// Only dropped, which removes them.
    _installed: Installed,
}

#[derive(Debug)]
struct Watched {
    signal: i32,
    /// Atomic: set by the handler before it writes the byte, cleared by who receives.
    pending: Arc<AtomicBool>,
}

/// Actions in the handler. A type of its own, so that a failure half way removes what there is.
#[derive(Debug, Default)]
struct Installed(Vec<SigId>);

impl Drop for Installed {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            unregister(id);
        }
    }
}

/// Subscribes to `signals`, by number.
///
/// ```
/// # mod millpond { pub use millpond_rt::*; pub use millpond_net::{self as net, signal}; }
/// use millpond::signal::{self, SIGUSR1};
///
/// let signals = signal::notify(&[SIGUSR1])?;
/// // ... `kill -USR1` from somewhere ...
/// assert_eq!(signals.try_recv()?, None);
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// `InvalidInput` for an empty list, for a number that is no signal, and for those that cannot be
/// handled (SIGKILL, SIGSTOP) or must not (SIGSEGV, SIGILL, SIGFPE); or no descriptors are left.
pub fn notify(signals: &[i32]) -> io::Result<Signals> {
    if signals.is_empty() {
        return Err(refused("expected at least one signal, found none".into()));
    }
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    let (mut watched, mut installed) = (Vec::<Watched>::new(), Installed::default());
    for &signal in signals {
        if signal_hook::consts::FORBIDDEN.contains(&signal) {
            return Err(refused(format!("signal {signal} cannot be received like a message")));
        }
        if watched.iter().any(|known| known.signal == signal) {
            continue;
        }
        let pending = Arc::new(AtomicBool::new(false));
        let no_such = |error| refused(format!("signal {signal}: {error}"));
        // In this order: actions of a signal run as they were installed, flag before byte.
        let flag = signal_hook::flag::register(signal, pending.clone()).map_err(no_such)?;
        installed.0.push(flag);
        installed.0.push(pipe::register(signal, far.try_clone()?)?);
        watched.push(Watched { signal, pending });
    }
    Ok(Signals { source: Source::new(near), watched, _installed: installed })
}

fn refused(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("signal::notify: {what}"))
}

impl Signals {
    /// The next signal. Parks until one comes. In a `select!`, `s = signals.recv() => ..` is an arm.
    ///
    /// # Errors
    /// Only those of a runtime that has shut down.
    pub fn recv(&self) -> io::Result<i32> {
        self.source.io(Side::Read, WaitReason::Signal, Until::Forever, |pipe| self.take(pipe))
    }

    /// The next signal, waiting at most `timeout`; `None` if none came. Parks.
    ///
    /// # Errors
    /// As [`Signals::recv`].
    pub fn recv_timeout(&self, timeout: Duration) -> io::Result<Option<i32>> {
        let until = Until::After(timeout);
        match self.source.io(Side::Read, WaitReason::Signal, until, |pipe| self.take(pipe)) {
            Ok(signal) => Ok(Some(signal)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Signals::recv`], until `ctx` is done.
    ///
    /// # Errors
    /// As [`Signals::recv`]; a [`ContextError`](millpond_rt::context::ContextError) if the context
    /// is done.
    pub fn recv_ctx(&self, ctx: &Context) -> io::Result<i32> {
        self.source.io(Side::Read, WaitReason::Signal, Until::Done(ctx), |pipe| self.take(pipe))
    }

    /// A signal that has come already. Never parks.
    ///
    /// # Errors
    /// Those of reading a socket pair: none in a sound process.
    pub fn try_recv(&self) -> io::Result<Option<i32>> {
        match self.take(self.source.get_ref()) {
            Ok(signal) => Ok(Some(signal)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The twin of [`Signals::recv`] for tasks.
    ///
    /// # Errors
    /// As [`Signals::recv`].
    pub async fn recv_async(&self) -> io::Result<i32> {
        self.source.io_async(Side::Read, |pipe| self.take(pipe)).await
    }

    /// The arm `self.recv()` of a select. A signal that came while another arm won stays pending.
    #[doc(hidden)]
    pub fn __select_recv(&self) -> impl Finish<Output = io::Result<i32>> + '_ {
        self.source.arm(Side::Read, |pipe| self.take(pipe))
    }

    /// Signals as they come, without end. Each `next` parks.
    pub fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        std::iter::from_fn(|| self.recv().ok())
    }

    /// Takes one pending signal, in the order of the list.
    fn take(&self, mut pipe: &UnixStream) -> io::Result<i32> {
        self.take_or_silence(|| {
            if pipe.read(&mut [0; 64])? == 0 {
                unreachable!("the handler's end lives as long as this subscription");
            }
            Ok(())
        })
    }

    fn take_or_silence(&self, mut silence: impl FnMut() -> io::Result<()>) -> io::Result<i32> {
        let mut silenced = false;
        loop {
            if let Some(signal) = self.take_flag() {
                if silenced && self.any_flag() {
                    // Its byte is gone, and the kernel does not tell of what was read meanwhile: another
                    // receiver that waits hears of it here.
                    self.source.touch();
                }
                return Ok(signal);
            }
            // No flag: silence the socket, then look again. A signal sets its flag first and
            // writes after, so one that the last look missed has its byte in front of us.
            silence()?;
            silenced = true;
        }
    }

    fn any_flag(&self) -> bool {
        self.watched.iter().any(|watched| watched.pending.load(Ordering::Acquire))
    }

    fn take_flag(&self) -> Option<i32> {
        let taken = |watched: &&Watched| watched.pending.swap(false, Ordering::AcqRel);
        self.watched.iter().find(taken).map(|watched| watched.signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_rt::{Builder, go, goroutines, yield_now};

    /// Two signals come between a receiver's look at the flags and its reading of the socket, which takes the bytes
    /// of both; nobody has told the other receiver of them.
    #[test]
    fn who_reads_the_bytes_of_two_signals_tells_the_other_receiver() {
        let second = Builder::new().procs(1).private().run(|| {
            let signals = Arc::new(notify(&[SIGUSR1, SIGUSR2]).unwrap());
            let also = signals.clone();
            let waits = go(move || also.recv_timeout(Duration::from_secs(60)).unwrap());
            while !goroutines().iter().any(|g| g.reason == WaitReason::Signal) {
                yield_now();
            }
            let first = signals.take_or_silence(|| {
                signals.watched.iter().for_each(|w| w.pending.store(true, Ordering::Release));
                Ok(())
            });
            assert_eq!(first.unwrap(), SIGUSR1);
            waits.join().unwrap()
        });
        assert_eq!(second.unwrap(), Some(SIGUSR2));
    }
}
