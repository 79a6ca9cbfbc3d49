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
//! the process. Tags first, two to a byte, then the bytes. What cannot shrink grows by a sixteenth.
//!
//! Goroutines that one place starts and that wait in one place have nearly the same stack, but for
//! some pointers and numbers. So the first of them becomes a [`Template`] of its place of start
//! ([`super::Origin`]), and of the others only what differs is kept, after a bit per word:
//!
//! ```text
//!   without   │ tags of all words │ bytes │          a parked goroutine: about 0.35 of its live bytes
//!   with      │ bits │ tags of words that differ │ bytes │                             about 0.1
//! ```
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

    /// The word of a tag and its whole payload.
    #[inline]
    fn decode(&self, tag: u8, payload: u64) -> u64 {
        match tag {
            OWN_STACK => self.base.wrapping_sub(payload),
            CODE_3 | CODE_4 => self.code.wrapping_add(payload),
            HEAP_4 => self.heap.wrapping_add(payload),
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

/// What the stacks of one place look like: a word each, as tag and payload. Never changes, and lives as
/// long as the process.
#[derive(Debug)]
pub(crate) struct Template(Box<[(u8, u64)]>);

impl Template {
    pub(crate) fn of(anchors: &Anchors, words: impl ExactSizeIterator<Item = u64>) -> Self {
        let encode = |word| {
            let (tag, payload, _) = anchors.encode(word);
            (tag, payload)
        };
        Self(words.map(encode).collect())
    }

    pub(crate) fn words(&self) -> usize {
        self.0.len()
    }

    fn has(&self, index: usize, tag: u8, payload: u64) -> bool {
        self.0[index] == (tag, payload)
    }
}

/// Bytes that `words` need when packed. A template has as many words.
pub(crate) fn packed_bytes(
    anchors: &Anchors,
    template: Option<&Template>,
    words: impl ExactSizeIterator<Item = u64>,
) -> usize {
    let bits = if template.is_some() { words.len().div_ceil(8) } else { 0 };
    let (mut different, mut bytes) = (0, 0);
    for (index, word) in words.enumerate() {
        let (tag, payload, length) = anchors.encode(word);
        if template.is_none_or(|template| !template.has(index, tag, payload)) {
            different += 1;
            bytes += length;
        }
    }
    bits + usize::div_ceil(different, 2) + bytes
}

/// Packs `words` into `out`; how many bytes it took, or `None` if they do not fit.
pub(crate) fn pack(
    anchors: &Anchors,
    template: Option<&Template>,
    words: impl ExactSizeIterator<Item = u64> + Clone,
    out: &mut [u8],
) -> Option<usize> {
    let count = words.len();
    let bit_bytes = if template.is_some() { count.div_ceil(8) } else { 0 };
    let (bits, rest) = out.split_at_mut_checked(bit_bytes)?;
    bits.fill(0);
    let mut different = count;
    if let Some(template) = template {
        for (index, word) in words.clone().enumerate() {
            let (tag, payload, _) = anchors.encode(word);
            let same = template.has(index, tag, payload);
            bits[index / 8] |= u8::from(same) << (index % 8);
            different -= usize::from(same);
        }
    }
    let tag_bytes = different.div_ceil(2);
    let (tags, data) = rest.split_at_mut_checked(tag_bytes)?;
    tags.fill(0);
    let (mut at, mut used) = (0, 0);
    for (index, word) in words.enumerate() {
        if bit_bytes > 0 && bits[index / 8] >> (index % 8) & 1 == 1 {
            continue;
        }
        let (tag, payload, length) = anchors.encode(word);
        tags[at / 2] |= tag << (at % 2 * 4);
        at += 1;
        data.get_mut(used..used + length)?.copy_from_slice(&payload.to_le_bytes()[..length]);
        used += length;
    }
    Some(bit_bytes + tag_bytes + used)
}

/// Reads words back, in order.
pub(crate) struct Unpack<'a> {
    anchors: Anchors,
    template: Option<&'a Template>,
    bits: &'a [u8],
    tags: &'a [u8],
    data: &'a [u8],
    index: usize,
    /// Words so far that were not the template's.
    different: usize,
    count: usize,
}

impl<'a> Unpack<'a> {
    /// `count` words that were packed into `packed`, with the same template.
    pub(crate) fn new(
        anchors: Anchors,
        template: Option<&'a Template>,
        packed: &'a [u8],
        count: usize,
    ) -> Self {
        let bit_bytes = if template.is_some() { count.div_ceil(8) } else { 0 };
        let (bits, rest) = packed.split_at(bit_bytes);
        let same: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
        let (tags, data) = rest.split_at((count - same as usize).div_ceil(2));
        Self { anchors, template, bits, tags, data, index: 0, different: 0, count }
    }
}

impl Iterator for Unpack<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let index = self.index;
        if index == self.count {
            return None;
        }
        self.index += 1;
        if let Some(template) = self.template
            && self.bits[index / 8] >> (index % 8) & 1 == 1
        {
            let (tag, payload) = template.0[index];
            return Some(self.anchors.decode(tag, payload));
        }
        let tag = self.tags[self.different / 2] >> (self.different % 2 * 4) & 15;
        self.different += 1;
        let length = length_of(tag);
        let mut payload = [0; 8];
        let (bytes, rest) = self.data.split_at(length);
        payload[..length].copy_from_slice(bytes);
        self.data = rest;
        let payload = u64::from_le_bytes(payload);
        // Signed ones were cut to their length.
        let shift = 64 - 8 * length as u32;
        let payload = match tag {
            CODE_3 | CODE_4 | HEAP_4 => ((payload << shift) as i64 >> shift) as u64,
            _ => payload,
        };
        Some(self.anchors.decode(tag, payload))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const BASE: usize = 0x7f12_3456_8000;

    fn there_and_back(words: &[u64]) -> usize {
        // As it is; and with templates that it has everything, nothing and half in common with.
        let anchors = Anchors::of(BASE);
        let half =
            words.iter().enumerate().map(|(at, &word)| if at % 2 == 0 { word } else { !word });
        for template in [words.to_vec(), vec![0x5555_AAAA; words.len()], half.collect()] {
            // Of another stack: only what is measured against the base may differ.
            let template = Template::of(&anchors, template.iter().copied());
            with_template(words, Some(&template));
        }
        with_template(words, None)
    }

    fn with_template(words: &[u64], template: Option<&Template>) -> usize {
        let anchors = Anchors::of(BASE);
        let bytes = packed_bytes(&anchors, template, words.iter().copied());
        let mut out = vec![0xAA; bytes];
        assert_eq!(pack(&anchors, template, words.iter().copied(), &mut out), Some(bytes));
        let back: Vec<u64> = Unpack::new(anchors, template, &out, words.len()).collect();
        assert_eq!(back, words);
        if bytes > 0 {
            let short = &mut vec![0; bytes - 1];
            assert_eq!(pack(&anchors, template, words.iter().copied(), short), None);
        }
        bytes
    }

    #[test]
    fn stacks_of_one_place_share_what_is_the_same_relative_to_their_base() {
        let words = |base: u64, own: u64| [base - 16, 0, base - 4096, own, 77, base - 8];
        let one = Anchors::of(BASE);
        let template = Template::of(&one, words(BASE as u64, 1 << 40).into_iter());
        let other = Anchors::of(BASE + 65536);
        let stack = words(BASE as u64 + 65536, 3);
        let mut out = [0; 16];
        let used = pack(&other, Some(&template), stack.into_iter(), &mut out).unwrap();
        assert_eq!(used, 1 + 1 + 1);
        let back: Vec<u64> = Unpack::new(other, Some(&template), &out[..used], 6).collect();
        assert_eq!(back, stack);
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
