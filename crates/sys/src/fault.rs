//! The process-wide handler for `SIGSEGV` and `SIGBUS`: ours first, then whoever was before.
//!
//! One handler per process, installed once. It asks the runtime's callback whether the fault is
//! the runtime's (a stack's guard); if not, the handler that was there before sees the fault as
//! if we did not exist, as far as user space can arrange that:
//!
//! ```text
//! fault ─► entry ─► callback(addr, &Fault) ─ true ──► return: the instruction is tried again
//!                        │ false                      (or the callback has aborted)
//!                        ▼
//!            previous disposition of this signal
//!              handler    called with its own mask, 1 or 3 arguments, once if SA_RESETHAND
//!              SIG_DFL    put back; the fault repeats and kills with the right status and core
//!              SIG_IGN    a sent signal is ignored; a true fault cannot be (kernel's rule): as DFL
//! ```
//!
//! Not honoured: a previous handler without `SA_ONSTACK` is called on the signal stack all the
//! same, since the thread's own stack may be what failed.
//!
//! Everything from `entry` on is async-signal-safe: it reads atomics and leaked memory.

use std::ffi::c_void;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, TryLockError};

const SIGNALS: [i32; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What is known of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// `SIGSEGV` or `SIGBUS`.
    pub signal: i32,
    /// Whether the processor raised it (`false`: some process sent it).
    pub is_hardware: bool,
    /// The instruction that faulted; 0 on an architecture that is not known here.
    pub instruction: usize,
    /// The stack pointer at that instruction; 0 on an architecture that is not known here.
    pub stack_pointer: usize,
}

/// Decides about a fault at an address. `true`: handled, try the instruction again. `false`: not
/// ours. Runs in a signal handler: async-signal-safe calls only, and it must not unwind.
pub type Callback = fn(addr: usize, fault: &Fault) -> bool;

/// A [`Callback`] as a number, or 0. Written once per [`install`], read by the handler.
static CALLBACK: AtomicUsize = AtomicUsize::new(0);

/// A second [`Callback`] as a number, or 0: it is asked first. Written by [`watch`].
static WATCHER: AtomicUsize = AtomicUsize::new(0);

/// What was there before, in the order of [`SIGNALS`]. Null until installed; then leaked, so that
/// a handler on any thread may read it for ever.
static PREVIOUS: [AtomicPtr<Previous>; 2] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 2];

/// Serialises installation.
static INSTALLING: Mutex<()> = Mutex::new(());

struct Previous {
    action: libc::sigaction,
    /// Set by the first call of a handler that asked for `SA_RESETHAND`.
    spent: AtomicBool,
}

/// Installs the handler for the process and sets its callback. A second call only replaces the
/// callback. Faults on a thread without a signal stack (see [`crate::AltStack`]) are handled as
/// well, unless its stack is what failed.
///
/// # Errors
/// Whatever `sigaction` says.
pub fn install(callback: Callback) -> io::Result<()> {
    let _turn = INSTALLING.lock().unwrap_or_else(|poison| poison.into_inner());
    CALLBACK.store(callback as usize, Ordering::Release);
    install_handler()
}

/// Installs the handler for the process and sets a callback that is asked before that of
/// [`install`]: for memory that an allocator guards. Does not wait: the one who installs at this moment may be
/// the very thread whose allocation led here.
///
/// # Errors
/// `WouldBlock` while somebody installs; whatever `sigaction` says.
pub fn watch(callback: Callback) -> io::Result<()> {
    let _turn = match INSTALLING.try_lock() {
        Ok(turn) => turn,
        Err(TryLockError::Poisoned(poison)) => poison.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
    };
    WATCHER.store(callback as usize, Ordering::Release);
    install_handler()
}

/// Whether somebody handles `SIGSEGV` at the moment: in a Rust program, `std` from early on.
pub fn is_handled() -> bool {
    query(libc::SIGSEGV).is_ok_and(|action| action.sa_sigaction != libc::SIG_DFL)
}

/// Sets the handler where it is not set yet. With [`INSTALLING`] held.
fn install_handler() -> io::Result<()> {
    for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
        if !previous.load(Ordering::Acquire).is_null() {
            continue;
        }
        // The old action is published before ours is set: a fault between the two must find it.
        let action = query(signal)?;
        let record = Box::new(Previous { action, spent: AtomicBool::new(false) });
        previous.store(Box::into_raw(record), Ordering::Release);
        set(signal, entry as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK)?;
    }
    Ok(())
}

fn query(signal: i32) -> io::Result<libc::sigaction> {
    // SAFETY: all-zero is a valid `sigaction`, and it is only written to.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a query: nothing is set.
    match unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } {
        0 => Ok(action),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(signal: i32, handler: usize, flags: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid `sigaction`: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: `handler` is SIG_DFL or `entry`, whose signature is the one of SA_SIGINFO.
    match unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn entry(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // A handler must not disturb the errno of the code that it interrupts.
    // SAFETY: the location belongs to this thread.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel gave us both pointers for the length of this call (SA_SIGINFO).
    let (addr, fault) = unsafe { describe(signal, info, context) };
    let asked = |callback: &AtomicUsize| {
        let callback = callback.load(Ordering::Acquire);
        // SAFETY: the only writers are `install` and `watch`, and they store a `Callback`.
        let callback: Option<Callback> = unsafe { std::mem::transmute(callback) };
        callback.is_some_and(|callback| callback(addr, &fault))
    };
    if !asked(&WATCHER) && !asked(&CALLBACK) {
        // SAFETY: as above.
        unsafe { forward(signal, info, context, fault.is_hardware) };
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// # Safety
/// The pointers must be those that the kernel gave to a `SA_SIGINFO` handler.
unsafe fn describe(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) -> (usize, Fault) {
    // SAFETY: the caller's promise; for these two signals the address field is the one in use
    // (it holds the sender when the signal was sent: `is_hardware` tells).
    let (addr, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the caller's promise.
    let machine = unsafe { &(*context).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    let (instruction, stack_pointer) = (
        machine.gregs[libc::REG_RIP as usize] as usize,
        machine.gregs[libc::REG_RSP as usize] as usize,
    );
    #[cfg(target_arch = "aarch64")]
    let (instruction, stack_pointer) = (machine.pc as usize, machine.sp as usize);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let (instruction, stack_pointer) = {
        let _ = machine;
        (0, 0)
    };
    (addr, Fault { signal, is_hardware: code > 0, instruction, stack_pointer })
}

/// Hands the signal to whoever was there before us.
///
/// # Safety
/// The pointers must be those that the kernel gave to a `SA_SIGINFO` handler.
unsafe fn forward(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    is_hardware: bool,
) {
    let index = usize::from(signal == libc::SIGBUS);
    // SAFETY: null or a leaked record, published before our handler was set.
    let previous = unsafe { PREVIOUS[index].load(Ordering::Acquire).as_ref() };
    let handler = previous.map_or(libc::SIG_DFL, |previous| {
        let once = previous.action.sa_flags & libc::SA_RESETHAND != 0;
        let spent = once && previous.spent.swap(true, Ordering::AcqRel);
        if spent { libc::SIG_DFL } else { previous.action.sa_sigaction }
    });
    match (handler, previous) {
        (libc::SIG_IGN, _) if !is_hardware => {}
        (libc::SIG_DFL | libc::SIG_IGN, _) | (_, None) => die_by(signal, is_hardware),
        (handler, Some(previous)) => {
            // SAFETY: the mask is the thread's own; the kernel restores the interrupted one when
            // our handler returns, whatever we set here.
            unsafe { take_mask(signal, &previous.action, context) };
            if previous.action.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: whoever set SA_SIGINFO gave a function of three arguments.
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) =
                    unsafe { std::mem::transmute(handler) };
                handler(signal, info, context);
            } else {
                // SAFETY: without SA_SIGINFO it is a function of one argument.
                let handler: extern "C" fn(i32) = unsafe { std::mem::transmute(handler) };
                handler(signal);
            }
        }
    }
}

/// Blocks what the kernel would block while the previous handler runs.
///
/// # Safety
/// `context` must be the one that the kernel gave to a `SA_SIGINFO` handler.
unsafe fn take_mask(signal: i32, action: &libc::sigaction, context: *mut c_void) {
    // SAFETY: the caller's promise; the sets are plain data and the calls are async-signal-safe.
    unsafe {
        let mut mask = (*context.cast::<libc::ucontext_t>()).uc_sigmask;
        for blocked in 1..=libc::SIGRTMAX() {
            if libc::sigismember(&raw const action.sa_mask, blocked) == 1 {
                libc::sigaddset(&raw mut mask, blocked);
            }
        }
        if action.sa_flags & libc::SA_NODEFER == 0 {
            libc::sigaddset(&raw mut mask, signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
    }
}

/// Ends the process by `signal` as if nobody had handled it, core dump included: the default
/// action is put back, and then the instruction faults again, or the signal is sent again.
fn die_by(signal: i32, is_hardware: bool) {
    if set(signal, libc::SIG_DFL, 0).is_err() {
        std::process::abort();
    }
    if !is_hardware {
        // It is blocked until our handler returns, and delivered then.
        // SAFETY: takes numbers.
        unsafe { libc::raise(signal) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_does_not_wait_for_an_installation_that_may_be_its_own_thread_s() {
        let turn = INSTALLING.lock().unwrap();
        let refused = watch(|_, _| false).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(WATCHER.load(Ordering::Acquire), 0);
        drop(turn);
        watch(|_, _| false).unwrap();
        assert_ne!(WATCHER.load(Ordering::Acquire), 0);
    }
}
