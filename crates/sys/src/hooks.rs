//! What the process calls back: at the end of a thread, at `fork`, at exit; and threads of ours
//! that nobody sees.
//!
//! These are for an allocator, so nothing here allocates through Rust. The C library may allocate
//! for its own lists ([`ExitKey::set`], [`at_fork`]), which comes back to us when we *are* its
//! `malloc`: callers are ready for that.
//!
//! A [`ExitKey`] is a POSIX key and not a thread-local with a destructor: keys are destroyed
//! after *all* thread-locals of Rust and C++, so that destructors of those still find an
//! allocator.
//!
//! A *quiet thread* serves the process and can never wake anybody who waits for a message of the
//! program. Whoever decides from the number of threads that nothing can happen any more does not count
//! them ([`crate::task::waking_thread_count`]).

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Quiet threads that run now. Raised after the thread has started: who subtracts it from the number of threads
/// may find one that he cannot explain, but never takes somebody else's for a quiet one.
static QUIET: AtomicUsize = AtomicUsize::new(0);

/// A value per thread, given to a function when the thread ends.
#[derive(Clone, Copy, Debug)]
pub struct ExitKey(libc::pthread_key_t);

impl ExitKey {
    /// A new key; `None` when the process has too many (1024).
    pub fn new(at_end: unsafe extern "C" fn(*mut c_void)) -> Option<Self> {
        let mut key = 0;
        // SAFETY: the key is written to a local; the function is called with what `set` stored.
        let failed = unsafe { libc::pthread_key_create(&raw mut key, Some(at_end)) };
        (failed == 0).then_some(Self(key))
    }

    /// Sets this thread's value; if it is null, nothing is called at the end.
    ///
    /// # Safety
    /// The value must be one that the key's function can take when the thread ends.
    pub unsafe fn set(self, value: *const c_void) -> bool {
        // SAFETY: the key exists, since keys are never deleted; the value is the caller's promise.
        unsafe { libc::pthread_setspecific(self.0, value) == 0 }
    }
}

/// Has functions called around every `fork`: `before` in the forking thread, then one of the
/// others in it and in its copy.
pub fn at_fork(before: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> bool {
    // The declaration of `libc` asks for `unsafe` functions; safe ones are fewer promises.
    // SAFETY: the functions are static.
    unsafe { libc::pthread_atfork(Some(before), Some(parent), Some(child)) == 0 }
}

/// Has `f` called when the process ends by `exit` or by returning from `main`.
pub fn at_exit(f: extern "C" fn()) -> bool {
    // SAFETY: the function is static.
    unsafe { libc::atexit(f) == 0 }
}

/// Bytes of a quiet thread's stack. Unoptimised, what compresses a profile takes four times as much.
const QUIET_STACK_BYTES: usize = if cfg!(debug_assertions) { 1 << 20 } else { 256 << 10 };

/// Starts a detached quiet thread on a small stack, with all signals blocked.
pub fn start_quiet_thread(body: extern "C" fn(*mut c_void) -> *mut c_void) -> bool {
    // SAFETY: each object is initialised by the call before it is used; the body is static and
    // ignores its argument; the mask is put back before anything else runs on this thread.
    let failed = keep_errno(|| unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        libc::pthread_attr_init(&raw mut attributes);
        libc::pthread_attr_setstacksize(&raw mut attributes, QUIET_STACK_BYTES);
        libc::pthread_attr_setdetachstate(&raw mut attributes, libc::PTHREAD_CREATE_DETACHED);
        let mut thread: libc::pthread_t = std::mem::zeroed();
        let failed = libc::pthread_create(
            &raw mut thread,
            &raw const attributes,
            body,
            std::ptr::null_mut(),
        );
        libc::pthread_attr_destroy(&raw mut attributes);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        failed
    });
    if failed == 0 {
        QUIET.fetch_add(1, Ordering::SeqCst);
    }
    failed == 0
}

/// Quiet threads of this process.
pub fn quiet_threads() -> usize {
    QUIET.load(Ordering::SeqCst)
}

/// Says that a `fork` left the quiet threads behind: in the child there are none.
pub fn forget_quiet_threads() {
    QUIET.store(0, Ordering::SeqCst);
}

/// Handles a signal for the process, unless somebody does already or it is ignored. System calls that it interrupts
/// go on. The handler may do what is async-signal-safe, and no more.
pub fn handle_if_default(signal: i32, handler: extern "C" fn(i32)) -> bool {
    // SAFETY: all-zero is a valid `sigaction`; the first call only asks; the handler has the signature of a plain
    // one, and keeps to what its documentation above says.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &raw mut action) != 0
            || action.sa_sigaction != libc::SIG_DFL
        {
            return false;
        }
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut()) == 0
    }
}

/// Does something that may set `errno`, and puts it back: `free` must leave it alone.
pub fn keep_errno<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the location belongs to this thread, which does not end meanwhile.
    let errno = unsafe { *libc::__errno_location() };
    let result = f();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    result
}

/// Gives the value of an environment variable to `read`, without copying it. For the first moments
/// of a process: a thread that changes the environment meanwhile is a race, as it is for `getenv`.
pub fn setting<R>(name: &CStr, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
    // SAFETY: `getenv` returns null or a string that stays until the variable is changed; the
    // caller reads it in the process's first moments.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: as above.
    Some(read(unsafe { CStr::from_ptr(value) }.to_bytes()))
}

/// Whether the process has more rights than who started it (set-user-id): what the environment says is then
/// somebody else's wish.
pub fn is_privileged() -> bool {
    // SAFETY: reads a word that the kernel has given the process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// A number that another process cannot guess; the kernel's, or that of the clock and of addresses
/// where the kernel refuses.
pub fn seed() -> u64 {
    let mut bytes = [0u8; 8];
    let flags = rustix::rand::GetRandomFlags::NONBLOCK;
    match rustix::rand::getrandom(&mut bytes, flags) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => crate::clock::now_ns() ^ (&raw const bytes as u64).rotate_left(32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    static ENDED: AtomicU32 = AtomicU32::new(0);

    unsafe extern "C" fn ended(value: *mut c_void) {
        ENDED.fetch_add(value as u32, Ordering::SeqCst);
    }

    #[test]
    fn a_key_is_called_with_its_value_when_the_thread_has_ended() {
        let key = ExitKey::new(ended).unwrap();
        // SAFETY: `ended` takes every value.
        let set = move || assert!(unsafe { key.set(7 as *const c_void) });
        std::thread::spawn(set).join().unwrap();
        // `join` returns when the kernel has cleared the thread, which is after its keys.
        assert_eq!(ENDED.load(Ordering::SeqCst), 7);
    }

    static RAN: AtomicU32 = AtomicU32::new(0);

    extern "C" fn run(_: *mut c_void) -> *mut c_void {
        RAN.store(1, Ordering::SeqCst);
        crate::barrier::wake(&RAN, 1);
        std::ptr::null_mut()
    }

    #[test]
    fn a_quiet_thread_runs_and_is_counted() {
        assert!(start_quiet_thread(run));
        assert_eq!(quiet_threads(), 1);
        while RAN.load(Ordering::SeqCst) == 0 {
            crate::barrier::wait(&RAN, 0);
        }
    }

    #[test]
    fn settings_are_read_in_place() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(setting(c"PATH", |value| value == path.as_bytes()), Some(true));
        assert_eq!(setting(c"MILLPOND_NO_SUCH_NAME", |_| ()), None);
        assert_ne!(seed(), seed());
    }
}
