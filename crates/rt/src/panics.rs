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
                let whose = m.running().map(|g| {
                    let name = g.spec.name.as_deref().unwrap_or("unnamed");
                    format!("goroutine {} ({name}), started at {}:", g.id, g.spec.location)
                });
                m.on_thread_stack(|| {
                    if let Some(whose) = whose {
                        crate::say::text(format_args!("\n{whose}\n"));
                    }
                    previous(info);
                });
            }
            _ => previous(info),
        }));
    });
}
