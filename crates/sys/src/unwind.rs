//! Return addresses of the calling thread's stack, without allocating.
//!
//! The unwinder that `std` links is asked for each frame in turn and only the addresses are kept; what
//! they are called is found out later, by whoever shows them. On a goroutine's stack the walk ends
//! where the goroutine began.
//!
//! Rejected: following frame pointers. Rust and the C library are compiled without them.

use std::ffi::c_void;

unsafe extern "C" {
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut c_void, *mut c_void) -> i32,
        argument: *mut c_void,
    ) -> i32;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}

/// "Go on", of `_Unwind_Reason_Code`; and "stop", which is any other.
const GO_ON: i32 = 0;
const STOP: i32 = 5;

struct Walk<'a> {
    frames: &'a mut [usize],
    used: usize,
    skip: usize,
}

extern "C" fn note(context: *mut c_void, walk: *mut c_void) -> i32 {
    // SAFETY: `frames` lends its own walk for the length of the call, and the context is the
    // unwinder's.
    let (walk, address) = unsafe { (&mut *walk.cast::<Walk<'_>>(), _Unwind_GetIP(context)) };
    if walk.skip > 0 {
        walk.skip -= 1;
        return GO_ON;
    }
    match walk.frames.get_mut(walk.used) {
        Some(frame) if address != 0 => {
            *frame = address;
            walk.used += 1;
            GO_ON
        }
        _ => STOP,
    }
}

/// Fills `frames` with return addresses, innermost first, leaving out this function and the `skip`
/// innermost of its callers. Returns how many.
///
/// ```
/// let mut frames = [0; 8];
/// assert!(millpond_sys::unwind::frames(&mut frames, 0) > 0);
/// ```
#[inline(never)]
pub fn frames(frames: &mut [usize], skip: usize) -> usize {
    let mut walk = Walk { frames, used: 0, skip: skip + 1 };
    // SAFETY: the callback gets what is passed here, and does not unwind.
    unsafe { _Unwind_Backtrace(note, (&raw mut walk).cast()) };
    walk.used
}

#[cfg(test)]
mod tests {
    #[inline(never)]
    fn deep(left: usize, frames: &mut [usize]) -> usize {
        match left {
            0 => super::frames(frames, 0),
            _ => std::hint::black_box(deep(left - 1, frames)),
        }
    }

    #[test]
    fn the_walk_stops_when_there_is_no_more_room_and_shows_recursion() {
        let mut frames = [0; 6];
        assert_eq!(deep(10, &mut frames), 6);
        assert!(frames[2..].windows(2).any(|pair| pair[0] == pair[1]), "{frames:x?}");
    }
}
