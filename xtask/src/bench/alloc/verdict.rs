//! What the allocator has promised, and whether it holds.
//!
//! A line per promise: what came out, ✓ or ✗. Nothing is hidden in a mean: the rows that are worse than 1.5 × their
//! best are named. Of rows with several threads only what is worse by more than 30 % than the promise is a miss: the
//! machine's placement of threads spreads them by more than that.

use super::table::{
    END, FLOOR, LATER, PEAK, START, Samples, TIME, mean, mean_without_touch, median, ratios,
};

/// Rows of small blocks on one thread.
const SMALL: [&str; 6] =
    ["pairs-16", "pairs-64", "pairs-1024", "lifo-64", "random-64", "random-64-wide"];

/// Whether a row runs several threads.
fn has_threads(row: &str) -> bool {
    let several = ["larson-", "producer-", "stress-"].iter().any(|name| row.starts_with(name));
    (several && !row.ends_with("-1")) || row.starts_with("false-sharing")
}

/// Values of one allocator.
struct View<'a> {
    rows: &'a [String],
    samples: &'a Samples,
}

impl View<'_> {
    fn row(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| row == name)
    }

    /// The median of a figure, in its unit.
    fn value(&self, figure: usize, row: &str, name: &str) -> Option<f64> {
        let found = self.samples.get(&(figure, self.row(row)?))?.get(name)?;
        Some(median(found) as f64)
    }

    /// The worst ratio of an allocator to another in some rows, with the row.
    fn worst(&self, rows: &[&str], own: &str, other: &str) -> Option<(String, f64)> {
        let ratio = |row: &&str| {
            Some(((*row).to_owned(), self.value(TIME, row, own)? / self.value(TIME, row, other)?))
        };
        rows.iter().filter_map(ratio).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The rows in which an allocator is worse than a bound to the best.
    fn losers(&self, name: &str, bound: f64) -> Vec<String> {
        let lost = |(number, row): (usize, &String)| {
            let slack = if has_threads(row) { 1.3 } else { 1.0 };
            let ratio = *ratios(self.samples, TIME, number)?.1.get(name)?;
            (ratio > bound * slack).then(|| format!("{row} {ratio:.2}"))
        };
        self.rows.iter().enumerate().filter_map(lost).collect()
    }
}

fn line(text: &mut String, what: &str, found: Option<(String, bool)>) {
    if let Some((found, holds)) = found {
        *text += &format!("| {what} | {found} | {} |\n", if holds { '✓' } else { '✗' });
    }
}

fn at_most(found: Option<f64>, bound: f64, unit: &str) -> Option<(String, bool)> {
    found.map(|found| (format!("{found:.2}{unit}"), found <= bound))
}

/// The promises, in Markdown.
pub fn render(rows: &[String], samples: &Samples) -> String {
    let view = View { rows, samples };
    let ours = "millpond";
    let mut text = "\n| promise | found | |\n|---|---:|---|\n".to_owned();
    let of_mean = |figure, name, bound| at_most(mean(rows, samples, figure, name), bound, " ×");
    line(&mut text, "time, hardening on: ≤ 1.20 × the best", of_mean(TIME, ours, 1.2));
    line(&mut text, "time, hardening off: ≤ 1.10 × the best", of_mean(TIME, "unhardened", 1.1));
    for (name, what, bound) in [(ours, "on", 1.2), ("unhardened", "off", 1.1)] {
        let mean = at_most(mean_without_touch(rows, samples, name), bound, " ×");
        line(&mut text, &format!("the same without `freed-*`, hardening {what}"), mean);
    }
    line(&mut text, "peak RSS: ≤ 1.20 × the best", of_mean(PEAK, ours, 1.2));
    line(&mut text, "RSS 2 s after all is freed: ≤ 1.30 × the best", of_mean(LATER, ours, 1.3));
    let losers = view.losers(ours, 1.5);
    let named = if losers.is_empty() { "none".to_owned() } else { losers.join(", ") };
    line(&mut text, "rows above 1.5 × their best: none", Some((named, losers.is_empty())));
    let worst = |found: Option<(String, f64)>, bound| {
        found.map(|(row, ratio)| (format!("{row} {ratio:.2} ×"), ratio <= bound))
    };
    let small = view.worst(&SMALL, ours, "mimalloc2");
    line(&mut text, "small blocks, one thread: ≤ 1.1 × mimalloc 2", worst(small, 1.1));
    let growth = view.worst(&["growth-vec", "growth-string"], ours, "system");
    line(&mut text, "growth: ≤ 1.1 × glibc", worst(growth, 1.1));
    let mib = |figure, row, name| view.value(figure, row, name).map(|kib| kib / 1024.0);
    line(
        &mut text,
        "server, after 1.5 s: ≤ 90 MiB",
        at_most(mib(END, "server", ours), 90.0, " MiB"),
    );
    let difference =
        |(figure, row, name), (other, its)| Some(mib(figure, row, name)? - mib(other, row, its)?);
    let idle = difference((END, "idle-threads", ours), (START, ours));
    line(&mut text, "64 idle threads: ≤ 16 MiB above the start", at_most(idle, 16.0, " MiB"));
    let tiny = difference((PEAK, "tiny", ours), (PEAK, "system"));
    line(&mut text, "a tiny program: ≤ 2 MiB above glibc", at_most(tiny, 2.0, " MiB"));
    for row in ["server", "freed-95-later"] {
        // What the program had before it began is none of it.
        let grown = difference((END, row, ours), (START, ours));
        let ratio = || Some(grown? / mib(FLOOR, row, ours)?);
        let what = format!("{row}: ≤ 1.3 × the pages that hold a live block");
        line(&mut text, &what, at_most(ratio(), 1.3, " ×"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_loses_is_named_and_one_with_threads_has_some_slack() {
        let rows = ["mixed".to_owned(), "larson-4".to_owned(), "server".to_owned()];
        let mut samples = Samples::new();
        let mut put = |figure, row, name, value| {
            samples.entry((figure, row)).or_default().insert(name, vec![value]);
        };
        put(TIME, 0, "system", 100);
        put(TIME, 0, "millpond", 160);
        put(TIME, 1, "system", 100);
        put(TIME, 1, "millpond", 160);
        put(END, 2, "millpond", 91 << 10);
        put(START, 2, "millpond", 1 << 10);
        put(FLOOR, 2, "millpond", 80 << 10);
        let text = render(&rows, &samples);
        let find = |start: &str| text.lines().find(|line| line.starts_with(start));
        assert_eq!(
            find("| rows above"),
            Some("| rows above 1.5 × their best: none | mixed 1.60 | ✗ |")
        );
        assert!(find("| server, after").unwrap().ends_with("91.00 MiB | ✗ |"), "{text}");
        assert!(find("| server: ").unwrap().ends_with("1.12 × | ✓ |"), "{text}");
        assert!(find("| growth").is_none(), "what was not measured is not judged");
    }
}
