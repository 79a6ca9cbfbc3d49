//! The async twins: submitting and waiting for the end, with a [`FutureWait`] in place of a park.
//!
//! Both are in line from the first poll that cannot go on; dropped in line, they withdraw first
//! and leave then. A submit that was taken into the queue before it was dropped stays there.

use super::handle::Workers;
use super::job::{Job, JobHandle};
use super::queue::Enlisted;
use crate::wait_list::Key;
use millpond_rt::coop;
use millpond_rt::wait::FutureWait;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Submits a job to [`Workers`]. From [`Workers::submit_async`].
#[must_use = "nothing is submitted until the future is awaited"]
pub struct SubmitFuture<'a, T> {
    workers: &'a Workers,
    /// The job, until the first poll moves it into the queue or the line.
    job: Option<Job>,
    handle: Option<JobHandle<T>>,
    /// The entry in the line, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl<'a, T> SubmitFuture<'a, T> {
    pub(super) fn new(workers: &'a Workers, job: Job, handle: JobHandle<T>) -> Self {
        let (job, handle) = (Some(job), Some(handle));
        Self { workers, job, handle, key: None, wait: FutureWait::new() }
    }

    /// The first poll; whether it is done.
    fn begin(&mut self, job: Job) -> bool {
        coop::spend();
        let shared = self.workers.shared();
        match shared.queue.push_or_enlist(job, || self.wait.arm()) {
            Ok(then) => shared.follow(then),
            Err(Enlisted::Closed(refused)) => drop(refused),
            Err(Enlisted::Waits(key)) => {
                self.key = Some(key);
                return false;
            }
        }
        true
    }

    fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            match self.workers.shared().queue.leave_line(key) {
                Ok(then) => self.workers.shared().follow(then),
                Err(refused) => drop(refused),
            }
        }
    }
}

impl<T> Future for SubmitFuture<'_, T> {
    type Output = JobHandle<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let done = match this.job.take() {
            Some(job) => this.begin(job),
            None => false,
        };
        if !done {
            if this.wait.poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.leave();
        }
        Poll::Ready(this.handle.take().expect("SubmitFuture: polled after it was ready"))
    }
}

impl<T> Drop for SubmitFuture<'_, T> {
    fn drop(&mut self) {
        self.wait.cancel();
        self.leave();
    }
}

impl<T> Unpin for SubmitFuture<'_, T> {}

impl<T> fmt::Debug for SubmitFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitFuture").finish_non_exhaustive()
    }
}

/// Waits until [`Workers`] are closed and done. From [`Workers::join_async`] and
/// [`Workers::shutdown_async`].
#[must_use = "nothing is waited for until the future is awaited"]
pub struct WorkersFuture<'a> {
    workers: &'a Workers,
    /// The entry in the line, while one is there.
    key: Option<Key>,
    wait: FutureWait,
}

impl<'a> WorkersFuture<'a> {
    pub(super) fn new(workers: &'a Workers) -> Self {
        Self { workers, key: None, wait: FutureWait::new() }
    }
}

impl Future for WorkersFuture<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let queue = &this.workers.shared().queue;
        if this.key.is_none() {
            this.key = queue.enlist_joiner(|| this.wait.arm());
        }
        if this.key.is_some() {
            if this.wait.poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.key.take().into_iter().for_each(|key| queue.leave_joiners(key));
        }
        Poll::Ready(())
    }
}

impl Drop for WorkersFuture<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.wait.cancel();
            self.workers.shared().queue.leave_joiners(key);
        }
    }
}

impl fmt::Debug for WorkersFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkersFuture").finish_non_exhaustive()
    }
}
