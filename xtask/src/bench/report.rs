//! The table: Markdown for people, JSON for programs.
//!
//! A cell is a figure with the spread of its rounds. The best column of a line is not marked: what matters is the
//! target, and it stands in the last column with its ratio. Below the table come the runs that failed, and how many
//! targets hold.

use super::row::{Column, Metric, Row, Statistic};
use super::stats::Samples;
use super::target::Verdict;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A line of the table, with what was measured.
pub struct Line {
    /// The row that it belongs to.
    pub row: &'static Row,
    /// What it shows.
    pub metric: &'static Metric,
    /// The rounds of each column, in the order of [`Column::ALL`].
    pub samples: [Samples; Column::ALL.len()],
}

impl Line {
    /// The figure of a column.
    fn figure(&self, column: Column) -> Option<f64> {
        let samples = &self.samples[column as usize];
        match self.metric.statistic {
            Statistic::Median => samples.median(),
            Statistic::P95 => samples.quantile(0.95),
        }
    }

    fn title(&self) -> String {
        match self.metric.what {
            "" => self.row.title.to_owned(),
            what => format!("{}: {what}", self.row.title),
        }
    }

    fn cell(&self, column: Column) -> String {
        let spread = self.samples[column as usize].spread_percent();
        match (self.figure(column), spread) {
            (None, _) => "–".to_owned(),
            (Some(figure), Some(spread)) if self.metric.statistic == Statistic::Median => {
                format!("{} ±{spread:.0} %", self.metric.unit.show(figure))
            }
            (Some(figure), _) => self.metric.unit.show(figure),
        }
    }

    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let (mine, unit) = (self.figure(Column::Millpond), self.metric.unit);
        self.metric
            .targets
            .iter()
            .map(move |target| target.judge(mine, |column| self.figure(column), unit))
    }
}

/// The whole table.
pub fn markdown(lines: &[Line]) -> String {
    let mut text = String::from("| work |");
    for column in Column::ALL {
        let _ = write!(text, " {} |", column.title());
    }
    text.push_str(" target |\n|---|");
    text.push_str(&"---:|".repeat(Column::ALL.len()));
    text.push_str("---|\n");
    for line in lines {
        let _ = write!(text, "| {} |", line.title());
        for column in Column::ALL {
            let _ = write!(text, " {} |", line.cell(column));
        }
        let verdicts: Vec<_> = line.verdicts().map(|verdict| verdict.text).collect();
        let _ = writeln!(text, " {} |", verdicts.join("; "));
    }
    text
}

/// How many targets hold.
pub fn summary(lines: &[Line]) -> String {
    let verdicts: Vec<_> = lines.iter().flat_map(Line::verdicts).filter_map(|v| v.holds).collect();
    let held = verdicts.iter().filter(|holds| **holds).count();
    format!("{held} of {} measured targets hold.", verdicts.len())
}

/// Everything that was measured.
pub fn json(lines: &[Line], head: &[String], failures: &[String]) -> Value {
    let lines: Vec<_> = lines.iter().map(line_json).collect();
    json!({ "head": head, "lines": lines, "failures": failures })
}

fn line_json(line: &Line) -> Value {
    let mut columns = Map::new();
    for column in Column::ALL {
        let samples = &line.samples[column as usize];
        if !samples.values().is_empty() {
            let value = json!({
                "figure": line.figure(column),
                "spread_percent": samples.spread_percent(),
                "rounds": samples.values(),
            });
            columns.insert(column.name().to_owned(), value);
        }
    }
    let verdict = |v: Verdict| json!({ "text": v.text, "ratio": v.ratio, "holds": v.holds });
    json!({
        "row": line.row.name,
        "title": line.title(),
        "unit": format!("{:?}", line.metric.unit),
        "statistic": format!("{:?}", line.metric.statistic),
        "columns": columns,
        "targets": line.verdicts().map(verdict).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::ROWS;

    fn line(name: &str, rounds: &[(Column, &[f64])]) -> Line {
        let row = ROWS.iter().find(|row| row.name == name).unwrap();
        let mut line = Line { row, metric: &row.metrics[0], samples: Default::default() };
        for (column, values) in rounds {
            values.iter().for_each(|&value| line.samples[*column as usize].add(value));
        }
        line
    }

    #[test]
    fn a_line_has_medians_spreads_and_the_ratio_of_medians() {
        let rounds: &[(Column, &[f64])] =
            &[(Column::Millpond, &[90.0, 80.0, 100.0]), (Column::Go, &[200.0, 190.0, 210.0])];
        let text = markdown(&[line("spawn_join", rounds)]);
        let last = text.lines().last().unwrap();
        assert_eq!(
            last,
            "| spawn + join, per goroutine | 90.0 ns ±11 % | 200 ns ±5 % | – | – | – | ≤ 0.5 × Go: 0.45 ✓ |"
        );
    }

    #[test]
    fn every_line_has_as_many_cells_as_the_head() {
        let text = markdown(&[line("control", &[]), line("echo-64", &[(Column::Tokio, &[3e5])])]);
        let cells: Vec<_> = text.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(cells, [8; 4]);
        assert!(text.contains("300 k ±0 %") && text.contains("not measured"), "{text}");
    }

    #[test]
    fn a_percentile_of_processes_is_shown_without_a_spread() {
        let twenty: Vec<f64> = (1..=20).map(f64::from).collect();
        let text = markdown(&[line("pingpong-p95", &[(Column::Millpond, &twenty)])]);
        assert!(text.lines().last().unwrap().contains("| 19.0 ns |"), "{text}");
    }

    #[test]
    fn the_summary_and_the_json_count_only_what_was_measured() {
        let lines = [
            line("spawn_join", &[(Column::Millpond, &[90.0]), (Column::Go, &[200.0])]),
            line("mutex", &[(Column::Millpond, &[90.0]), (Column::Go, &[20.0])]),
            line("yield", &[]),
        ];
        assert_eq!(summary(&lines), "1 of 2 measured targets hold.");
        let json = json(&lines, &["two processors".to_owned()], &[]);
        assert_eq!(json["lines"][0]["targets"][0]["holds"], true);
        assert_eq!(json["lines"][0]["columns"]["go"]["rounds"][0], 200.0);
        assert!(json["lines"][2]["columns"].as_object().unwrap().is_empty());
    }
}
