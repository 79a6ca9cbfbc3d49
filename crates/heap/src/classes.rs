//! The 67 sizes of small blocks, and how long a span of each is. Made by the compiler.
//!
//! ```text
//!     8,  16, ..  80   steps of 8       Rust's structs are multiples of 8, and most are small
//!    96, 112, .. 256   steps of 16
//!   288, 320, .. 512   steps of 32
//!   576, 640, .. 1024  steps of 64
//!  then per doubling   18/16, 20/16, 22/16, 25/16, 28/16, 32/16 of the last power of two
//! ```
//!
//! A request is rounded up to the next of these. Requests that are a multiple of 8 lose at most an
//! eighth of the block by that (the worst is 7/8 of 32/16: 12.5 %), and every power of two is a size
//! of its own, because buffers are powers of two. Every size from 96 on is a multiple of 16.
//!
//! A span is 8 to 128 KiB, as many pages as lose the least behind the last block (at most 12.5 %, and
//! nothing for most). Short spans come back whole sooner; long ones are fetched less often.
//!
//! [`class_of`] is one load: from a table by words up to 1 KiB, by 64 bytes above.
//!
//! Rejected: Go's table. It is made for a collector that zeroes, loses 33 % at 33 to 40 bytes, and
//! has sizes of which no power of two of blocks fits a page.

/// How many sizes there are.
pub const COUNT: usize = 67;

/// The largest small block. What is larger has pages of its own.
pub const MAX_SMALL: usize = 32 << 10;

/// The largest request that a cache finds by its number of words.
pub const DIRECT_MAX: usize = 1024;

/// Entries of a table by words.
pub const DIRECT: usize = DIRECT_MAX / 8 + 1;

/// Bytes of a page of the heap.
pub const PAGE: usize = 8 << 10;

/// log2 of [`PAGE`].
pub const PAGE_SHIFT: u32 = 13;

/// The most blocks that a span has: 16 KiB of 8 bytes.
pub const MAX_BLOCKS: usize = 2048;

/// The most bytes that a span of small blocks has: its masks have a bit per 4 KiB.
pub const MAX_SPAN: usize = 128 << 10;

/// One size.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Bytes of a block.
    pub size: u32,
    /// Pages of a span.
    pub pages: u32,
    /// Blocks of a span.
    pub blocks: u32,
    /// `ceil(2^64 / size)`: `n` is a multiple of `size` if and only if `n * magic < magic`
    /// (wrapping), for all `n` below 2^32 (Lemire, Kaser, Kurz: "Faster remainder by direct
    /// computation", 2019).
    pub magic: u64,
}

/// Bytes of a block, smallest first.
pub const SIZES: [u32; COUNT] = sizes();

/// All sizes, smallest first.
pub static CLASSES: [Class; COUNT] = classes();

/// The class of a request of so many words.
pub const BY_WORDS: [u8; DIRECT] = by_words();

/// The class of a request above [`DIRECT_MAX`], by steps of 64 bytes.
static BY_64: [u8; (MAX_SMALL - DIRECT_MAX) / 64 + 1] = by_64();

/// Words of a request of at most [`DIRECT_MAX`] bytes. A shift: nothing here overflows.
#[inline(always)]
pub fn words(bytes: usize) -> usize {
    (bytes + 7) >> 3
}

/// The class of a request of at most [`MAX_SMALL`] bytes.
#[inline(always)]
pub fn class_of(bytes: usize) -> usize {
    debug_assert!(bytes <= MAX_SMALL);
    if bytes <= DIRECT_MAX {
        BY_WORDS[bytes.div_ceil(8)] as usize
    } else {
        BY_64[(bytes - DIRECT_MAX).div_ceil(64)] as usize
    }
}

/// The class of a request with an alignment; `None` when only pages of its own will do. Spans begin
/// at a page, so a block is aligned to every power of two that divides its size.
#[inline]
pub fn class_for(bytes: usize, align: usize) -> Option<usize> {
    if bytes > MAX_SMALL || align > PAGE {
        return None;
    }
    // Masks, since the compiler does not know that `align` is a power of two and would divide.
    let below = align - 1;
    let bytes = (bytes.max(1) + below) & !below;
    if bytes > MAX_SMALL {
        return None;
    }
    let mut class = class_of(bytes);
    // Ends at the latest at the next power of two.
    while CLASSES[class].size as usize & below != 0 {
        class += 1;
    }
    Some(class)
}

const fn sizes() -> [u32; COUNT] {
    let mut sizes = [0; COUNT];
    let mut n = 0;
    let mut size = 8;
    while size <= 1024 {
        sizes[n] = size;
        n += 1;
        size += match size {
            0..80 => 8,
            80..256 => 16,
            256..512 => 32,
            _ => 64,
        };
    }
    let mut power = 1024;
    while power < MAX_SMALL as u32 {
        let steps = [18, 20, 22, 25, 28, 32];
        let mut step = 0;
        while step < steps.len() {
            sizes[n] = power / 16 * steps[step];
            n += 1;
            step += 1;
        }
        power *= 2;
    }
    assert!(n == COUNT);
    sizes
}

const fn classes() -> [Class; COUNT] {
    let mut classes = [Class { size: 0, pages: 0, blocks: 0, magic: 0 }; COUNT];
    let mut n = 0;
    while n < COUNT {
        let size = SIZES[n];
        let pages = span_pages(size);
        let blocks = pages * PAGE as u32 / size;
        classes[n] = Class { size, pages, blocks, magic: u64::MAX / size as u64 + 1 };
        n += 1;
    }
    classes
}

/// The number of pages, from half of a target to the whole of it, that loses the least.
const fn span_pages(size: u32) -> u32 {
    let most = match size {
        0..=256 => 2,
        257..=1024 => 4,
        1025..=8192 => 8,
        _ => 16,
    };
    let (mut best, mut pages) = (most, most);
    while pages > most / 2 {
        // Compared as fractions of the span: the loss of one times the pages of the other.
        let (loss, least) = (pages * PAGE as u32 % size, best * PAGE as u32 % size);
        if loss * best < least * pages {
            best = pages;
        }
        pages -= 1;
    }
    best
}

const fn by_words() -> [u8; DIRECT] {
    let mut table = [0; DIRECT];
    let (mut words, mut class) = (0, 0);
    while words < DIRECT {
        while (SIZES[class] as usize) < words * 8 {
            class += 1;
        }
        table[words] = class as u8;
        words += 1;
    }
    table
}

const fn by_64() -> [u8; (MAX_SMALL - DIRECT_MAX) / 64 + 1] {
    let mut table = [0; (MAX_SMALL - DIRECT_MAX) / 64 + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        while (SIZES[class] as usize) < DIRECT_MAX + step * 64 {
            class += 1;
        }
        table[step] = class as u8;
        step += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_gets_the_smallest_block_that_holds_it() {
        for bytes in 0..=MAX_SMALL {
            let class = class_of(bytes);
            assert!(CLASSES[class].size as usize >= bytes);
            assert!(class == 0 || (CLASSES[class - 1].size as usize) < bytes);
        }
    }

    #[test]
    fn a_request_of_whole_words_wastes_at_most_an_eighth_of_its_block() {
        for bytes in (8..=MAX_SMALL).step_by(8) {
            let size = CLASSES[class_of(bytes)].size as usize;
            assert!((size - bytes) * 8 <= size, "{bytes} B in a block of {size} B");
        }
    }

    #[test]
    fn a_span_wastes_at_most_an_eighth_behind_its_last_block() {
        for class in &CLASSES {
            let bytes = class.pages as usize * PAGE;
            let waste = bytes - (class.blocks * class.size) as usize;
            assert!(waste * 8 <= bytes, "{class:?}");
            assert!(class.blocks >= 2 && class.blocks as usize <= MAX_BLOCKS, "{class:?}");
            assert!(bytes <= MAX_SPAN);
        }
    }

    #[test]
    fn powers_of_two_are_sizes_and_alignments_are_kept() {
        for shift in 3..=15 {
            assert_eq!(CLASSES[class_of(1 << shift)].size, 1 << shift);
        }
        for align in (0..=13).map(|shift| 1 << shift) {
            for bytes in (0..=MAX_SMALL).step_by(7) {
                if let Some(class) = class_for(bytes, align) {
                    let size = CLASSES[class].size as usize;
                    assert!(size >= bytes && size.is_multiple_of(align));
                }
            }
            assert!(class_for(MAX_SMALL, align).is_some());
        }
        assert!(class_for(1, PAGE * 2).is_none() && class_for(MAX_SMALL + 1, 1).is_none());
    }

    #[test]
    fn the_magic_number_knows_multiples_from_other_numbers() {
        for class in &CLASSES {
            for n in 0..MAX_SPAN as u64 {
                let multiple = n.wrapping_mul(class.magic) < class.magic;
                assert_eq!(multiple, n.is_multiple_of(u64::from(class.size)), "{n} {class:?}");
            }
        }
    }
}
