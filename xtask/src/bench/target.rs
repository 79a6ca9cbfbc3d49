//! Targets: what Millpond has promised itself on a row, and whether it holds.
//!
//! A target is a bound on a ratio to a rival of the same run, or on the figure itself. Its verdict is computed from
//! the unrounded figures; the text shows the ratio to two digits, so `1.00 ✗` is possible and means what it says.

use super::row::{Column, Unit};

/// One promise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// At most so many times the rival's figure.
    AtMost(f64, Column),
    /// At least so many times the rival's figure.
    AtLeast(f64, Column),
    /// At most this, in the unit of the row.
    Below(f64),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// For the table: the promise, the ratio, and whether it holds.
    pub text: String,
    /// Mine over the rival's; `None` without a rival or a measurement.
    pub ratio: Option<f64>,
    /// `None` if something was not measured.
    pub holds: Option<bool>,
}

impl Target {
    /// Judges Millpond's figure. `rival` gives the figures of the others.
    pub fn judge(
        self,
        mine: Option<f64>,
        rival: impl Fn(Column) -> Option<f64>,
        unit: Unit,
    ) -> Verdict {
        let promise = self.promise(unit);
        let (ratio, holds, shown) = match self {
            Target::Below(limit) => {
                (None, mine.map(|mine| mine <= limit), mine.map(|mine| unit.show(mine)))
            }
            Target::AtMost(factor, column) | Target::AtLeast(factor, column) => {
                let ratio = mine.zip(rival(column)).map(|(mine, theirs)| mine / theirs);
                let at_most = matches!(self, Target::AtMost(..));
                let holds =
                    ratio.map(|ratio| if at_most { ratio <= factor } else { ratio >= factor });
                (ratio, holds, ratio.map(|ratio| format!("{ratio:.2}")))
            }
        };
        let text = match (holds, shown) {
            (Some(holds), Some(shown)) => {
                format!("{promise}: {shown} {}", if holds { "✓" } else { "✗" })
            }
            _ => format!("{promise}: not measured"),
        };
        Verdict { text, ratio, holds }
    }

    fn promise(self, unit: Unit) -> String {
        match self {
            Target::AtMost(factor, column) => format!("≤ {factor} × {}", column.title()),
            Target::AtLeast(factor, column) => format!("≥ {factor} × {}", column.title()),
            Target::Below(limit) => format!("≤ {}", unit.show(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(target: Target, mine: Option<f64>, go: Option<f64>) -> Verdict {
        let rival = |column| if column == Column::Go { go } else { None };
        target.judge(mine, rival, Unit::Nanoseconds)
    }

    #[test]
    fn a_ratio_is_mine_over_theirs() {
        let half = Target::AtMost(0.5, Column::Go);
        let verdict = judge(half, Some(43.0), Some(100.0));
        assert_eq!(verdict.text, "≤ 0.5 × Go: 0.43 ✓");
        assert_eq!((verdict.ratio, verdict.holds), (Some(0.43), Some(true)));
        assert_eq!(judge(half, Some(51.0), Some(100.0)).text, "≤ 0.5 × Go: 0.51 ✗");
        let more = Target::AtLeast(1.1, Column::Go);
        assert_eq!(judge(more, Some(110.0), Some(100.0)).holds, Some(true));
        assert_eq!(judge(more, Some(109.0), Some(100.0)).text, "≥ 1.1 × Go: 1.09 ✗");
    }

    #[test]
    fn a_miss_is_not_rounded_away() {
        let verdict = judge(Target::AtMost(1.0, Column::Go), Some(1001.0), Some(1000.0));
        assert_eq!(verdict.text, "≤ 1 × Go: 1.00 ✗");
    }

    #[test]
    fn an_absolute_target_needs_no_rival() {
        let verdict = judge(Target::Below(50.0), Some(48.0), None);
        assert_eq!((verdict.text.as_str(), verdict.ratio), ("≤ 50.0 ns: 48.0 ns ✓", None));
        assert_eq!(judge(Target::Below(50.0), Some(51.0), None).holds, Some(false));
    }

    #[test]
    fn what_was_not_measured_neither_holds_nor_fails() {
        for (mine, go) in [(None, Some(1.0)), (Some(1.0), None), (None, None)] {
            let verdict = judge(Target::AtMost(1.0, Column::Go), mine, go);
            assert_eq!((verdict.holds, verdict.ratio), (None, None));
            assert!(verdict.text.ends_with("not measured"));
        }
    }
}
