//! From runs to a table: medians, their ratios to the row's best, and geometric means.
//!
//! A row's best is the best of all libraries, so a mean of 1.00 would be the best in every row. The verdicts hold the
//! means of our library to the targets: of time, the best other library's and two hundredths; of memory, 1.07.

use super::libraries;
use super::measure::Run;
use super::programs::PROGRAMS;

/// What our mean of time may be above the best other one.
const TIME_SLACK: f64 = 1.02;

/// What our mean of memory may be.
const MEMORY_LIMIT: f64 = 1.07;

/// The runs of one program, by library: none where a library failed or was not asked for.
pub struct Row {
    /// The program.
    pub name: &'static str,
    /// In the order of the columns.
    pub runs: Vec<Vec<Run>>,
}

/// What was measured, a run per line: program, library, seconds, peak bytes.
pub fn to_text(columns: &[&str], rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        for (library, runs) in columns.iter().zip(&row.runs) {
            runs.iter().for_each(|run| {
                let (secs, peak_bytes) = (run.secs, run.peak_bytes);
                text += &format!("{} {library} {secs} {peak_bytes}\n", row.name);
            });
        }
    }
    text
}

/// The other direction: the libraries that were measured, and the rows, each in its own order. `None`: a line is not
/// understood.
pub fn from_text(text: &str) -> Option<(Vec<&'static str>, Vec<Row>)> {
    let mut runs = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (program, library) = (words.next()?, words.next()?);
        let program = PROGRAMS.iter().position(|known| known.name == program)?;
        let library = libraries::names().find(|known| *known == library)?;
        let (secs, peak_bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        runs.push((program, library, Run { answer: Vec::new(), secs, peak_bytes }));
    }
    let columns: Vec<&str> = libraries::names()
        .filter(|name| runs.iter().any(|(_, library, _)| library == name))
        .collect();
    let cell = |program: usize, name: &str| {
        let own = runs.iter().filter(|(known, library, _)| *known == program && *library == name);
        own.map(|(.., run)| run.clone()).collect::<Vec<_>>()
    };
    let row = |(number, program): (usize, &super::Program)| Row {
        name: program.name,
        runs: columns.iter().map(|name| cell(number, name)).collect(),
    };
    let measured = |row: &Row| row.runs.iter().any(|runs| !runs.is_empty());
    let rows = PROGRAMS.iter().enumerate().map(row).filter(measured).collect();
    Some((columns, rows))
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len().checked_sub(1)?;
    Some((numbers[middle / 2] + numbers[middle.div_ceil(2)]) / 2.0)
}

/// Ratios of medians to the row's best.
fn ratios(row: &Row, figure: impl Fn(&Run) -> f64) -> Vec<Option<f64>> {
    let medians = row.runs.iter().map(|runs| median(runs.iter().map(&figure).collect()));
    let medians: Vec<Option<f64>> = medians.collect();
    let best = medians.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    medians.into_iter().map(|median| median.map(|median| median / best)).collect()
}

fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let logarithms: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (!ratios.is_empty()).then(|| (logarithms / ratios.len() as f64).exp())
}

/// The table of one figure, and each column's mean. Only rows that all columns have count for the means.
fn table(
    title: &str,
    columns: &[&str],
    rows: &[Row],
    figure: impl Fn(&Run) -> f64 + Copy,
    scale: f64,
) -> (String, Vec<Option<f64>>) {
    let mut text = format!("\n{title:<14}");
    columns.iter().for_each(|column| text.push_str(&format!(" {column:>9}")));
    text.push_str("      best\n");
    let mut all: Vec<Vec<f64>> = vec![Vec::new(); columns.len()];
    for row in rows {
        let ratios = ratios(row, figure);
        text.push_str(&format!("{:<14}", row.name));
        for ratio in &ratios {
            let shown = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            text.push_str(&format!(" {shown:>9}"));
        }
        let medians = row.runs.iter().filter_map(|runs| median(runs.iter().map(figure).collect()));
        text.push_str(&format!(" {:>9.2}\n", medians.fold(f64::INFINITY, f64::min) / scale));
        if ratios.iter().all(Option::is_some) {
            all.iter_mut().zip(ratios).for_each(|(all, ratio)| all.extend(ratio));
        }
    }
    let means: Vec<Option<f64>> = all.iter().map(|ratios| geometric_mean(ratios)).collect();
    text.push_str(&format!("{:<14}", "geometric mean"));
    for mean in &means {
        let shown = mean.map_or("-".to_owned(), |mean| format!("{mean:.3}"));
        text.push_str(&format!(" {shown:>9}"));
    }
    text.push('\n');
    (text, means)
}

/// Both tables and the verdicts. The first column is ours.
pub fn render(columns: &[&str], rows: &[Row]) -> String {
    let (mut text, times) = table("time", columns, rows, |run| run.secs, 1.0);
    let (memory, peaks) =
        table("peak memory", columns, rows, |run| run.peak_bytes as f64, 1048576.0);
    text.push_str(&memory);
    text.push_str("\nRatios are to the row's best, which is in seconds and in MiB.\n");
    let verdict = |what: &str, found: Option<f64>, limit: Option<f64>| match (found, limit) {
        (Some(found), Some(limit)) => {
            let verdict = if found <= limit { "kept" } else { "MISSED" };
            format!("target {what}: {found:.3}, at most {limit:.3}: {verdict}\n")
        }
        _ => String::new(),
    };
    let others = times.iter().skip(1).flatten().copied();
    let best = others.reduce(f64::min).map(|best| best * TIME_SLACK);
    text.push_str(&verdict("time", times.first().copied().flatten(), best));
    let alone = columns.len() < 2;
    let limit = (!alone).then_some(MEMORY_LIMIT);
    text + &verdict("peak memory", peaks.first().copied().flatten(), limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(secs: f64, mib: u64) -> Run {
        Run { answer: Vec::new(), secs, peak_bytes: mib << 20 }
    }

    #[test]
    fn ratios_are_to_the_best_median_and_means_are_geometric() {
        let rows = [
            Row { name: "a", runs: vec![vec![run(2.0, 10)], vec![run(1.0, 20)]] },
            Row {
                name: "b",
                runs: vec![vec![run(2.0, 10)], vec![run(9.0, 20), run(4.0, 20), run(3.0, 20)]],
            },
            Row { name: "c", runs: vec![vec![run(1.0, 10)], vec![]] },
        ];
        let text = render(&["millpond", "other"], &rows);
        assert!(text.contains("a                   2.00      1.00      1.00"), "{text}");
        assert!(text.contains("b                   1.00      2.00      2.00"), "{text}");
        assert!(text.contains("geometric mean     1.414     1.414"), "{text}");
        assert!(text.contains("target time: 1.414, at most 1.442: kept"), "{text}");
        assert!(text.contains("target peak memory: 1.000, at most 1.070: kept"), "{text}");
    }

    #[test]
    fn what_was_measured_in_pieces_makes_one_table() {
        let row = |name, runs| Row { name, runs };
        let columns = ["millpond", "jemalloc"];
        let perl = row("perl", vec![vec![run(1.5, 3)], vec![run(2.0, 4)]]);
        let redis = row("redis", vec![vec![run(1.0, 3)], vec![]]);
        let again = row("redis", vec![vec![run(3.0, 3)], vec![run(1.0, 2)]]);
        let text = to_text(&columns, &[perl, redis]) + &to_text(&columns, &[again]);
        let (found, rows) = from_text(&text).unwrap();
        assert_eq!(found, columns);
        assert_eq!(rows.iter().map(|row| row.name).collect::<Vec<_>>(), ["redis", "perl"]);
        assert_eq!(rows[0].runs, [vec![run(1.0, 3), run(3.0, 3)], vec![run(1.0, 2)]]);
        assert!(from_text("perl hoard 1 1").is_none() && from_text("perl glibc x 1").is_none());
    }

    #[test]
    fn a_row_that_a_column_lacks_is_shown_and_does_not_count() {
        let rows = [Row { name: "c", runs: vec![vec![run(1.0, 10)], vec![]] }];
        let text = render(&["millpond", "other"], &rows);
        assert!(text.contains("c                   1.00         -"), "{text}");
        assert!(!text.contains("target"), "{text}");
    }
}
