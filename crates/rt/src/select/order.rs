//! The order in which the arms of a select are asked: drawn anew each time, every order alike.
//!
//! Up to [`INLINE`] numbers live in the select's own frame, so a select of the usual size allocates
//! nothing.

/// So many arms need no allocation.
pub(super) const INLINE: usize = 8;

/// A random order of the numbers below a count.
#[derive(Debug)]
pub(super) enum Order {
    Inline([u16; INLINE], usize),
    Heap(Vec<u16>),
}

impl Order {
    /// Draws an order of `count` numbers.
    ///
    /// # Panics
    /// If `count` is above [`super::park::MAX_ARMS`].
    pub(super) fn draw(count: usize) -> Self {
        Self::draw_after(count, first(count))
    }

    /// The rest of an order that begins with `first`.
    ///
    /// # Panics
    /// As above.
    pub(super) fn draw_after(count: usize, first: Option<usize>) -> Self {
        let mut order = if count <= INLINE {
            Self::Inline([0, 1, 2, 3, 4, 5, 6, 7], count)
        } else {
            assert!(
                count <= super::park::MAX_ARMS,
                "select: {count} arms; at most {} can wait together",
                super::park::MAX_ARMS
            );
            Self::Heap((0..count as u16).collect())
        };
        if let Some(first) = first {
            let numbers = order.numbers_mut();
            numbers.swap(0, first);
            shuffle(&mut numbers[1..]);
        }
        order
    }

    #[inline]
    pub(super) fn numbers(&self) -> &[u16] {
        match self {
            Self::Inline(numbers, count) => &numbers[..*count],
            Self::Heap(numbers) => numbers,
        }
    }

    fn numbers_mut(&mut self) -> &mut [u16] {
        match self {
            Self::Inline(numbers, count) => &mut numbers[..*count],
            Self::Heap(numbers) => numbers,
        }
    }
}

/// The first of an order of `count` numbers, which is all of the order that most selects need.
#[inline]
pub(super) fn first(count: usize) -> Option<usize> {
    (count > 0).then(|| below(count))
}

/// Fisher and Yates.
fn shuffle(numbers: &mut [u16]) {
    for last in (1..numbers.len()).rev() {
        numbers.swap(last, below(last + 1));
    }
}

/// A draw by multiplication: the bias is the count over 2^32.
#[inline]
fn below(count: usize) -> usize {
    ((u64::from(random()) * count as u64) >> 32) as usize
}

/// The generator of the calling M, or of the calling plain thread.
#[cfg(not(loom))]
#[inline]
fn random() -> u32 {
    match crate::m::CurrentM::get() {
        Some(m) => m.local().random(),
        None => of_thread(),
    }
}

/// A model explores orders of events, not of arms; and it must do the same thing each time.
#[cfg(loom)]
fn random() -> u32 {
    u32::MAX
}

#[cfg(not(loom))]
fn of_thread() -> u32 {
    use std::cell::Cell;
    use std::hash::{BuildHasher, RandomState};
    thread_local! {
        // `RandomState` is the seed that `std` offers: different in each thread.
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
    }
    STATE
        .try_with(|state| {
            // Marsaglia's xorshift64.
            let mut x = state.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.set(x);
            (x >> 32) as u32
        })
        .unwrap_or(0)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_order_of_three_is_as_frequent_as_the_others() {
        const DRAWS: usize = 60_000;
        let mut seen = std::collections::HashMap::new();
        for _ in 0..DRAWS {
            *seen.entry(Order::draw(3).numbers().to_vec()).or_insert(0usize) += 1;
        }
        assert_eq!(seen.len(), 6);
        // Ten standard deviations of a binomial with p = 1/6 are about 910.
        for (order, times) in seen {
            assert!(times.abs_diff(DRAWS / 6) < 910, "{order:?}: {times}");
        }
    }

    #[test]
    fn an_order_holds_each_number_once() {
        for count in [0, 1, 8, 9, 100] {
            let order = Order::draw(count);
            let mut numbers = order.numbers().to_vec();
            numbers.sort_unstable();
            assert!(numbers.iter().enumerate().all(|(i, n)| i == usize::from(*n)));
            assert_eq!(numbers.len(), count);
        }
    }
}
