//! `cargo xtask bench rest-cost`: what it costs that stacks can rest, where none does or should.
//!
//! Each row runs on Millpond three times in each round, as it is and twice with `MILLPOND_REST=off`, one right after
//! the other, and in turns the one or the other first. The ratio is taken in each round, so that what changes on the
//! machine from minute to minute meets all; the figure is the median of the rounds, and beside it stands half the
//! distance between their quartiles. The row's control is the ratio of the two that are switched off: what it differs
//! from 1 by, and how much it spreads, is what this table cannot see.
//!
//! A ratio above 1 means that rest costs, whatever the figure counts. The promise is 1.02 at most. It is kept,
//! broken or, if a spread is larger than the distance to it, not to be told from this many rounds.
//!
//! Left out are the rows whose point is that stacks rest.

use super::measure;
use super::options::Options;
use super::programs::Programs;
use super::row::{Column, Figure, Kind, Metric, Row};
use super::stats::Samples;
use crate::Problem;
use std::path::Path;

/// How much slower a program may be.
const MOST: f64 = 1.02;

const OFF: (&str, &str) = ("MILLPOND_REST", "off");

/// A line of the table: as it is, switched off, and the ratios of the rounds.
struct Line {
    row: &'static Row,
    metric: &'static Metric,
    on: Samples,
    off: Samples,
    ratios: Samples,
    /// Switched off to switched off.
    controls: Samples,
}

/// Runs what the arguments ask for. `Ok(false)` if a run failed.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, Problem> {
    let options = Options::parse(arguments)?.only(Column::Millpond);
    let mut programs = Programs::build(root, &options)?;
    let rows: Vec<_> = options.rows().filter(|row| is_about_others(row)).collect();
    let rows = rows.into_iter().filter(|row| programs.wrk || !matches!(row.kind, Kind::Wrk(_)));
    let rows: Vec<_> = rows.collect();
    let line = |row: &'static Row| {
        row.metrics.iter().map(move |metric| Line {
            row,
            metric,
            on: Samples::default(),
            off: Samples::default(),
            ratios: Samples::default(),
            controls: Samples::default(),
        })
    };
    let mut lines: Vec<Line> = rows.iter().copied().flat_map(line).collect();
    let mut failures = Vec::new();
    for round in 0..options.rounds {
        for row in &rows {
            eprint!("round {}/{} {}:", round + 1, options.rounds, row.name);
            match three(&mut programs, row, options.quick, round % 2 == 1) {
                Ok(figures) => {
                    let lines = lines.iter_mut().filter(|line| std::ptr::eq(line.row, *row));
                    lines.zip(figures).for_each(|(line, figures)| line.add(figures));
                }
                Err(failure) => {
                    eprint!(" FAILED");
                    failures.push(format!("{}: {failure}", row.name));
                }
            }
            eprintln!();
        }
    }
    print(&lines, options.rounds);
    programs.missing.iter().for_each(|what| println!("Not measured: {what}."));
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    Ok(failures.is_empty())
}

/// Whether nothing rests in this row that has to.
fn is_about_others(row: &Row) -> bool {
    let rests = matches!(row.kind, Kind::Million(_) | Kind::Idle) || row.name == "idle";
    !rests
}

/// The figures of a row's lines: as it is, switched off, and switched off again.
fn three(
    programs: &mut Programs,
    row: &'static Row,
    quick: bool,
    off_first: bool,
) -> Result<Vec<[f64; 3]>, String> {
    let mut run = |setting| {
        programs.setting = setting;
        let fields = measure::run(programs, row, Column::Millpond, quick)?;
        let figures = row.metrics.iter().map(|metric| measure::figure(&fields, metric.figure));
        figures.collect::<Result<Vec<_>, String>>()
    };
    let early = if off_first { Some(run(Some(OFF))?) } else { None };
    let on = run(None)?;
    let off = run(Some(OFF))?;
    let (off, again) = match early {
        Some(early) => (early, off),
        None => (off, run(Some(OFF))?),
    };
    let figures = on.into_iter().zip(off).zip(again);
    Ok(figures.map(|((on, off), again)| [on, off, again]).collect())
}

impl Line {
    fn add(&mut self, [on, off, again]: [f64; 3]) {
        self.on.add(on);
        self.off.add(off);
        // More is better of a rate only.
        let is_rate = self.metric.figure == Figure::Rate;
        let ratio = |one: f64, other: f64| if is_rate { other / one } else { one / other };
        self.ratios.add(ratio(on, off));
        self.controls.add(ratio(again, off));
        eprint!(" {:.3}", ratio(on, off));
    }

    fn text(&self) -> String {
        let show = |samples: &Samples| {
            samples.median().map_or("–".to_owned(), |value| self.metric.unit.show(value))
        };
        let what = self.metric.what;
        let title = self.row.title;
        let title = if what.is_empty() { title.to_owned() } else { format!("{title}: {what}") };
        let (on, off) = (show(&self.on), show(&self.off));
        let (Some((ratio, spread)), Some((control, noise))) =
            (middle(&self.ratios), middle(&self.controls))
        else {
            return format!("| {title} | {on} | {off} | – | – | – |");
        };
        let (figure, control) =
            (format!("{ratio:.3} ±{spread:.3}"), format!("{control:.3} ±{noise:.3}"));
        let verdict = judge(ratio, spread.max(noise));
        format!("| {title} | {on} | {off} | {figure} | {control} | {verdict} |")
    }
}

/// The median, and half the distance between the quartiles.
fn middle(ratios: &Samples) -> Option<(f64, f64)> {
    let quartile = |part| ratios.quantile(part);
    Some((ratios.median()?, (quartile(0.75)? - quartile(0.25)?) / 2.0))
}

fn judge(ratio: f64, spread: f64) -> &'static str {
    match ratio <= MOST {
        _ if (ratio - MOST).abs() < spread => "not to be told",
        true => "✓",
        false => "✗",
    }
}

fn print(lines: &[Line], rounds: usize) {
    println!("{rounds} rounds, ratio in each: above 1, rest costs. Control: off to off\n");
    println!("| work | as it is | rest off | ratio | control | ≤ {MOST} |");
    println!("|---|---:|---:|---:|---:|---|");
    lines.iter().for_each(|line| println!("{}", line.text()));
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::*;

    #[test]
    fn a_ratio_above_one_means_that_rest_costs() {
        let row = |figure: Figure| {
            let with = |row: &&Row| row.metrics.iter().any(|metric| metric.figure == figure);
            let row: &'static Row = ROWS.iter().find(with).unwrap();
            let metric = row.metrics.iter().find(|metric| metric.figure == figure).unwrap();
            let samples = Samples::default;
            let (ratios, controls) = (samples(), samples());
            Line { row, metric, on: samples(), off: samples(), ratios, controls }
        };
        let (mut time, mut rate) = (row(Figure::PerOperation), row(Figure::Rate));
        for _ in 0..3 {
            time.add([103.0, 100.0, 101.0]);
            rate.add([100.0, 103.0, 101.98]);
        }
        for line in [time, rate] {
            let expected = "1.030 ±0.000 | 1.010 ±0.000 | ✗";
            assert!(line.text().contains(expected), "{}", line.text());
        }
    }

    #[test]
    fn what_the_spread_hides_is_not_judged() {
        assert_eq!(judge(1.0, 0.01), "✓");
        assert_eq!(judge(1.05, 0.01), "✗");
        assert_eq!((judge(1.01, 0.03), judge(1.04, 0.03)), ("not to be told", "not to be told"));
    }

    #[test]
    fn rows_in_which_stacks_have_to_rest_are_left_out() {
        let left: Vec<_> = ROWS.iter().filter(|row| !is_about_others(row)).collect();
        let names: Vec<_> = left.iter().map(|row| row.name).collect();
        let expected = ["idle", "idle-tcp-4k", "idle-tcp-ready", "million", "million-live-256"];
        assert_eq!(names, expected);
    }
}
