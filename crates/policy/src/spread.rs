//! Where the next goroutine goes when it should not stay with its parent.
//!
//! A started goroutine is pinned to its thread, so an accept loop that keeps its connections next to itself would
//! pile all of them on one M. [`least_loaded`] picks the M with the fewest live pinned goroutines. It owns nothing:
//! the caller brings the counts, and a number that it advances by one at every call.
//!
//! That number breaks ties by rotation. At start all counts are 0, and at rest they are nearly equal; "the first
//! minimum" would send each burst to M 0 until the counts that other threads publish have caught up. With the
//! rotation a burst that sees stale, equal counts still goes round.
//!
//! Rejected: "the better of two random choices". It is the right answer for thousands of bins whose loads are costly to
//! read; here there are as many bins as processors, and reading all of them costs less than a random number.

/// The index of the smallest of `loads`; among equals, the first at or after `turn % loads.len()`, going round.
///
/// `None` only when `loads` is empty. The cost is one pass over `loads`.
///
/// ```
/// use millpond_policy::spread::least_loaded;
///
/// assert_eq!(least_loaded(&[7, 3, 5], 0), Some(1));
/// assert_eq!(least_loaded(&[2, 2, 2], 4), Some(1)); // all equal: turn 4 of 3 is index 1
/// assert_eq!(least_loaded(&[], 0), None);
/// ```
pub fn least_loaded(loads: &[usize], turn: usize) -> Option<usize> {
    let start = turn.checked_rem(loads.len())?;
    let (before, after) = loads.split_at(start);
    // `min_by_key` returns the first of equal minima, which is what makes the rotation stable.
    let going_round = after.iter().chain(before).enumerate();
    let (offset, _) = going_round.min_by_key(|&(_, load)| load)?;
    Some((start + offset) % loads.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_loads_are_taken_in_turn() {
        let picks: Vec<_> = (0..6).map(|turn| least_loaded(&[5; 3], turn)).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2].map(Some));
    }

    #[test]
    fn a_burst_that_sees_stale_counts_still_goes_round() {
        let stale = [10; 8];
        let mut placed = [0usize; 8];
        for turn in 0..8_000 {
            placed[least_loaded(&stale, turn).unwrap()] += 1;
        }
        assert_eq!(placed, [1_000; 8]);
    }

    #[test]
    fn one_thread_that_starts_full_gets_nothing_until_the_others_have_caught_up() {
        let mut loads = [900, 0, 0, 0];
        for turn in 0..2_700 {
            loads[least_loaded(&loads, turn).unwrap()] += 1;
        }
        assert_eq!(loads, [900; 4]);
    }

    proptest! {
        #[test]
        fn the_choice_is_a_minimum_and_the_first_in_turn(
            loads in prop::collection::vec(0usize..4, 1..20),
            turn in any::<usize>(),
        ) {
            let chosen = least_loaded(&loads, turn).unwrap();
            let least = *loads.iter().min().unwrap();
            prop_assert_eq!(loads[chosen], least);
            let mut index = turn % loads.len();
            while index != chosen {
                prop_assert!(loads[index] > least, "index {} came before {}", index, chosen);
                index = (index + 1) % loads.len();
            }
        }

        #[test]
        fn arrivals_and_departures_keep_the_spread_within_the_departures(
            ends in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let mut loads = [0usize; 5];
            for (turn, end) in ends.iter().enumerate() {
                loads[least_loaded(&loads, turn).unwrap()] += 1;
                loads[least_loaded(&loads, turn).unwrap()] += 1;
                let leaver = end.index(loads.len());
                loads[leaver] = loads[leaver].saturating_sub(1);
            }
            // Arrivals alone level the loads: nothing but a departure can have pulled two of them apart.
            let high = *loads.iter().max().unwrap();
            let missing: usize = loads.iter().map(|load| high - load).sum();
            for turn in 0..missing {
                loads[least_loaded(&loads, turn).unwrap()] += 1;
            }
            prop_assert!(loads.iter().all(|&load| load == high));
        }
    }
}
