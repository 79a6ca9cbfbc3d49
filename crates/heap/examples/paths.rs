//! The fast paths under names of their own, for whoever counts their instructions in the disassembly:
//! `objdump -d --disassemble=millpond_alloc_path target/release/examples/paths`.

use millpond_heap::heap;

/// An allocation whose size is not known.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn millpond_alloc_path(bytes: usize, align: usize) -> *mut u8 {
    heap::alloc(bytes, align)
}

/// A free.
///
/// # Safety
/// As `heap::dealloc`.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe fn millpond_dealloc_path(block: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { heap::dealloc(block) };
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1000);
    let mut blocks = [std::ptr::null_mut(); 64];
    for _ in 0..rounds {
        for (n, block) in blocks.iter_mut().enumerate() {
            *block = millpond_alloc_path(std::hint::black_box(16 + n % 4 * 8), 8);
        }
        for &block in &blocks {
            // SAFETY: allocated above.
            unsafe { millpond_dealloc_path(block) };
        }
    }
}
