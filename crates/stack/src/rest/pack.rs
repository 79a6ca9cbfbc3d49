//! The live bytes of a stack, made small.
//!
//! What lies on a parked stack is words, and most of them say little: zeros, small numbers, pointers
//! into the same stack, return addresses into a program of some megabytes, pointers into one heap. Each
//! word becomes a tag of four bits and as many bytes as are not known from the tag:
//!
//! ```text
//!   0        zero                          9     base - word, in 2 bytes: into this stack
//!   1 .. 8   the low n bytes               10    word - code, in 3 bytes, signed
//!                                          11    word - code, in 4 bytes, signed
//!                                          12    word - heap, in 4 bytes, signed
//!                                          13    -1
//! ```
//!
//! `code` is an address in this library and `heap` one of the allocator's, both fixed for the life of
//! the process. Tags first, two to a byte, then the bytes. A typical parked goroutine shrinks to half;
//! what cannot shrink grows by a sixteenth.
//!
//! The way back runs in the handler of a fault: it allocates nothing and reads each word once, in
//! order, so that it can fill one page after another.
//!
//! Rejected: a general compressor (LZ4: hundreds of bytes are too few for its matches, and its tables do
//! not fit on a signal stack).

use std::sync::OnceLock;

const OWN_STACK: u8 = 9;
const CODE_3: u8 = 10;
const CODE_4: u8 = 11;
const HEAP_4: u8 = 12;
const MINUS_ONE: u8 = 13;

/// What words are measured against.
#[derive(Clone, Copy)]
pub(crate) struct Anchors {
    base: u64,
    code: u64,
    heap: u64,
}

impl Anchors {
    /// For a stack that begins at `base`.
    pub(crate) fn of(base: usize) -> Self {
        static HEAP: OnceLock<usize> = OnceLock::new();
        let heap = *HEAP.get_or_init(|| Box::leak(Box::new([0u64; 4])).as_ptr() as usize);
        Self { base: base as u64, code: length_of as *const () as u64, heap: heap as u64 }
    }

    /// Tag, payload and its length.
    #[inline]
    fn encode(&self, word: u64) -> (u8, u64, usize) {
        if word == 0 {
            return (0, 0, 0);
        }
        let bytes = (64 - word.leading_zeros() as usize).div_ceil(8);
        if bytes <= 2 {
            return (bytes as u8, word, bytes);
        }
        let down = self.base.wrapping_sub(word);
        if down <= u64::from(u16::MAX) {
            return (OWN_STACK, down, 2);
        }
        let code = word.wrapping_sub(self.code) as i64;
        if (code << 40) >> 40 == code {
            return (CODE_3, code as u64, 3);
        }
        if bytes > 4 && i64::from(code as i32) == code {
            return (CODE_4, code as u64, 4);
        }
        let heap = word.wrapping_sub(self.heap) as i64;
        if bytes > 4 && i64::from(heap as i32) == heap {
            return (HEAP_4, heap as u64, 4);
        }
        if word == u64::MAX {
            return (MINUS_ONE, 0, 0);
        }
        (bytes as u8, word, bytes)
    }

    #[inline]
    fn decode(&self, tag: u8, payload: u64, length: usize) -> u64 {
        let shift = 64 - 8 * length as u32;
        let signed = || ((payload << shift) as i64 >> shift) as u64;
        match tag {
            OWN_STACK => self.base.wrapping_sub(payload),
            CODE_3 | CODE_4 => self.code.wrapping_add(signed()),
            HEAP_4 => self.heap.wrapping_add(signed()),
            MINUS_ONE => u64::MAX,
            _ => payload,
        }
    }
}

/// Bytes that follow for a tag.
#[inline]
fn length_of(tag: u8) -> usize {
    match tag {
        0..=8 => tag as usize,
        OWN_STACK => 2,
        CODE_3 => 3,
        CODE_4 | HEAP_4 => 4,
        _ => 0,
    }
}

/// Bytes that `words` need when packed.
pub(crate) fn packed_bytes(anchors: &Anchors, words: impl ExactSizeIterator<Item = u64>) -> usize {
    words.len().div_ceil(2) + words.map(|word| anchors.encode(word).2).sum::<usize>()
}

/// Packs `words` into `out`; how many bytes it took, or `None` if they do not fit.
pub(crate) fn pack(
    anchors: &Anchors,
    words: impl ExactSizeIterator<Item = u64>,
    out: &mut [u8],
) -> Option<usize> {
    let tag_bytes = words.len().div_ceil(2);
    let (tags, data) = out.split_at_mut_checked(tag_bytes)?;
    tags.fill(0);
    let mut used = 0;
    for (index, word) in words.enumerate() {
        let (tag, payload, length) = anchors.encode(word);
        tags[index / 2] |= tag << (index % 2 * 4);
        data.get_mut(used..used + length)?.copy_from_slice(&payload.to_le_bytes()[..length]);
        used += length;
    }
    Some(tag_bytes + used)
}

/// Reads words back, in order.
pub(crate) struct Unpack<'a> {
    anchors: Anchors,
    tags: &'a [u8],
    data: &'a [u8],
    index: usize,
    count: usize,
}

impl<'a> Unpack<'a> {
    /// `count` words that were packed into `packed`.
    pub(crate) fn new(anchors: Anchors, packed: &'a [u8], count: usize) -> Self {
        let (tags, data) = packed.split_at(count.div_ceil(2));
        Self { anchors, tags, data, index: 0, count }
    }
}

impl Iterator for Unpack<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.index == self.count {
            return None;
        }
        let tag = self.tags[self.index / 2] >> (self.index % 2 * 4) & 15;
        self.index += 1;
        let length = length_of(tag);
        let mut payload = [0; 8];
        let (bytes, rest) = self.data.split_at(length);
        payload[..length].copy_from_slice(bytes);
        self.data = rest;
        if length == 0 {
            return Some(if tag == MINUS_ONE { u64::MAX } else { 0 });
        }
        Some(self.anchors.decode(tag, u64::from_le_bytes(payload), length))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const BASE: usize = 0x7f12_3456_8000;

    fn there_and_back(words: &[u64]) -> usize {
        let anchors = Anchors::of(BASE);
        let bytes = packed_bytes(&anchors, words.iter().copied());
        let mut out = vec![0xAA; bytes];
        assert_eq!(pack(&anchors, words.iter().copied(), &mut out), Some(bytes));
        let back: Vec<u64> = Unpack::new(anchors, &out, words.len()).collect();
        assert_eq!(back, words);
        if bytes > 0 {
            let short = &mut vec![0; bytes - 1];
            assert_eq!(pack(&anchors, words.iter().copied(), short), None);
        }
        bytes
    }

    #[test]
    fn every_word_comes_back() {
        let anchors = Anchors::of(BASE);
        let mut words = vec![0, 1, u64::MAX, u64::MAX - 1, i64::MAX as u64, i64::MIN as u64];
        for shift in 0..64 {
            words.extend([1 << shift, (1u64 << shift) - 1, !(1u64 << shift)]);
            for anchor in [anchors.base, anchors.code, anchors.heap] {
                words.push(anchor.wrapping_add(1 << shift));
                words.push(anchor.wrapping_sub(1 << shift));
            }
        }
        words.extend([anchors.base, anchors.code, anchors.heap]);
        there_and_back(&words);
        for length in 0..words.len() {
            there_and_back(&words[..length]);
        }
    }

    #[test]
    fn random_words_of_every_width_come_back() {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let words: Vec<u64> = (0..10_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state >> (state % 64)
            })
            .collect();
        there_and_back(&words);
    }

    #[test]
    fn what_says_little_becomes_small() {
        let own = |offset: u64| BASE as u64 - offset;
        assert_eq!(there_and_back(&[0; 64]), 32);
        assert_eq!(there_and_back(&[own(8), own(640), own(65_535), 5]), 2 + 7);
        assert_eq!(there_and_back(&[0x0123_4567_89AB_CDEF; 64]), 32 + 512);
    }
}
