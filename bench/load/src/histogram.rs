//! Times by size, in buckets that are a constant part of their value: 1/32, so three per cent.
//!
//! Below [`LINEAR`] nanoseconds there is a bucket for each; above, [`LINEAR`]/2 for each power of two. A bucket
//! answers with its upper bound, so a quantile is never better than the truth. Fixed size, no allocation while
//! recording, and two histograms are added bucket by bucket.

/// A power of two.
const LINEAR: u64 = 64;

/// How many powers of two lie above the linear part, for all of `u64`.
const POWERS: usize = 64 - LINEAR.ilog2() as usize;

const BUCKETS: usize = LINEAR as usize + POWERS * (LINEAR as usize / 2);

/// Counts per bucket.
pub(crate) struct Histogram {
    counts: Box<[u64; BUCKETS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]) }
    }
}

/// Shifted right until it is below `LINEAR`, a value lies in the upper half of the linear part.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(LINEAR.ilog2());
    (u64::from(shift) * (LINEAR / 2) + (value >> shift)) as usize
}

/// The largest value of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let (bucket, half) = (bucket as u64, LINEAR / 2);
    let shift = (bucket / half).saturating_sub(1);
    let mantissa = bucket - shift * half;
    (((u128::from(mantissa) + 1) << shift) - 1) as u64
}

impl Histogram {
    pub(crate) fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
    }

    pub(crate) fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts.iter()) {
            *mine += theirs;
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The smallest value that at least this part of all values does not exceed; 0 if there are none.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let rank = ((self.count() as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(index);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_everything_without_gaps() {
        let mut next = 0;
        for index in 0..BUCKETS {
            assert_eq!(bucket(next), index, "the first value of a bucket");
            let last = upper_bound(index);
            assert_eq!(bucket(last), index, "its last value");
            match last.checked_add(1) {
                Some(after) => next = after,
                None => return assert_eq!(index, BUCKETS - 1),
            }
        }
        panic!("the last bucket ends before the largest value");
    }

    #[test]
    fn a_quantile_is_the_truth_or_a_little_worse() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        (1..=1000).for_each(|i| histogram.record(i * 1000));
        for (part, truth) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let found = histogram.quantile(part) as f64;
            assert!(found >= truth && found <= truth * 1.04, "{part}: {found}");
        }
    }

    #[test]
    fn sums_of_histograms_are_histograms_of_sums() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        a.record(10);
        b.record(1 << 40);
        a.add(&b);
        assert_eq!((a.count(), a.quantile(0.5)), (2, 10));
    }
}
