//! The way to a thread's record ([`Local`](crate::threads::Local)), which every operation takes.
//!
//! In a program, `thread_local!` is the shortest one: the record lies at a distance from the thread pointer
//! that the linker knows. In a shared library the compiler does not know that the library is loaded with
//! the program; it calls `__tls_get_addr`, which costs as much as the rest of an allocation, and which, in a library
//! that was loaded later, may itself call `malloc` for the thread's copy of the record. With the feature
//! `initial-exec` the record is laid out here, in the model of that name: the loader gives it a place in
//! the block that every thread has from its birth, and writes the distance into a word of the library.
//!
//! ```text
//!   %fs:0 ──► thread pointer ──(distance, from the library's table)──► the record
//! ```
//!
//! A library that is loaded with `dlopen` takes its place from what the loader has kept free for that; some
//! sixty bytes always fit.
//!
//! Rust has the attribute for this model, and the option, in its nightly compiler only. The record's first
//! content is therefore words for the assembler: zeros, and the address of the stand-in. A test
//! holds them to what [`Local::new`](crate::threads::Local::new) is.
//!
//! Rejected: a POSIX key, whose value is found by a call; and finding the distance once at run time, which is a load
//! and a branch more for each operation.

#[cfg(not(all(feature = "initial-exec", target_os = "linux", target_arch = "x86_64")))]
thread_local! {
    /// This thread's record.
    pub static LOCAL: crate::threads::Local = const { crate::threads::Local::new() };
}

#[cfg(all(feature = "initial-exec", target_os = "linux", target_arch = "x86_64"))]
pub use own::LOCAL;

#[cfg(all(feature = "initial-exec", target_os = "linux", target_arch = "x86_64"))]
mod own {
    use crate::cache::Cache;
    use crate::claim::Turn;
    use crate::threads::{Local, STAND_IN};
    use std::mem::offset_of;

    /// Where the only word that is not zero stands.
    const CACHE: usize = offset_of!(Local, turn) + Turn::<Cache>::CACHE;

    std::arch::global_asm!(
        ".pushsection .tdata.millpond_local,\"awT\",@progbits",
        ".balign 64",
        ".hidden millpond_local",
        ".globl millpond_local",
        ".type millpond_local,@object",
        ".size millpond_local,{size}",
        "millpond_local:",
        ".zero {before}",
        ".quad {stand_in}",
        ".zero {behind}",
        ".popsection",
        size = const size_of::<Local>(),
        before = const CACHE,
        stand_in = sym STAND_IN,
        behind = const size_of::<Local>() - CACHE - 8,
    );

    /// This thread's record, with the face of `thread_local!`.
    #[derive(Debug)]
    pub struct Slot;

    /// This thread's record.
    pub static LOCAL: Slot = Slot;

    impl Slot {
        /// Does something with it.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(&Local) -> R) -> R {
            let local: *const Local;
            // SAFETY: reads two words that never change while this thread runs: its own address at the thread pointer,
            // and the distance that the loader has found.
            unsafe {
                std::arch::asm!(
                    "mov {local}, qword ptr fs:[0]",
                    "add {local}, qword ptr [rip + millpond_local@GOTTPOFF]",
                    local = out(reg) local,
                    options(pure, nomem, nostack),
                );
            }
            // SAFETY: the record is this thread's, as long as it runs, and its first content is valid (see the
            // essay); `f` cannot keep the reference.
            f(unsafe { &*local })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::LOCAL;
    use crate::threads::{Local, Phase, STAND_IN};
    use std::ffi::c_void;

    fn is_new(local: &Local) -> bool {
        let has_cache = !std::ptr::eq(local.turn.begin(), &raw const STAND_IN);
        local.turn.end();
        !has_cache
            && local.countdown.get() == 0
            && local.phase.get() == Phase::New
            && !local.in_hook.get()
            && local.random.get() == 0
    }

    /// A thread of `std` has allocated before it comes to us; this one has not.
    extern "C" fn look(found: *mut c_void) -> *mut c_void {
        let at = LOCAL
            .with(|local| if is_new(local) { std::ptr::from_ref(local) } else { std::ptr::null() });
        // SAFETY: the test lends a word, and waits for the thread.
        unsafe { *found.cast::<usize>() = at as usize };
        std::ptr::null_mut()
    }

    #[test]
    fn every_thread_begins_with_a_new_record_of_its_own() {
        let mut found = 0usize;
        // SAFETY: the thread writes to `found`, and is waited for.
        unsafe {
            let mut thread: libc::pthread_t = std::mem::zeroed();
            let argument = (&raw mut found).cast();
            assert_eq!(libc::pthread_create(&raw mut thread, std::ptr::null(), look, argument), 0);
            assert_eq!(libc::pthread_join(thread, std::ptr::null_mut()), 0);
        }
        assert_ne!(found, 0, "the record does not begin as `Local::new`");
        assert_ne!(found, LOCAL.with(|local| std::ptr::from_ref(local) as usize));
    }
}
