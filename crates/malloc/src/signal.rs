//! What a signal asks for is done by a thread.
//!
//! ```text
//!   signal ──► handler: count + 1, wake ──► thread: the job, as often as it was asked for
//!   fork   ──► child: the thread is not there ──► another one is started
//! ```
//!
//! The handler only raises a count: a job takes locks that the interrupted thread may hold. A program that handles the
//! signal itself takes it away from us, and one that had it ignored keeps it ignored.
//!
//! A child starts with nothing asked for: what its parent was asked for is its parent's.

use millpond_sys::{barrier, hooks, task};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};

/// A job, and how often it was asked for.
pub struct OnSignal {
    signal: i32,
    thread: &'static str,
    job: fn(),
    /// Signals so far. Written by the handler.
    asked: AtomicU32,
    /// Jobs that were done, or that a child leaves to its parent. Written by the thread; before that exists, by who
    /// starts it.
    done: AtomicU32,
}

/// The functions of one job that the system calls: without an argument they cannot be shared.
pub struct Entries {
    /// The signal's handler.
    pub handler: extern "C" fn(i32),
    /// The thread.
    pub thread: extern "C" fn(*mut c_void) -> *mut c_void,
    /// In the child of a `fork`.
    pub in_child: extern "C" fn(),
}

impl OnSignal {
    /// A job that nobody has asked for.
    pub const fn new(signal: i32, thread: &'static str, job: fn()) -> Self {
        let (asked, done) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { signal, thread, job, asked, done }
    }

    /// From now on the signal asks for the job, if it asks for nothing else.
    pub fn watch(&self, entries: &Entries) -> bool {
        if !hooks::handle_if_default(self.signal, entries.handler) {
            return false;
        }
        hooks::at_fork(nothing, nothing, entries.in_child);
        // Without a thread to be had, signals are counted and nothing is done.
        hooks::start_quiet_thread(entries.thread)
    }

    /// In the handler.
    pub fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Release);
        barrier::wake(&self.asked, 1);
    }

    /// In the child of a `fork`.
    pub fn begin_anew(&self, thread: extern "C" fn(*mut c_void) -> *mut c_void) {
        self.done.store(self.asked.load(Ordering::Relaxed), Ordering::Relaxed);
        hooks::start_quiet_thread(thread);
    }

    /// What the thread does.
    pub fn serve(&self) -> ! {
        task::set_thread_name(self.thread);
        loop {
            let done = self.done.load(Ordering::Relaxed);
            while self.asked.load(Ordering::Acquire) == done {
                barrier::wait(&self.asked, done);
            }
            self.done.store(done.wrapping_add(1), Ordering::Relaxed);
            (self.job)();
        }
    }
}

extern "C" fn nothing() {}

/// The [`Entries`] of a job in a static.
macro_rules! entries {
    ($job:path) => {{
        extern "C" fn handler(_signal: i32) {
            $job.ask();
        }
        extern "C" fn thread(_: *mut std::ffi::c_void) -> *mut std::ffi::c_void {
            $job.serve()
        }
        extern "C" fn in_child() {
            $job.begin_anew(thread);
        }
        $crate::signal::Entries { handler, thread, in_child }
    }};
}
pub(crate) use entries;
