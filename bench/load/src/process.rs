//! The processor time of another process, from `/proc/PID/stat`.
//!
//! It counts all threads, those that have ended included. The kernel scales it to what the scheduler has measured in
//! nanoseconds, and shows it in ticks of ten milliseconds: two seconds of two processors are known to a quarter of a
//! per cent.

use std::io;

/// How long a tick is. `USER_HZ` is 100 on every x86-64 kernel.
const TICK_NS: u64 = 10_000_000;

/// User and system time of the process, in nanoseconds.
pub(crate) fn cpu_ns(pid: u64) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat)
        .map(|ticks| ticks * TICK_NS)
        .ok_or_else(|| io::Error::other(format!("not understood: {stat}")))
}

/// Fields 14 and 15. The name, in parentheses, may hold spaces.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name() {
        assert_eq!(ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 30 12 13"), Some(42));
        assert_eq!(ticks("7 (a) S 1"), None);
        assert!(cpu_ns(u64::from(std::process::id())).is_ok());
    }
}
