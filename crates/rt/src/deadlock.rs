//! The deadlock report: all goroutines are asleep, and nothing could wake one.
//!
//! Go reports this, and so do we, but only when it is certain. A wrong report kills a process that
//! was fine, so every doubt is a "no". When all Ms sleep, somebody could still wake a goroutine:
//!
//! - a timer that is set, a descriptor that is waited for (signals are descriptors), a job on the
//!   blocking pool: counted, exactly;
//! - another thread of the process, which may hold a channel, a handle, a waker. Who holds what
//!   cannot be known, but who exists can: the kernel's count of threads must equal the threads that
//!   are ours plus the plain threads that wait, without limit, for one of our primitives. One more
//!   thread than that, of whatever kind, and nothing is reported.
//!
//! "Asleep" is not an M that says so, but one that is in its `epoll_wait` and has taken nothing out
//! of it: between that and its next goroutine it holds wake-ups that no count shows.
//!
//! After a pause all is looked at a second time; had anything moved, somebody is not asleep.

use crate::g::Status;
use crate::sched::Sched;
use crate::{blocking, sysmon, wait};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Goroutines that the report shows.
const SHOWN: usize = 100;

/// Between the two looks. Nothing is urgent about a deadlock.
const PAUSE: Duration = Duration::from_millis(10);

/// Ends the process with status 2 if there is a deadlock.
pub(crate) fn check(sched: &Sched) {
    let Some(before) = standstill(sched) else { return };
    std::thread::sleep(PAUSE);
    if standstill(sched) == Some(before) && !sched.is_stopping() {
        report(sched);
    }
}

/// The sum of all switches if nothing can wake anybody, else `None`.
fn standstill(sched: &Sched) -> Option<u64> {
    let ms = sched.ms();
    let in_kernel = ms.iter().filter(|m| m.poller.is_in_kernel()).count();
    let asleep = sched.idle.count() >= sched.threads() && in_kernel >= sched.threads();
    let waited_for = |m: &crate::m::M| {
        m.has_messages() || m.p.has_work() || m.timers.any_open() || m.poller.waiting_count() > 0
    };
    if !asleep
        || sched.global.len() > 0
        || blocking::jobs() > 0
        || ms.iter().any(waited_for)
        || ms.iter().all(|m| m.live.load(Ordering::SeqCst) == 0)
    {
        return None;
    }
    let ours = sched.threads() + sysmon::threads() + blocking::threads() + wait::blocked_threads();
    // The allocator's thread, if there is one, frees pages and wakes nobody.
    let all = millpond_sys::task::waking_thread_count().ok()?;
    (all == ours).then(|| ms.iter().map(|m| m.switches.load(Ordering::SeqCst)).sum())
}

fn report(sched: &Sched) -> ! {
    #[cfg(feature = "frames")]
    let goroutines = crate::trace::of(sched);
    #[cfg(not(feature = "frames"))]
    let goroutines = crate::dump::of(sched);
    let mut text = String::from("fatal error: all goroutines are asleep - deadlock!\n");
    for goroutine in goroutines.iter().filter(|g| g.status == Status::Waiting).take(SHOWN) {
        let _ = writeln!(text, "\n{goroutine}");
    }
    if goroutines.len() > SHOWN {
        let _ = writeln!(text, "\n... and {} more", goroutines.len() - SHOWN);
    }
    crate::say::text(format_args!("{text}"));
    std::process::exit(2)
}
