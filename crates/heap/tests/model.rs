//! The heap against a model of live blocks: alignment, no overlap, contents, usable size.

use millpond_heap::heap;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a test does to one of its blocks.
#[derive(Clone, Debug)]
enum Step {
    Alloc { bytes: usize, align: usize, zeroed: bool },
    Free { which: usize },
    Realloc { which: usize, bytes: usize },
}

#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: usize,
    align: usize,
    /// What every byte of it holds.
    fill: u8,
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 1usize..300,
        3 => 1usize..40_000,
        1 => 1usize..3_000_000,
        1 => (0u32..22).prop_map(|shift| 1 << shift),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let alloc = (sizes(), 0u32..17, any::<bool>(), any::<bool>()).prop_map(
        |(bytes, shift, plain, zeroed)| {
            let align = 1 << if plain { shift % 4 } else { shift };
            Step::Alloc { bytes, align, zeroed }
        },
    );
    let free = any::<usize>().prop_map(|which| Step::Free { which });
    let realloc =
        (any::<usize>(), sizes()).prop_map(|(which, bytes)| Step::Realloc { which, bytes });
    prop::collection::vec(prop_oneof![5 => alloc, 4 => free, 2 => realloc], 1..400)
}

/// All that lives, by address.
#[derive(Default)]
struct Model(BTreeMap<usize, Block>);

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

    fn run(steps: &[Step], after_each: impl Fn(usize)) {
        let mut model = Model::default();
        for (number, step) in steps.iter().enumerate() {
            model.step(step, number as u8);
            after_each(number);
        }
        let left: Vec<usize> = model.0.keys().copied().collect();
        left.into_iter().for_each(|at| model.free(at));
    }
}

/// A failure prints its input, which the next run need not find in a file.
fn config() -> ProptestConfig {
    let cases = if cfg!(debug_assertions) { 6 } else { 200 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn blocks_are_aligned_keep_their_content_and_do_not_overlap(steps in steps()) {
        Model::run(&steps, |_| ());
        prop_assert_eq!(millpond_heap::check(), Ok(()));
    }

    #[test]
    fn giving_everything_back_between_steps_changes_no_block(steps in steps()) {
        Model::run(&steps, |number| if number.is_multiple_of(40) {
            millpond_heap::release();
        });
        prop_assert_eq!(millpond_heap::check(), Ok(()));
    }

    #[test]
    fn the_sheet_adds_up_after_every_step(steps in steps()) {
        Model::run(&steps, |number| if number.is_multiple_of(16) {
            let stats = millpond_heap::stats();
            assert_eq!(stats.obtained, stats.accounted(), "{stats}");
        });
    }

    #[test]
    fn several_threads_at_once(all in prop::collection::vec(steps(), 4)) {
        std::thread::scope(|scope| {
            for steps in &all {
                scope.spawn(move || Model::run(steps, |_| ()));
            }
        });
        prop_assert_eq!(millpond_heap::check(), Ok(()));
    }
}
