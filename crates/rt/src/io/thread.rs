//! The bell of a plain thread that is in poll(2), so that a changed deadline reaches it, and so does
//! the end of a context.
//!
//! One eventfd per thread, made at its first blocking wait and closed when the thread ends. In the
//! line of a descriptor it stands as a waker, like any other. A context is waited for with a ticket;
//! [`Alarm`] is the wait of a future whose waker is the bell.

use crate::context::{Context, ContextError, Registration};
use crate::wait::FutureWait;
use millpond_sys::epoll::Notifier;
use std::cell::OnceCell;
use std::io;
use std::sync::Arc;
use std::task::{self, Wake, Waker};

/// See the module documentation.
#[derive(Debug)]
pub(super) struct ThreadBell(Notifier);

impl ThreadBell {
    fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(Notifier::new()?)))
    }

    pub(super) fn notifier(&self) -> &Notifier {
        &self.0
    }
}

impl Wake for ThreadBell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify();
    }
}

thread_local! {
    static BELL: OnceCell<Arc<ThreadBell>> = const { OnceCell::new() };
}

/// The calling thread's bell, and the waker that rings it. While thread-locals are being
/// destroyed, a fresh one.
pub(super) fn thread_bell() -> io::Result<(Arc<ThreadBell>, Waker)> {
    let known = BELL.try_with(|bell| bell.get().cloned());
    let bell = match known {
        Ok(Some(bell)) => bell,
        Ok(None) => {
            let fresh = ThreadBell::new()?;
            BELL.with(|bell| bell.get_or_init(|| fresh).clone())
        }
        Err(_) => ThreadBell::new()?,
    };
    let waker = bell.clone().into();
    Ok((bell, waker))
}

/// Rings the bell when a context is cancelled, as long as it is there.
#[derive(Debug)]
pub(super) struct Alarm<'a> {
    ctx: &'a Context,
    wait: FutureWait,
    /// Taken by the drop.
    registration: Option<Registration>,
}

impl<'a> Alarm<'a> {
    /// An error if the context is done already.
    pub(super) fn set(ctx: &'a Context, bell: &Waker) -> Result<Self, ContextError> {
        let mut wait = FutureWait::new();
        let registration = Some(ctx.enlist_as(wait.arm(), 0)?);
        let mut alarm = Self { ctx, wait, registration };
        match alarm.wait.poll(&mut task::Context::from_waker(bell)) {
            task::Poll::Pending => Ok(alarm),
            task::Poll::Ready(_) => Err(ctx.why()),
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.wait.cancel();
        if let Some(registration) = self.registration.take() {
            self.ctx.delist(registration);
        }
    }
}
