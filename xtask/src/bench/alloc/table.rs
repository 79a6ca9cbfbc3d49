//! What all runs have found, as ratios.
//!
//! A ratio is made per round, to the same round of the row's best allocator (the one with the least median), and the
//! median of the rounds is shown: a slow moment of the machine that hits a whole round then hits no ratio. Means are
//! geometric, over the ratios of all rows that a figure is about; a ratio is at least 1 there, since the best is.

use super::ALLOCATORS;
use std::collections::BTreeMap;

/// What a run gives: see the essay of `bench-alloc`. The last two are no tables, but are needed to judge.
pub const FIGURES: [&str; 6] =
    ["time", "peak RSS", "RSS at once", "RSS after 2 s", "start", "floor"];

/// Place of a figure in [`FIGURES`].
pub const TIME: usize = 0;
/// As above.
pub const PEAK: usize = 1;
/// As above.
pub const END: usize = 2;
/// As above.
pub const LATER: usize = 3;
/// As above.
pub const START: usize = 4;
/// As above.
pub const FLOOR: usize = 5;

/// Figures of all rounds, by figure, row and allocator.
pub type Samples = BTreeMap<(usize, usize), BTreeMap<&'static str, Vec<u64>>>;

/// What was measured, a value per line: row, allocator, figure, value.
pub fn to_text(rows: &[String], samples: &Samples) -> String {
    let mut text = String::new();
    for (&(figure, row), found) in samples {
        for (name, values) in found {
            values.iter().for_each(|value| {
                text += &format!("{} {name} {figure} {value}\n", rows[row]);
            });
        }
    }
    text
}

/// The other direction; rows come in the order in which they were met. `None`: a line is not understood.
pub fn from_text(text: &str) -> Option<(Vec<String>, Samples)> {
    let (mut rows, mut samples) = (Vec::<String>::new(), Samples::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (row, name) = (words.next()?, words.next()?);
        let name = ALLOCATORS.into_iter().find(|known| *known == name)?;
        let (figure, value) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let row = rows.iter().position(|known| known == row).unwrap_or_else(|| {
            rows.push(row.to_owned());
            rows.len() - 1
        });
        samples.entry((figure, row)).or_default().entry(name).or_default().push(value);
    }
    Some((rows, samples))
}

/// The middle value; the higher one of two.
pub fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Rows that keep something: they say nothing about what stays when all is freed.
pub fn keeps(row: &str) -> bool {
    row == "server" || row.starts_with("freed-95")
}

/// Whether a row's time is mostly that of the first touch of its memory, which the kernel decides.
pub fn is_first_touch(row: &str) -> bool {
    row.starts_with("freed-")
}

/// Whether a row is part of the mean of a figure.
fn counts(figure: usize, row: &str) -> bool {
    match figure {
        END | LATER => !keeps(row),
        _ => true,
    }
}

/// The least median of a row, whose it is, and each allocator's ratio to it.
pub fn ratios(
    samples: &Samples,
    figure: usize,
    row: usize,
) -> Option<(u64, BTreeMap<&'static str, f64>)> {
    let found = samples.get(&(figure, row))?;
    let (_, best) = found.iter().min_by_key(|(_, values)| median(values))?;
    let ratio = |values: &Vec<u64>| {
        let pairs = values.iter().zip(best.iter().cycle());
        let mut pairs: Vec<f64> =
            pairs.map(|(&own, &best)| own as f64 / best.max(1) as f64).collect();
        pairs.sort_by(f64::total_cmp);
        pairs[pairs.len() / 2]
    };
    Some((median(best), found.iter().map(|(&name, values)| (name, ratio(values))).collect()))
}

/// The geometric mean of an allocator's ratios over the rows that count; `None` if there are none.
pub fn mean(rows: &[String], samples: &Samples, figure: usize, name: &str) -> Option<f64> {
    let counted = rows.iter().enumerate().filter(|(_, row)| counts(figure, row));
    geometric(counted.map(|(number, _)| number), samples, figure, name)
}

/// As [`mean`] of the time, without the rows whose time is that of their first touch.
pub fn mean_without_touch(rows: &[String], samples: &Samples, name: &str) -> Option<f64> {
    let counted = rows.iter().enumerate().filter(|(_, row)| !is_first_touch(row));
    geometric(counted.map(|(number, _)| number), samples, TIME, name)
}

fn geometric(
    rows: impl Iterator<Item = usize>,
    samples: &Samples,
    figure: usize,
    name: &str,
) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for number in rows {
        if let Some(&ratio) =
            ratios(samples, figure, number).as_ref().and_then(|(_, r)| r.get(name))
        {
            sum += ratio.max(1.0).ln();
            count += 1;
        }
    }
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

/// The allocators that were measured, in their order.
pub fn names(samples: &Samples) -> Vec<&'static str> {
    let measured = |name: &&str| samples.values().any(|row| row.contains_key(name));
    ALLOCATORS.into_iter().filter(measured).collect()
}

/// A table in Markdown for each figure.
pub fn render(rows: &[String], samples: &Samples) -> String {
    let names = names(samples);
    let mut text = String::new();
    for (figure, title) in FIGURES.iter().enumerate().take(START) {
        let unit = if figure == TIME { "ms" } else { "MiB" };
        text += &format!("\n| {title} | best, {unit} |");
        names.iter().for_each(|name| text += &format!(" {name} |"));
        text += &format!("\n|---|---:|{}\n", "---:|".repeat(names.len()));
        for (number, row) in rows.iter().enumerate() {
            let Some((best, ratios)) = ratios(samples, figure, number) else { continue };
            let best = best as f64 / if figure == TIME { 1e6 } else { 1024.0 };
            text += &format!("| {row} | {best:.1} |");
            for name in &names {
                text +=
                    &ratios.get(name).map_or(" – |".to_owned(), |ratio| format!(" {ratio:.2} |"));
            }
            text.push('\n');
        }
        text += "| **geometric mean** | |";
        for name in &names {
            let mean = mean(rows, samples, figure, name);
            text += &mean.map_or(" – |".to_owned(), |mean| format!(" **{mean:.2}** |"));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_best_of_the_row_and_their_mean_is_geometric() {
        let rows = ["a".to_owned(), "b".to_owned()];
        let mut samples = Samples::new();
        for (row, ours, theirs) in [(0, 1_000_000, 4_000_000), (1, 2_000_000, 2_000_000)] {
            let line = samples.entry((TIME, row)).or_default();
            line.insert("millpond", vec![ours, ours, ours * 100]);
            line.insert("system", vec![theirs, theirs, theirs * 100]);
        }
        let text = render(&rows, &samples);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
        assert_eq!(line("| a "), "| a | 1.0 | 1.00 | 4.00 |");
        assert_eq!(line("| **geometric"), "| **geometric mean** | | **1.00** | **2.00** |");
    }

    #[test]
    fn what_was_measured_is_read_back_as_it_was() {
        let (rows, mut samples) = (["json".to_owned(), "tiny".to_owned()], Samples::new());
        samples.entry((TIME, 0)).or_default().insert("system", vec![3, 1, 2]);
        samples.entry((TIME, 1)).or_default().insert("tcmalloc", vec![7]);
        let text = to_text(&rows, &samples);
        assert_eq!(from_text(&text), Some((rows.to_vec(), samples)));
        assert_eq!(from_text("json nobody 0 1"), None);
    }

    #[test]
    fn what_is_kept_is_no_part_of_what_stays_when_all_is_freed() {
        assert!(counts(LATER, "json") && !counts(LATER, "server") && counts(PEAK, "server"));
    }
}
