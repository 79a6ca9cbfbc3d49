//! A signal stack per thread: where a fault handler stands when the stack itself is what failed.
//!
//! [`AltStack`] belongs to one thread. It is made large enough for the kernel's signal frame (the
//! processor's register state: `AT_MINSIGSTKSZ`, over 10 KiB with AVX-512 and AMX) plus room for
//! a handler, and has a guard page of its own below. What the thread had before (the standard
//! library gives its threads a small one) is put back on drop. So drop it in the function that
//! made it and not in a thread-local destructor: by then the standard library has unmapped its
//! own, and that is what would be put back.

use crate::mem;
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};
use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;

/// Room for handlers above the signal frame: ours, and the one before ours that it may call.
const HANDLER_BYTES: usize = 64 << 10;

/// The calling thread's signal stack, until dropped. Neither `Send` nor `Sync`.
#[derive(Debug)]
#[must_use = "dropping it takes the signal stack away"]
pub struct AltStack {
    map_start: usize,
    map_bytes: usize,
    previous: libc::stack_t,
    /// Set and restored for the calling thread alone.
    not_send: PhantomData<*mut ()>,
}

impl AltStack {
    /// Gives the calling thread a signal stack.
    ///
    /// # Errors
    /// If memory for it cannot be had, or if the thread stands on its signal stack right now.
    ///
    /// ```
    /// let signal_stack = millpond_sys::AltStack::new()?;
    /// assert!(signal_stack.usable_bytes() >= 64 << 10);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> io::Result<Self> {
        let page = mem::page_size();
        let map_bytes = (frame_bytes() + HANDLER_BYTES).next_multiple_of(page) + page;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let map = unsafe {
            mm::mmap_anonymous(std::ptr::null_mut(), map_bytes, prot, MapFlags::PRIVATE)?
        };
        let map_start = map as usize;
        let mut this = Self {
            map_start,
            map_bytes,
            previous: libc::stack_t {
                ss_sp: std::ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: 0,
            },
            not_send: PhantomData,
        };
        let wanted = libc::stack_t {
            ss_sp: (map_start + page) as *mut c_void,
            ss_flags: 0,
            ss_size: map_bytes - page,
        };
        // SAFETY: the lowest page of our own new mapping becomes the guard, and the rest of it
        // the signal stack; it stays mapped until `drop` has taken it from the thread again.
        let installed = unsafe {
            mm::mprotect(map, page, MprotectFlags::empty()).map_err(io::Error::from).and_then(
                |()| match libc::sigaltstack(&raw const wanted, &raw mut this.previous) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            )
        };
        if let Err(error) = installed {
            // SAFETY: the thread did not take it: nobody uses the mapping.
            let _ = unsafe { mm::munmap(map, map_bytes) };
            std::mem::forget(this);
            return Err(error);
        }
        Ok(this)
    }

    /// Bytes that signal frames and handlers may use.
    pub fn usable_bytes(&self) -> usize {
        self.map_bytes - mem::page_size()
    }

    /// Whether `addr` lies in the guard below this signal stack.
    pub fn guards(&self, addr: usize) -> bool {
        (self.map_start..self.map_start + mem::page_size()).contains(&addr)
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        // SAFETY: `previous` is what the kernel gave us for this very thread (`!Send`). If the
        // call is refused the thread stands on this stack: then it stays mapped for ever.
        unsafe {
            if libc::sigaltstack(&raw const self.previous, std::ptr::null_mut()) == 0 {
                let _ = mm::munmap(self.map_start as *mut c_void, self.map_bytes);
            }
        }
    }
}

/// What the kernel itself pushes for a signal, on this processor.
fn frame_bytes() -> usize {
    // SAFETY: takes a number, answers with a number (0 where the kernel does not say).
    let said = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    said.max(libc::MINSIGSTKSZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current() -> libc::stack_t {
        // SAFETY: an all-zero `stack_t` is a valid value to be overwritten.
        let mut now: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: a query: nothing is set.
        assert_eq!(unsafe { libc::sigaltstack(std::ptr::null(), &raw mut now) }, 0);
        now
    }

    #[test]
    fn the_previous_signal_stack_comes_back() {
        let before = current();
        {
            let ours = AltStack::new().unwrap();
            assert_eq!(current().ss_size, ours.usable_bytes());
            assert!(ours.guards(current().ss_sp as usize - 1));
            assert!(!ours.guards(current().ss_sp as usize));
        }
        assert_eq!((current().ss_sp, current().ss_flags), (before.ss_sp, before.ss_flags));
    }
}
