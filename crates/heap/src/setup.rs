//! What happens once per process: reading the settings, and being told of `fork` and of the end.
//!
//! It runs when the first thread gets its cache, which in a Rust program is before `main`. The
//! settings are read in place, since copying them would allocate:
//!
//! - `MILLPOND_MEMORY_LIMIT`: bytes, or with `K`, `M`, `G` (`512MiB`); default: the least limit of the
//!   process's cgroups, or none. `0` and `max` are none. What cannot be understood is said, and is none.
//! - `MILLPOND_HEAP_CHECK`: the checked mode, see [`crate::checked`]. `0` and `off` are off; so is what cannot
//!   be understood, which is said.
//! - `MILLPOND_SCAVENGER`: `off` starts no thread that gives memory back; allocating threads do so in passing (see
//!   [`crate::scavenge`]). What cannot be understood is said, and is `on`.
//! - `MILLPOND_DEBUG`: `heap` prints the balance sheet at exit.

use crate::checked;
use crate::fork;
use crate::scavenge;
use crate::stats;
use millpond_sys::report::Report;
use millpond_sys::{arena, hooks};

/// See the module documentation. Called once, with the lock of the threads held.
pub fn process() {
    // First, since what is called for the others may allocate, and so start the thread.
    hooks::setting(c"MILLPOND_SCAVENGER", |text| match text.trim_ascii() {
        b"" | b"1" | b"on" => {}
        b"0" | b"off" => scavenge::without_thread(),
        text => {
            let text = std::str::from_utf8(text).unwrap_or("?");
            let mut report = Report::new();
            report.str("MILLPOND_SCAVENGER=").str(text).str(": `on` or `off` was expected; ");
            report.str("it is on now\n").send();
        }
    });
    let rate = hooks::setting(c"MILLPOND_HEAP_CHECK", |text| {
        let rate = checked::parse(text);
        if rate.is_none() && !matches!(text.trim_ascii(), b"" | b"0" | b"off") {
            let text = std::str::from_utf8(text).unwrap_or("?");
            let mut report = Report::new();
            report.str("MILLPOND_HEAP_CHECK=").str(text).str(": a number of allocations, `on` or ");
            report.str("`off` was expected; it is off now\n").send();
        }
        rate
    });
    checked::set_up(rate.flatten());
    let asked = hooks::setting(c"MILLPOND_MEMORY_LIMIT", |text| {
        let bytes = parse_bytes(text);
        if bytes.is_none() && !text.is_empty() {
            let text = std::str::from_utf8(text).unwrap_or("?");
            let mut report = Report::new();
            report.str("MILLPOND_MEMORY_LIMIT=").str(text).str(": a size such as 512MiB or 2G ");
            report.str("was expected; there is no limit now\n").send();
        }
        (!text.is_empty()).then(|| bytes.unwrap_or(u64::MAX))
    });
    let limit = asked.flatten().or_else(arena::cgroup_limit_bytes);
    scavenge::set_limit(limit.unwrap_or(u64::MAX));
    let has_word = |text: &[u8]| {
        text.split(|byte| b", ".contains(byte)).any(|word| word == b"heap" || word == b"all")
    };
    if hooks::setting(c"MILLPOND_DEBUG", has_word) == Some(true) {
        hooks::at_exit(stats::print);
    }
    hooks::at_fork(fork::before, fork::in_parent, fork::in_child);
}

/// A size with or without a unit.
pub(crate) fn parse_bytes(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    if text == b"max" {
        return Some(u64::MAX);
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number: u64 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    let shift = match text[digits..].trim_ascii() {
        b"" | b"B" | b"b" => 0,
        b"K" | b"k" | b"KB" | b"KiB" => 10,
        b"M" | b"m" | b"MB" | b"MiB" => 20,
        b"G" | b"g" | b"GB" | b"GiB" => 30,
        _ => return None,
    };
    let bytes = number.checked_mul(1 << shift)?;
    Some(if bytes == 0 { u64::MAX } else { bytes })
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_with_and_without_units() {
        assert_eq!(parse_bytes(b"512MiB"), Some(512 << 20));
        assert_eq!(parse_bytes(b" 2 G "), Some(2 << 30));
        assert_eq!(parse_bytes(b"65536"), Some(65_536));
        assert_eq!(parse_bytes(b"max"), Some(u64::MAX));
        assert_eq!(parse_bytes(b"0"), Some(u64::MAX));
        for bad in [&b""[..], b"K", b"-1", b"1.5M", b"9 cats", b"99999999999G"] {
            assert_eq!(parse_bytes(bad), None);
        }
    }
}
