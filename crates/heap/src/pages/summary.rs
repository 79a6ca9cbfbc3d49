//! Which pages are taken: a bitmap, and a tree of summaries that finds the lowest free run.
//!
//! ```text
//!  level 3   each entry sums up 262,144 pages (2 GiB)     scanned in order, up to the highest
//!  level 2                       32,768 pages             page ever used
//!  level 1                        4,096 pages
//!  level 0                          512 pages: 8 words of the bitmap
//!  bitmap    one bit per page, 1 is taken
//! ```
//!
//! An entry holds three numbers about its pages: how many are free at the start, the longest free
//! run anywhere, how many are free at the end. So a run that crosses entries is found by adding an
//! end to a start, and a subtree without a long enough run is never looked into. Free neighbours are
//! one run without anybody joining them: coalescing is by construction. (The design is that of Go's
//! page allocator: proposal 35112.)
//!
//! The lowest run that is long enough is always taken, so the heap gathers at low addresses and high
//! ones empty out. The numbers are stored as what is *missing* to all, so that memory fresh from the
//! kernel says that everything is free, and a tebibyte of heap costs nothing to set up.
//!
//! Rejected: a tree of free runs (jemalloc's extents). It needs a record per run, which has to be
//! allocated while allocating.

/// Pages of an entry of level 0.
pub const CHUNK_PAGES: usize = 512;

/// Entries under one entry of the next level.
const FAN: usize = 8;

/// Number of levels.
pub const LEVELS: usize = 4;

const FIELD_BITS: u32 = 21;
const FIELD: u64 = (1 << FIELD_BITS) - 1;

/// Pages of an entry of a level.
pub const fn level_pages(level: usize) -> usize {
    CHUNK_PAGES << (3 * level)
}

/// Free runs of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Runs {
    start: usize,
    longest: usize,
    end: usize,
}

impl Runs {
    fn pack(self, all: usize) -> u64 {
        (all - self.start) as u64
            | ((all - self.longest) as u64) << FIELD_BITS
            | ((all - self.end) as u64) << (2 * FIELD_BITS)
    }

    fn unpack(word: u64, all: usize) -> Self {
        let field = |n: u32| all - (word >> (n * FIELD_BITS) & FIELD) as usize;
        Self { start: field(0), longest: field(1), end: field(2) }
    }

    /// The runs of eight words of the bitmap.
    fn of_words(words: &[u64]) -> Self {
        let (mut start, mut longest, mut run) = (None, 0, 0);
        for &word in words {
            if word == 0 {
                run += 64;
                continue;
            }
            run += word.trailing_zeros() as usize;
            start.get_or_insert(run);
            longest = longest.max(run).max(longest_inside(word));
            run = word.leading_zeros() as usize;
        }
        Self { start: start.unwrap_or(run), longest: longest.max(run), end: run }
    }

    /// The runs of eight entries, each of `all` pages.
    fn of_entries(entries: &[u64], all: usize) -> Self {
        let (mut start, mut longest, mut run) = (None, 0, 0);
        for &entry in entries {
            let below = Self::unpack(entry, all);
            if below.start == all {
                run += all;
                continue;
            }
            run += below.start;
            start.get_or_insert(run);
            longest = longest.max(run).max(below.longest);
            run = below.end;
        }
        Self { start: start.unwrap_or(run), longest: longest.max(run), end: run }
    }
}

/// The longest run of zeros between two ones of a word.
fn longest_inside(word: u64) -> usize {
    let low = word.trailing_zeros();
    let high = 63 - word.leading_zeros();
    if low == high {
        return 0;
    }
    // Ones where the word has zeros between its lowest and highest one.
    let mut holes = !word & (u64::MAX >> (63 - high)) & (u64::MAX << low);
    let mut longest = 0;
    while holes != 0 {
        holes &= holes << 1;
        longest += 1;
    }
    longest
}

/// Bitmap and summaries over memory that somebody else owns.
#[derive(Debug)]
pub struct Map {
    bits: *mut u64,
    levels: [*mut u64; LEVELS],
    /// Pages that there are.
    pages: usize,
    /// Pages that have a bit: up to the next whole entry of the top level. Those that there are not are taken.
    covered: usize,
}

// SAFETY: the map is the only one to use its memory; see `Map::new`.
unsafe impl Send for Map {}

/// Pages of whole entries of the top level.
const fn covered(pages: usize) -> usize {
    pages.next_multiple_of(level_pages(LEVELS - 1))
}

/// Words of memory that a map of so many pages needs.
pub const fn words_for(pages: usize) -> usize {
    let pages = covered(pages);
    let mut words = pages / 64;
    let mut level = 0;
    while level < LEVELS {
        words += pages / level_pages(level);
        level += 1;
    }
    words
}

impl Map {
    /// A map in which every page is free.
    ///
    /// # Safety
    /// `memory` must be [`words_for`]`(pages)` words of zeros that nobody else uses for as long as
    /// the map.
    pub unsafe fn new(memory: *mut u64, pages: usize) -> Self {
        let covered = covered(pages);
        let mut at = covered / 64;
        let levels = std::array::from_fn(|level| {
            // SAFETY: within the words that the caller promises.
            let start = unsafe { memory.add(at) };
            at += covered / level_pages(level);
            start
        });
        let mut map = Self { bits: memory, levels, pages, covered };
        if covered > pages {
            map.mark(pages, covered - pages, true);
        }
        map
    }

    fn bits(&self) -> &[u64] {
        // SAFETY: the promise of `new`.
        unsafe { std::slice::from_raw_parts(self.bits, self.covered / 64) }
    }

    fn bits_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.bits, self.covered / 64) }
    }

    fn level(&self, level: usize) -> &[u64] {
        let length = self.covered / level_pages(level);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.levels[level], length) }
    }

    fn entry_mut(&mut self, level: usize, index: usize) -> &mut u64 {
        assert!(index < self.covered / level_pages(level));
        // SAFETY: as above, and the index is within.
        unsafe { &mut *self.levels[level].add(index) }
    }

    /// Pages that there are.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The words of the bitmap for one chunk.
    pub fn chunk_bits(&self, chunk: usize) -> &[u64] {
        &self.bits()[chunk * 8..chunk * 8 + 8]
    }

    /// Whether all of a range are free.
    pub fn is_free(&self, first: usize, count: usize) -> bool {
        let Some(end) = first.checked_add(count).filter(|&end| end <= self.pages) else {
            return false;
        };
        spans_of_words(first..end).all(|(word, mask)| self.bits()[word] & mask == 0)
    }

    /// Takes a range whose pages are free, or frees one whose pages are taken.
    pub fn mark(&mut self, first: usize, count: usize, taken: bool) {
        let end = first + count;
        for (word, mask) in spans_of_words(first..end) {
            let bits = &mut self.bits_mut()[word];
            let before = if taken { *bits & mask } else { !*bits & mask };
            if before != 0 {
                crate::misuse::page_state(word * 64, before, taken);
            }
            *bits ^= mask;
        }
        self.sum_up(first, end);
    }

    /// Brings the summaries of a range up to date.
    fn sum_up(&mut self, first: usize, end: usize) {
        for chunk in first / CHUNK_PAGES..=(end - 1) / CHUNK_PAGES {
            let packed = Runs::of_words(self.chunk_bits(chunk)).pack(CHUNK_PAGES);
            *self.entry_mut(0, chunk) = packed;
        }
        for level in 1..LEVELS {
            let (all, below) = (level_pages(level), level_pages(level - 1));
            let mut changed = false;
            for index in first / all..=(end - 1) / all {
                let children = &self.level(level - 1)[index * FAN..index * FAN + FAN];
                let packed = Runs::of_entries(children, below).pack(all);
                let entry = self.entry_mut(level, index);
                changed |= *entry != packed;
                *entry = packed;
            }
            if !changed {
                return;
            }
        }
    }

    /// The first page of the lowest free run of `count` pages that begins below page `end`.
    pub fn find(&self, count: usize, end: usize) -> Option<usize> {
        let top = LEVELS - 1;
        let entries = end.div_ceil(level_pages(top)).min(self.level(top).len());
        let mut run = 0;
        let found = self.find_in(top, 0, entries, count, &mut run);
        // A run may begin in the last entries and end beyond them, where all is free.
        let beyond = || {
            let from = entries * level_pages(top) - run;
            (from + count <= self.pages).then_some(from)
        };
        found.or_else(beyond)
    }

    /// Looks through entries in order; `run` is the free run that ends where they begin.
    fn find_in(
        &self,
        level: usize,
        first: usize,
        entries: usize,
        count: usize,
        run: &mut usize,
    ) -> Option<usize> {
        let all = level_pages(level);
        for index in first..first + entries {
            let runs = Runs::unpack(self.level(level)[index], all);
            if *run + runs.start >= count {
                return Some(index * all - *run);
            }
            if runs.longest >= count {
                let mut inner = 0;
                return match level {
                    0 => self.find_bits(index, count),
                    _ => self.find_in(level - 1, index * FAN, FAN, count, &mut inner),
                };
            }
            *run = if runs.start == all { *run + all } else { runs.end };
        }
        None
    }

    fn find_bits(&self, chunk: usize, count: usize) -> Option<usize> {
        let mut run = 0;
        for (index, &word) in self.chunk_bits(chunk).iter().enumerate() {
            let at = chunk * CHUNK_PAGES + index * 64;
            if word == 0 {
                run += 64;
                if run >= count {
                    return Some(at + 64 - run);
                }
                continue;
            }
            let mut bit = 0;
            while bit < 64 {
                let free = (word >> bit).trailing_zeros().min(64 - bit);
                run += free as usize;
                if run >= count {
                    return Some(at + (bit + free) as usize - run);
                }
                bit += free;
                if bit < 64 {
                    bit += (word >> bit).trailing_ones();
                    run = 0;
                }
            }
        }
        None
    }

    /// Walks everything and says whether the summaries are those of the bitmap.
    pub fn is_valid(&self, end: usize) -> bool {
        let chunks = end.div_ceil(CHUNK_PAGES);
        (0..chunks).all(|chunk| {
            self.level(0)[chunk] == Runs::of_words(self.chunk_bits(chunk)).pack(CHUNK_PAGES)
        }) && (1..LEVELS).all(|level| {
            let (all, below) = (level_pages(level), level_pages(level - 1));
            (0..end.div_ceil(all)).all(|index| {
                let children = &self.level(level - 1)[index * FAN..index * FAN + FAN];
                self.level(level)[index] == Runs::of_entries(children, below).pack(all)
            })
        })
    }
}

/// The words and masks that a range of bits lies in.
pub fn spans_of_words(range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let (first, end) = (range.start, range.end);
    (first / 64..end.div_ceil(64)).map(move |word| {
        let from = first.saturating_sub(word * 64).min(64);
        let to = (end - word * 64).min(64);
        (word, (u64::MAX >> (64 - (to - from))) << from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pages: usize) -> (Vec<u64>, Map) {
        let mut memory = vec![0; words_for(pages)];
        // SAFETY: the memory lives beside the map.
        let map = unsafe { Map::new(memory.as_mut_ptr(), pages) };
        (memory, map)
    }

    const TOP: usize = level_pages(LEVELS - 1);

    #[test]
    fn a_fresh_map_is_free_to_its_very_end() {
        let (_memory, map) = map(2 * TOP);
        assert_eq!(map.find(2 * TOP, 0), Some(0));
        assert_eq!(map.find(2 * TOP + 1, 0), None);
    }

    #[test]
    fn a_map_may_end_within_an_entry_of_the_top_level() {
        for pages in [4 * CHUNK_PAGES, TOP - CHUNK_PAGES, TOP + CHUNK_PAGES] {
            let (_memory, mut map) = map(pages);
            assert!(map.is_valid(pages));
            // With nothing taken, nothing is looked through.
            assert_eq!((map.find(pages, 0), map.find(pages + 1, 0)), (Some(0), None));
            map.mark(0, 5, true);
            assert_eq!((map.find(pages - 5, 5), map.find(pages - 4, 5)), (Some(5), None));
            assert!(map.is_free(5, pages - 5) && !map.is_free(5, pages - 4));
            map.mark(5, pages - 5, true);
            assert_eq!(map.find(1, pages), None);
            map.mark(0, pages, false);
            assert!(map.is_valid(pages));
        }
    }

    #[test]
    fn runs_across_every_level_are_found() {
        let (_memory, mut map) = map(2 * TOP);
        for level in 0..LEVELS {
            let border = level_pages(level);
            map.mark(0, border - 3, true);
            map.mark(border + 3, 1, true);
            assert_eq!(map.find(6, border + 4), Some(border - 3));
            assert_eq!(map.find(7, border + 4), Some(border + 4));
            map.mark(0, border - 3, false);
            map.mark(border + 3, 1, false);
            assert!(map.is_valid(2 * TOP));
        }
    }

    #[test]
    fn a_full_map_has_no_room() {
        let (_memory, mut map) = map(TOP);
        map.mark(0, TOP, true);
        assert_eq!(map.find(1, TOP), None);
        map.mark(TOP - 1, 1, false);
        assert_eq!(map.find(1, TOP), Some(TOP - 1));
        assert_eq!(map.find(2, TOP), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 12 } else { 64 }))]
        #[test]
        fn the_lowest_run_is_what_a_walk_over_single_pages_finds(
            steps in prop::collection::vec((1usize..700, 0usize..40), 1..200)
        ) {
            let (_memory, mut map) = map(TOP);
            let mut taken = vec![false; TOP];
            let mut runs: Vec<(usize, usize)> = Vec::new();
            let mut end = 0;
            for (count, frees) in steps {
                let slow = (0..TOP - count)
                    .find(|&from| taken[from..from + count].iter().all(|taken| !taken));
                prop_assert_eq!(map.find(count, end), slow);
                let from = slow.unwrap();
                prop_assert!(map.is_free(from, count));
                map.mark(from, count, true);
                taken[from..from + count].fill(true);
                end = end.max(from + count);
                runs.push((from, count));
                if frees < runs.len() {
                    let (from, count) = runs.swap_remove(frees);
                    map.mark(from, count, false);
                    taken[from..from + count].fill(false);
                }
                prop_assert!(map.is_valid(end));
            }
        }
    }
}
