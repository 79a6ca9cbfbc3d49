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
//!                                          14    one that was there before, in 1 byte
//!                                          15    near one that was there before, in 2 bytes
//! ```
//!
//! `code` is an address in this library and `heap` one of the allocator's, both fixed for the life of
//! the process. Tags first, two to a byte, then the bytes. What cannot shrink grows by a sixteenth.
//!
//! *Before*: what a goroutine waits for lies on its stack some ten times, as an argument, as a saved register, as
//! what is waited for, and what belongs to it lies near it in memory. Words that are no small numbers are kept in a
//! table of [`RECENT`], at the place that their page says ([`Recent`]), and who packs and who unpacks see the same
//! table.
//!
//! Goroutines that one place starts and that wait in one place have nearly the same stack, but for
//! some pointers and numbers. So one of them becomes a [`Template`] of its place of start
//! ([`super::shape`]), and of the others only what differs is kept, after a bit per word:
//!
//! ```text
//!   without   │ tags of all words │ bytes │           a parked goroutine: about 0.3 of its live bytes
//!   with      │ bits │ tags of words that differ │ bytes │                           less than 0.1
//! ```
//!
//! The way back runs in the handler of a fault: it allocates nothing and reads each word once, in
//! order, so that it can fill one page after another. The table is not on its stack: a thread of somebody else
//! has a signal stack of 8 KiB, of which the kernel takes a half.
//!
//! Rejected: a general compressor (LZ4: hundreds of bytes are too few for its matches, and its tables do
//! not fit on a signal stack).

use millpond_sys::rest::Notes;
use std::mem::size_of;
use std::sync::OnceLock;

const OWN_STACK: u8 = 9;
const CODE_3: u8 = 10;
const CODE_4: u8 = 11;
const HEAP_4: u8 = 12;
const MINUS_ONE: u8 = 13;
const SAME: u8 = 14;
const NEAR: u8 = 15;

/// What words are measured against, by number: nothing, the base of the stack, `code`, `heap`.
#[derive(Clone, Copy)]
pub(crate) struct Anchors([u64; 4]);

const NOTHING: u8 = 0;
const BASE: u8 = 1;
const CODE: u8 = 2;
const HEAP: u8 = 3;

impl Anchors {
    /// For a stack that begins at `base`.
    pub(crate) fn of(base: usize) -> Self {
        static HEAP: OnceLock<usize> = OnceLock::new();
        let heap = *HEAP.get_or_init(|| Box::leak(Box::new([0u64; 4])).as_ptr() as usize);
        Self([0, base as u64, length_of as *const () as u64, heap as u64])
    }

    #[inline]
    fn at(&self, anchor: u8) -> u64 {
        self.0[usize::from(anchor & 3)]
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
        let down = self.at(BASE).wrapping_sub(word);
        if down <= u64::from(u16::MAX) {
            return (OWN_STACK, down, 2);
        }
        let code = word.wrapping_sub(self.at(CODE)) as i64;
        if (code << 40) >> 40 == code {
            return (CODE_3, code as u64, 3);
        }
        if bytes > 4 && i64::from(code as i32) == code {
            return (CODE_4, code as u64, 4);
        }
        let heap = word.wrapping_sub(self.at(HEAP)) as i64;
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
            OWN_STACK => self.at(BASE).wrapping_sub(payload),
            MINUS_ONE => u64::MAX,
            _ => self.at(anchor_of(tag)).wrapping_add(payload),
        }
    }
}

fn anchor_of(tag: u8) -> u8 {
    match tag {
        OWN_STACK => BASE,
        CODE_3 | CODE_4 => CODE,
        HEAP_4 => HEAP,
        _ => NOTHING,
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
        SAME => 1,
        NEAR => 2,
        _ => 0,
    }
}

/// Words that are kept of those before.
const RECENT: usize = size_of::<Notes>() / 8;
const RECENT_BITS: u32 = RECENT.ilog2();

/// Bits of a distance, in words, to one before.
const NEAR_BITS: u32 = 16 - RECENT_BITS;

/// Words that came before in this copy, each at the place that its page says.
struct Recent<'a>(&'a mut Notes);

impl<'a> Recent<'a> {
    fn new(room: &'a mut Notes) -> Self {
        room.fill(0);
        Self(room)
    }

    /// Whether a word with this tag may come again: pointers and middling numbers. Of eight bytes are those that
    /// say much, which would push out the others.
    #[inline]
    fn is_for(tag: u8) -> bool {
        matches!(tag, 3..=6 | CODE_3 | CODE_4 | HEAP_4)
    }

    #[inline]
    fn place(word: u64) -> usize {
        (((word >> 12) as u32).wrapping_mul(0x9E37_79B1) >> (32 - RECENT_BITS)) as usize
    }

    fn keep(&mut self, word: u64) {
        self.0[Self::place(word)] = word;
    }

    /// Tag and payload of a word that was there before, or near one that was.
    #[inline]
    fn shorten(&self, word: u64) -> Option<(u8, u64)> {
        let place = Self::place(word);
        let bytes = word.wrapping_sub(self.0[place]) as i64;
        if bytes == 0 {
            return Some((SAME, place as u64));
        }
        let words = bytes >> 3;
        let reach = 1 << (NEAR_BITS - 1);
        let is_near = bytes & 7 == 0 && (-reach..reach).contains(&words);
        let distance = words as u64 & ((1 << NEAR_BITS) - 1);
        is_near.then_some((NEAR, (place as u64) << NEAR_BITS | distance))
    }

    /// The word of a tag that [`Self::shorten`] gave.
    #[inline]
    fn lengthen(&self, tag: u8, payload: u64) -> u64 {
        if tag == SAME {
            return self.0[payload as usize % RECENT];
        }
        let unused = u64::BITS - NEAR_BITS;
        let words = ((payload << unused) as i64) >> unused;
        let place = payload as usize >> NEAR_BITS;
        self.0[place % RECENT].wrapping_add((words << 3) as u64)
    }
}

/// What the stacks of one place look like: for each word an anchor, and what has to be added to it.
/// Never changes, and lives as long as the process.
#[derive(Debug)]
pub(crate) struct Template(Box<[(u8, u64)]>);

impl Template {
    pub(crate) fn of(anchors: &Anchors, words: impl ExactSizeIterator<Item = u64>) -> Self {
        let measure = |word| {
            let anchor = anchor_of(anchors.encode(word).0);
            (anchor, word.wrapping_sub(anchors.at(anchor)))
        };
        Self(words.map(measure).collect())
    }

    pub(crate) fn words(&self) -> usize {
        self.0.len()
    }

    /// A word of it, for the stack that `anchors` are of.
    #[inline]
    fn word(&self, anchors: &Anchors, index: usize) -> u64 {
        let (anchor, more) = self.0[index];
        anchors.at(anchor).wrapping_add(more)
    }
}

/// What so many words take at most.
pub(crate) fn most_bytes(words: usize) -> usize {
    words.div_ceil(8) + words.div_ceil(2) + words * 8
}

/// Packs one stack after the other, each in one pass. Keeps its memory: to pack as many words again
/// allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    bits: Vec<u8>,
    tags: Vec<u8>,
    data: Vec<u8>,
    /// Used of each.
    used: [usize; 3],
}

impl Packer {
    /// Has room for so many words at a time; `false` if there is no memory.
    pub(crate) fn reserve(&mut self, words: usize) -> bool {
        self.rooms(words).into_iter().all(|(room, most)| {
            let more = most.saturating_sub(room.len());
            room.try_reserve(more).is_ok()
        })
    }

    /// Keeps room for no more than so many words at a time.
    pub(crate) fn shrink_to(&mut self, words: usize) {
        for (room, most) in self.rooms(words) {
            room.truncate(most);
            room.shrink_to(most);
        }
    }

    /// Bytes that it keeps.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn room_bytes(&self) -> usize {
        self.bits.capacity() + self.tags.capacity() + self.data.capacity()
    }

    /// The parts, and what each needs for so many words.
    fn rooms(&mut self, words: usize) -> [(&mut Vec<u8>, usize); 3] {
        [
            (&mut self.bits, words.div_ceil(8)),
            (&mut self.tags, words.div_ceil(2)),
            (&mut self.data, (words + 1) * 8),
        ]
    }

    /// Packs `words`; how many bytes they take. A template has as many words.
    pub(crate) fn pack(
        &mut self,
        anchors: &Anchors,
        template: Option<&Template>,
        words: impl ExactSizeIterator<Item = u64>,
    ) -> usize {
        let count = words.len();
        for (room, most) in self.rooms(count) {
            room.resize(room.len().max(most), 0);
        }
        let bit_bytes = if template.is_some() { count.div_ceil(8) } else { 0 };
        self.bits[..bit_bytes].fill(0);
        self.tags[..count.div_ceil(2)].fill(0);
        let (mut different, mut used) = (0, 0);
        let mut room = [0; RECENT];
        let mut recent = Recent::new(&mut room);
        for (index, word) in words.enumerate() {
            if template.is_some_and(|template| template.word(anchors, index) == word) {
                self.bits[index / 8] |= 1 << (index % 8);
                continue;
            }
            let (mut tag, mut payload, _) = anchors.encode(word);
            if Recent::is_for(tag) {
                match recent.shorten(word) {
                    Some(short) => (tag, payload) = short,
                    None => recent.keep(word),
                }
            }
            self.tags[different / 2] |= tag << (different % 2 * 4);
            different += 1;
            // All of it: what is beyond its length is overwritten by the next.
            self.data[used..used + 8].copy_from_slice(&payload.to_le_bytes());
            used += length_of(tag);
        }
        self.used = [bit_bytes, different.div_ceil(2), used];
        self.used.iter().sum()
    }

    /// What was packed last. `out` has room for it; what is left of it stays as it is.
    pub(crate) fn write(&self, out: &mut [u8]) {
        let mut at = 0;
        for (part, used) in [&self.bits, &self.tags, &self.data].into_iter().zip(self.used) {
            out[at..at + used].copy_from_slice(&part[..used]);
            at += used;
        }
    }
}

/// Reads words back, in order.
pub(crate) struct Unpack<'a> {
    anchors: Anchors,
    template: Option<&'a Template>,
    bits: &'a [u8],
    tags: &'a [u8],
    data: &'a [u8],
    recent: Recent<'a>,
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
        notes: &'a mut Notes,
    ) -> Self {
        let bit_bytes = if template.is_some() { count.div_ceil(8) } else { 0 };
        let (bits, rest) = packed.split_at(bit_bytes);
        let same: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
        let (tags, data) = rest.split_at((count - same as usize).div_ceil(2));
        let recent = Recent::new(notes);
        Self { anchors, template, bits, tags, data, recent, index: 0, different: 0, count }
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
            return Some(template.word(&self.anchors, index));
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
            SAME | NEAR => return Some(self.recent.lengthen(tag, payload)),
            CODE_3 | CODE_4 | HEAP_4 => ((payload << shift) as i64 >> shift) as u64,
            _ => payload,
        };
        let word = self.anchors.decode(tag, payload);
        if Recent::is_for(tag) {
            self.recent.keep(word);
        }
        Some(word)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const AT: usize = 0x7f12_3456_8000;

    fn there_and_back(words: &[u64]) -> usize {
        // As it is; and with templates that it has everything, nothing and half in common with.
        let anchors = Anchors::of(AT);
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
        let anchors = Anchors::of(AT);
        // One that has packed something else before.
        let mut packer = Packer::default();
        packer.pack(&anchors, None, [u64::MAX - 2; 100].into_iter());
        let bytes = packer.pack(&anchors, template, words.iter().copied());
        let mut out = vec![0xAA; bytes + 1];
        packer.write(&mut out);
        assert_eq!(out[bytes], 0xAA);
        assert!(bytes <= most_bytes(words.len()));
        let back: Vec<u64> =
            Unpack::new(anchors, template, &out, words.len(), &mut [0; 32]).collect();
        assert_eq!(back, words);
        bytes
    }

    #[test]
    fn stacks_of_one_place_share_what_is_the_same_relative_to_their_base() {
        let words = |base: u64, own: u64| [base - 16, 0, base - 4096, own, 77, base - 8];
        let one = Anchors::of(AT);
        let template = Template::of(&one, words(AT as u64, 1 << 40).into_iter());
        let other = Anchors::of(AT + 65536);
        let stack = words(AT as u64 + 65536, 3);
        let mut out = [0; 16];
        let mut packer = Packer::default();
        let used = packer.pack(&other, Some(&template), stack.into_iter());
        packer.write(&mut out);
        assert_eq!(used, 1 + 1 + 1);
        let back: Vec<u64> =
            Unpack::new(other, Some(&template), &out[..used], 6, &mut [0; 32]).collect();
        assert_eq!(back, stack);
    }

    #[test]
    fn every_word_comes_back() {
        let anchors = Anchors::of(AT);
        let mut words = vec![0, 1, u64::MAX, u64::MAX - 1, i64::MAX as u64, i64::MIN as u64];
        for shift in 0..64 {
            words.extend([1 << shift, (1u64 << shift) - 1, !(1u64 << shift)]);
            for anchor in anchors.0 {
                words.push(anchor.wrapping_add(1 << shift));
                words.push(anchor.wrapping_sub(1 << shift));
            }
        }
        words.extend(anchors.0);
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
    fn a_word_that_was_there_before_takes_a_byte_and_one_near_it_two() {
        let heap = Anchors::of(AT).at(HEAP) & !0xFFFF;
        let (one, other) = (heap + 0x1008, heap + 0x3010);
        assert_eq!(there_and_back(&[one, other, one, other, one, other]), 3 + 2 * 4 + 4);
        // To both ends of what is near.
        let near = [one, one + 8, one - 8, one & !4095, one | 0xFF8, one];
        assert_eq!(there_and_back(&near), 3 + 4 + 4 * 2 + 1);
        assert_eq!(there_and_back(&[one, one + 4, one + 8]), 2 + 4 + 4 + 4, "not whole words away");
        // What says much does not push out what comes again.
        let mut words = vec![one];
        words.extend((1..=64u64).map(|place| place.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 << 63));
        words.push(one);
        assert_eq!(there_and_back(&words), 33 + 4 + 64 * 8 + 1);
    }

    #[test]
    fn words_of_few_pages_come_back() {
        let heap = Anchors::of(AT).at(HEAP);
        let mut state = 1u64;
        let words = (0..20_000).map(|_| {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let (page, place) = (state >> 60, state >> 40 & 0xFFF);
            heap.wrapping_add(page << 12).wrapping_add(place)
        });
        there_and_back(&words.collect::<Vec<_>>());
    }

    #[test]
    fn what_says_little_becomes_small() {
        let own = |offset: u64| AT as u64 - offset;
        assert_eq!(there_and_back(&[0; 64]), 32);
        assert_eq!(there_and_back(&[own(8), own(640), own(65_535), 5]), 2 + 7);
        assert_eq!(there_and_back(&[0x0123_4567_89AB_CDEF; 64]), 32 + 512);
    }
}
