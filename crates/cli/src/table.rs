//! Figures for people: two columns, and numbers with a unit that fits.
//!
//! JSON gives the same figures to programs, in base units (ns, bytes); the names are the keys that
//! the commands use there.

use std::fmt::Write;

/// A table of two columns.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<(String, String)>);

impl Table {
    pub(crate) fn row(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// The names flush left, the values flush right.
    pub(crate) fn text(&self) -> String {
        let widest = |of: fn(&(String, String)) -> &String| {
            self.0.iter().map(|row| of(row).chars().count()).max().unwrap_or(0)
        };
        let (left, right) = (widest(|row| &row.0), widest(|row| &row.1));
        let mut text = String::new();
        for (name, value) in &self.0 {
            let _ = writeln!(text, "{name:<left$}  {value:>right$}");
        }
        text
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// Bytes, in the largest binary unit that leaves at least 10.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{} B", count(bytes)),
        10_240..10_485_760 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        10_485_760..10_737_418_240 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// Nanoseconds, in the largest unit that leaves at least 10.
pub(crate) fn nanos(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{} ns", count(ns)),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_groups_and_units() {
        assert_eq!([count(0), count(999), count(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!(
            [bytes(4_096), bytes(10_240), bytes(673_185_792)],
            ["4,096 B", "10.0 KiB", "642.0 MiB"]
        );
        assert_eq!(
            [nanos(850), nanos(12_345), nanos(60_000_000_000)],
            ["850 ns", "12.3 us", "60.0 s"]
        );
    }

    #[test]
    fn columns_line_up() {
        let text = Table::default().row("a", "1").row("long name", "23").text();
        assert_eq!(text, "a           1\nlong name  23\n");
    }
}
