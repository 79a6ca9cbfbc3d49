//! What the process holds of the machine's memory.
//!
//! Resident pages *and* page tables: a runtime that touches one page in each of a million stacks pays for both, and
//! `VmRSS` alone would flatter it. Memory per item is the difference between before and after, divided by the
//! count; both are taken while all items are at rest, and the count is large enough for the rest of the process to
//! vanish.

/// `VmRSS + VmPTE` of this process, in bytes; 0 where there is no `/proc`.
pub fn footprint_bytes() -> u64 {
    footprint("self")
}

/// The same of another process; 0 if there is none of that number.
pub fn footprint_of(pid: u64) -> u64 {
    footprint(&pid.to_string())
}

fn footprint(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kilobytes = ["VmRSS:", "VmPTE:"].iter().map(|key| field(&status, key));
    kilobytes.sum::<u64>() * 1024
}

fn field(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// What each of `count` items has added since the footprint was `before`.
pub fn per_item_bytes(before: u64, count: u64) -> u64 {
    footprint_bytes().saturating_sub(before) / count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_is_seen() {
        let before = footprint_bytes();
        let block = vec![1_u8; 64 << 20];
        assert!(footprint_bytes() >= before + (block.len() as u64) / 2);
        assert!(per_item_bytes(before, 1 << 20) >= 32);
        assert!(footprint_of(u64::from(std::process::id())) > before);
        assert_eq!(footprint_of(u64::MAX), 0);
    }

    #[test]
    fn a_field_that_is_not_there_counts_as_nothing() {
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmRSS:"), 12);
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmPTE:"), 0);
    }
}
