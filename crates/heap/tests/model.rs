//! The heap against a model of live blocks: alignment, no overlap, contents, usable size.

mod blocks;

use blocks::{Model, Step};
use proptest::prelude::*;

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
