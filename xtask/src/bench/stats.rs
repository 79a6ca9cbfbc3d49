//! The arithmetic of the table: medians, percentiles, spread.
//!
//! A figure of the table is the median over the rounds, because a neighbour on the machine makes some rounds slower
//! and none faster in return. The spread beside it is half the distance between the best and the worst round, in
//! per cent of the median: what to doubt.

/// What the rounds of one runtime have measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    sorted: Vec<f64>,
}

impl Samples {
    /// Adds a round.
    pub fn add(&mut self, value: f64) {
        let place = self.sorted.partition_point(|&other| other < value);
        self.sorted.insert(place, value);
    }

    /// All rounds, the smallest first.
    pub fn values(&self) -> &[f64] {
        &self.sorted
    }

    /// The middle; of an even number, the mean of the two in the middle.
    pub fn median(&self) -> Option<f64> {
        let (n, values) = (self.sorted.len(), &self.sorted);
        match n {
            0 => None,
            _ if n % 2 == 1 => Some(values[n / 2]),
            _ => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
        }
    }

    /// The smallest round that is not below `part` of all: of 20 at 0.95, the 19th.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let rank = (self.sorted.len() as f64 * part).ceil() as usize;
        self.sorted.get(rank.max(1) - 1).copied()
    }

    /// Half the distance between the extremes, in per cent of the median.
    pub fn spread_percent(&self) -> Option<f64> {
        let (first, last) = (self.sorted.first()?, self.sorted.last()?);
        let median = self.median()?;
        (median > 0.0).then(|| (last - first) / 2.0 / median * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        values.iter().for_each(|&value| samples.add(value));
        samples
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(samples(&[]).median(), None);
        assert_eq!(samples(&[3.0]).median(), Some(3.0));
        assert_eq!(samples(&[9.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(samples(&[4.0, 100.0, 1.0, 2.0]).median(), Some(3.0));
        assert_eq!(samples(&[5.0, 1.0, 5.0]).values(), [1.0, 5.0, 5.0]);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(samples(&twenty).quantile(0.95), Some(19.0));
        assert_eq!(samples(&twenty).quantile(1.0), Some(20.0));
        assert_eq!(samples(&[7.0]).quantile(0.0), Some(7.0));
        assert_eq!(samples(&[]).quantile(0.95), None);
    }

    #[test]
    fn the_spread_is_relative_to_the_median() {
        assert_eq!(samples(&[90.0, 100.0, 120.0]).spread_percent(), Some(15.0));
        assert_eq!(samples(&[8.0]).spread_percent(), Some(0.0));
        assert_eq!(samples(&[0.0, 0.0]).spread_percent(), None);
        assert_eq!(samples(&[]).spread_percent(), None);
    }
}
