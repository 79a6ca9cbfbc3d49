//! Panics: whose they are, and where their message is made.
//!
//! A hook in front of the one that was there says which goroutine panics. Both run on the M's own
//! stack: formatting a backtrace takes 23 KB, more than a small goroutine stack has left. While the
//! hook runs, the thread counts as a plain thread, so a hook that blocks blocks the thread and
//! cannot park a goroutine in the middle of a panic.

use crate::m::CurrentM;
use std::any::Any;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

/// The text of a payload, if it is one.
pub(crate) fn message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Puts the hook in place, once per process.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| match CurrentM::get() {
            Some(m) if m.is_running() => {
                let whose = whose(&m);
                let in_test = m.sched().is_private();
                m.on_thread_stack(|| {
                    if in_test {
                        crate::say::captured(format_args!("\n{whose}\n"));
                    } else {
                        crate::say::text(format_args!("\n{whose}\n"));
                    }
                    previous(info);
                });
            }
            // A waker, at the end of a first run.
            Some(m) => m.on_thread_stack(|| previous(info)),
            None => previous(info),
        }));
    });
}

fn whose(m: &CurrentM) -> String {
    if let Some(spawned) = m.task_of_running().and_then(std::cell::Cell::get) {
        return format!("task, spawned at {spawned}:");
    }
    let Some(g) = m.running() else { return "goroutine:".to_owned() };
    let name = g.spec.name.as_deref().unwrap_or("unnamed");
    format!("goroutine {} ({name}), started at {}:", g.id, g.spec.location)
}

/// Calls `f`. A backtrace ends here: the name is the one that `std` looks for, and below are only
/// frames of the runtime.
#[inline(never)]
pub(crate) fn short_backtrace<T>(f: impl FnOnce() -> T) -> T {
    return __rust_begin_short_backtrace(f);

    #[inline(never)]
    fn __rust_begin_short_backtrace<T>(f: impl FnOnce() -> T) -> T {
        let value = f();
        // Keeps the call from becoming a jump, which would leave no frame.
        std::hint::black_box(());
        value
    }
}
