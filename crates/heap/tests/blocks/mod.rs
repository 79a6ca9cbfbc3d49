//! A model of the blocks that live: alignment, no overlap, contents, usable size; and steps made of bytes, for
//! whoever looks for a sequence of them that breaks it.

use millpond_heap::heap;
use std::collections::BTreeMap;

/// What a test does to one of its blocks.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new block.
    Alloc { bytes: usize, align: usize, zeroed: bool },
    /// By this thread.
    Free { which: usize },
    /// By another thread, which lives no longer than that.
    FreeElsewhere { which: usize, count: usize },
    /// Longer or shorter.
    Realloc { which: usize, bytes: usize },
    /// Gives the kernel what can be given.
    Release,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: usize,
    align: usize,
    /// What every byte of it holds.
    fill: u8,
}

/// All that lives, by address.
#[derive(Default)]
pub struct Model(BTreeMap<usize, Block>);

impl Model {
    fn nth(&self, which: usize) -> Option<(usize, Block)> {
        let length = self.0.len();
        (length > 0).then(|| self.0.iter().nth(which % length).map(|(&at, &block)| (at, block)))?
    }

    fn insert(&mut self, at: usize, block: Block) {
        assert_ne!(at, 0, "out of memory");
        assert_eq!(at % block.align, 0, "{block:?} at {at:#x}");
        // SAFETY: the block is live.
        assert!(unsafe { heap::usable_size(at as *const u8) } >= block.bytes);
        if let Some((&before, other)) = self.0.range(..=at).next_back() {
            assert!(before + other.bytes <= at, "{block:?} at {at:#x} overlaps {before:#x}");
        }
        if let Some((&after, _)) = self.0.range(at..).next() {
            assert!(at + block.bytes <= after, "{block:?} at {at:#x} overlaps {after:#x}");
        }
        // SAFETY: the block is live and has that many bytes.
        unsafe { (at as *mut u8).write_bytes(block.fill, block.bytes) };
        self.0.insert(at, block);
    }

    /// Whether the first bytes of a block hold what they should.
    #[track_caller]
    fn look(at: usize, bytes: usize, fill: u8) {
        // SAFETY: the block is live and has that many bytes.
        let content = unsafe { std::slice::from_raw_parts(at as *const u8, bytes) };
        let wrong = content.iter().position(|&byte| byte != fill);
        assert_eq!(wrong, None, "a block of {bytes} B at {at:#x} was changed");
    }

    fn free(&mut self, at: usize) {
        let block = self.0.remove(&at).unwrap();
        Self::look(at, block.bytes, block.fill);
        // SAFETY: the block is live, and is forgotten here.
        unsafe { heap::dealloc(at as *mut u8) };
    }

    fn step(&mut self, step: &Step, fill: u8) {
        match *step {
            Step::Alloc { bytes, align, zeroed } => {
                let block = Block { bytes, align, fill };
                let at = if zeroed {
                    let at = heap::alloc_zeroed(bytes, align) as usize;
                    Self::look(at, bytes, 0);
                    at
                } else {
                    heap::alloc(bytes, align) as usize
                };
                self.insert(at, block);
            }
            Step::Free { which } => {
                if let Some((at, _)) = self.nth(which) {
                    self.free(at);
                }
            }
            Step::FreeElsewhere { which, count } => {
                let blocks: Vec<usize> = (0..count)
                    .filter_map(|n| {
                        let (at, block) = self.nth(which.wrapping_add(n * 7))?;
                        Self::look(at, block.bytes, block.fill);
                        self.0.remove(&at).map(|_| at)
                    })
                    .collect();
                let free = move || {
                    // SAFETY: the blocks are live, and are forgotten here.
                    blocks.into_iter().for_each(|at| unsafe { heap::dealloc(at as *mut u8) });
                };
                std::thread::spawn(free).join().unwrap();
            }
            Step::Release => {
                millpond_heap::release();
            }
            Step::Realloc { which, bytes } => {
                let Some((at, block)) = self.nth(which) else { return };
                Self::look(at, block.bytes, block.fill);
                self.0.remove(&at);
                // SAFETY: the block is live and as the model says.
                let new = unsafe { heap::realloc(at as *mut u8, block.bytes, block.align, bytes) };
                Self::look(new as usize, block.bytes.min(bytes), block.fill);
                self.insert(new as usize, Block { bytes, fill, ..block });
            }
        }
    }

    /// Takes the steps, frees what is left, and checks each block whenever it is touched.
    pub fn run(steps: &[Step], after_each: impl Fn(usize)) {
        let mut model = Model::default();
        for (number, step) in steps.iter().enumerate() {
            model.step(step, number as u8);
            after_each(number);
        }
        let left: Vec<usize> = model.0.keys().copied().collect();
        left.into_iter().for_each(|at| model.free(at));
    }
}

/// The steps that some bytes stand for. Every sequence of bytes is one of steps: a byte says which, those after it
/// with what numbers; what is missing at the end is zero.
#[allow(dead_code, reason = "not every program that has the model reads bytes")]
pub fn steps_of(bytes: &[u8]) -> Vec<Step> {
    let mut rest = bytes.iter().copied();
    let mut steps = Vec::new();
    while let Some(byte) = rest.next() {
        let mut number = |count: usize| {
            (0..count).fold(0, |number, _| number << 8 | usize::from(rest.next().unwrap_or(0)))
        };
        let step = match byte % 16 {
            kind @ 0..=7 => {
                let bytes = match kind {
                    0..=3 => number(1) * 4,
                    4 | 5 => number(2),
                    6 => number(3) % 3_000_000,
                    _ => 1 << (number(1) % 22),
                };
                let align = 1 << if byte & 16 == 0 { number(1) % 4 } else { number(1) % 17 };
                Step::Alloc { bytes: bytes.max(1), align, zeroed: byte & 32 != 0 }
            }
            8..=11 => Step::Free { which: number(2) },
            12 => Step::FreeElsewhere { which: number(2), count: number(1) % 32 },
            13 | 14 => {
                let (which, large) = (number(2), byte & 16 != 0);
                Step::Realloc {
                    which,
                    bytes: number(if large { 3 } else { 2 }).max(1) % 3_000_000 + 1,
                }
            }
            _ if byte & 48 == 48 => Step::Release,
            _ => Step::Free { which: 0 },
        };
        steps.push(step);
    }
    steps
}
