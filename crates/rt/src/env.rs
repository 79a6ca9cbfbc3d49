//! The environment: `MILLPOND_PROCS`, `MILLPOND_STACK`, `MILLPOND_DEBUG`.
//!
//! - `MILLPOND_PROCS`: how many Ps, 1 to 512. Default: the processors that affinity and cgroup allow.
//! - `MILLPOND_STACK`: stack of a goroutine, in bytes or with `K`, `KiB`, `M`, `MiB`. Default: 64 KiB,
//!   256 KiB in debug builds.
//! - `MILLPOND_DEBUG`: a list of words. `stuck` reports goroutines that block their thread; `guard`
//!   says at start how stacks are guarded; `heap` prints the allocator's balance sheet at exit, if the
//!   allocator is Millpond's (which reads the word itself); `heap-usr1` and `heap-usr2` are for the library of
//!   `millpond-malloc`; `all` is all that change nothing.
//! - `MILLPOND_WARM`: how many stacks of parked goroutines each M keeps warm. Default: 1024.
//!
//! `MILLPOND_GUARD` and `MILLPOND_REST` are read by the stack pool. A number or size that cannot be
//! understood is an error that names it, never silently the default; an unknown word is said. An empty
//! value is none.

use std::sync::OnceLock;

/// The most Ps that a runtime has.
pub(crate) const MAX_PROCS: usize = 512;

/// What `MILLPOND_DEBUG` may contain.
const WORDS_KNOWN: [&str; 6] = ["stuck", "guard", "heap", "heap-usr1", "heap-usr2", "all"];

/// Whether `MILLPOND_DEBUG` contains `word`. Read once.
pub(crate) fn debug(word: &str) -> bool {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    WORDS
        .get_or_init(|| {
            let value = std::env::var("MILLPOND_DEBUG").unwrap_or_default();
            let words = value.split([',', ' ']).filter(|word| !word.is_empty());
            let (known, unknown): (Vec<_>, Vec<_>) =
                words.map(str::to_owned).partition(|word| WORDS_KNOWN.contains(&word.as_str()));
            if !unknown.is_empty() {
                crate::say::line(format_args!(
                    "MILLPOND_DEBUG: {} is not a word of it: expected {}",
                    unknown.join(", "),
                    WORDS_KNOWN.join(", ")
                ));
            }
            known
        })
        .iter()
        .any(|known| known == word || known == "all")
}

/// `MILLPOND_PROCS`, if set.
pub(crate) fn procs() -> Result<Option<usize>, String> {
    read("MILLPOND_PROCS", |text| {
        text.parse()
            .ok()
            .filter(|n| (1..=MAX_PROCS).contains(n))
            .ok_or_else(|| format!("a number from 1 to {MAX_PROCS} was expected"))
    })
}

/// `MILLPOND_STACK`, if set, in bytes.
pub(crate) fn stack_bytes() -> Result<Option<usize>, String> {
    read("MILLPOND_STACK", |text| {
        parse_bytes(text).ok_or_else(|| "a size such as 65536, 64K or 1MiB was expected".into())
    })
}

/// `MILLPOND_WARM`, if set.
pub(crate) fn warm_stacks() -> Result<Option<usize>, String> {
    read("MILLPOND_WARM", |text| text.parse().map_err(|_| "a number was expected".into()))
}

fn read<T>(name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    match std::env::var(name) {
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(format!("{name}: {error}")),
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => match parse(text.trim()) {
            Ok(value) => Ok(Some(value)),
            Err(wanted) => Err(format!("{name}={text}: {wanted}")),
        },
    }
}

fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_shl(shift).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_with_and_without_units() {
        assert_eq!(parse_bytes("65536"), Some(65_536));
        assert_eq!(parse_bytes("64K"), Some(65_536));
        assert_eq!(parse_bytes("1 MiB"), Some(1 << 20));
        for bad in ["", "K", "0", "-1", "64 cats", "1.5M"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
