//! The report of a stack overflow, from the signal handler.
//!
//! A touch of a stack at rest is answered first: the stack comes back, and the instruction is tried again.
//! A write below a goroutine's stack hits the guard, and the kernel sends `SIGSEGV` to the M, which
//! handles it on its signal stack. If the address lies in a guard of ours, say whose stack it was
//! and what to do, and abort. Everything else is somebody else's fault, in both senses, and goes to
//! the handler that was there before.
//!
//! All of it is async-signal-safe: it reads a const thread-local, atomics, and the running
//! goroutine's name and location, which do not change while it runs.

use crate::m::CurrentM;
use crate::poll_stack::Ground;
use millpond_sys::AltStack;
use millpond_sys::fault::{self, Fault};
use millpond_sys::report::Report;
use std::io;
use std::sync::OnceLock;

/// Installs the handler, once per process.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED
        .get_or_init(|| fault::install(on_fault).map_err(|e| e.raw_os_error().unwrap_or(0)));
    (*installed).map_err(io::Error::from_raw_os_error)
}

/// Gives the calling M its signal stack. Without one the kernel kills the process at an overflow:
/// safe, but silent.
pub(crate) fn enter_thread() -> Option<AltStack> {
    AltStack::new()
        .inspect_err(|error| {
            crate::say::line(format_args!("no signal stack, overflows go unexplained: {error}"))
        })
        .ok()
}

fn on_fault(addr: usize, _fault: &Fault) -> bool {
    if millpond_stack::on_fault(addr) {
        return true;
    }
    let Some(slot) = millpond_stack::lookup(addr).filter(|slot| slot.in_guard) else {
        return false;
    };
    let mut report = Report::new();
    report.str("\nmillpond: fatal: stack overflow in ");
    let m = CurrentM::get();
    let task = m.and_then(|m| m.task_of_running().and_then(std::cell::Cell::get));
    let g = m.and_then(|m| m.running());
    let ground = m.as_ref().zip(g.as_ref()).map(|(m, g)| g.exec(m).ground.get());
    let on_own_stack = ground.is_some_and(|ground| ground != Ground::Chosen);
    match (task, &g) {
        (Some(spawned), _) => {
            report.str("a task, spawned at ").str(spawned.file());
            report.str(":").dec(u64::from(spawned.line()));
        }
        (None, Some(g)) => {
            report.str("goroutine ").dec(g.id);
            if let Some(name) = g.spec.name.as_deref() {
                report.str(" (").str(name).str(")");
            }
            report.str(", started at ").str(g.spec.location.file());
            report.str(":").dec(u64::from(g.spec.location.line()));
        }
        (None, None) => {
            report.str("code that runs on a goroutine's stack");
        }
    }
    // The count is not given back: the process ends here, and dropping could free.
    std::mem::forget(g);
    report.str("\n  its stack has ").dec(slot.stack_bytes as u64);
    report.str(" bytes; the address touched was ").hex(addr as u64);
    report.str(if slot.class == millpond_stack::SizeClass::Mib8 {
        "\n  this is the largest stack there is: use a loop, or a thread of its own with more\n"
    } else if on_own_stack {
        "\n  raise it with Builder::stack_size, for all goroutines with MILLPOND_STACK (for \
         example MILLPOND_STACK=1MiB),\n  or run the deep part under millpond::with_stack\n"
    } else {
        "\n  raise the bytes given to millpond::with_stack (8 MiB at most)\n"
    });
    report.send();
    std::process::abort()
}
