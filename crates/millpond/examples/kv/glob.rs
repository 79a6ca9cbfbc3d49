//! Patterns of keys: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character that means itself.
//!
//! A star first matches nothing, and takes one more byte each time the rest does not fit. Only the
//! last star needs to be gone back to: what an earlier one could take, the last one can take too.
//! So a pattern costs at most its length times that of the key. (Redis' own goes back to all of
//! them, which takes exponential time for `a*a*a*a*b`.)

/// Whether all of `text` fits.
pub fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // After the last star: the pattern there, and the text that it has not taken.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            star = Some((rest, text));
            pattern = rest;
            continue;
        }
        let fits = match text.split_first() {
            None if pattern.is_empty() => return true,
            // The star can only take more of the text, and there is none.
            None => return false,
            Some((&byte, text_rest)) => one(pattern, byte).map(|rest| (rest, text_rest)),
        };
        match (fits, star) {
            (Some(rest), _) => (pattern, text) = rest,
            (None, Some((after, [_, left @ ..]))) => {
                star = Some((after, left));
                (pattern, text) = (after, left);
            }
            (None, _) => return false,
        }
    }
}

/// Whether the first element of the pattern, which is no star, fits: then what follows it.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', literal, rest @ ..] => (*literal == byte).then_some(rest),
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// A class after its `[`. Without `]` it ends with the pattern.
fn class(mut rest: &[u8], byte: u8) -> Option<&[u8]> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let mut found = false;
    loop {
        match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', literal, after @ ..] => {
                found |= *literal == byte;
                rest = after;
            }
            [from, b'-', to, after @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest = after;
            }
            [literal, after @ ..] => {
                found |= *literal == byte;
                rest = after;
            }
        }
    }
    (found != negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_all_of_the_text() {
        let yes = [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abcbc"),
            ("*a*b*", "xxaxxbxx"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[a-b]llo", "hbllo"),
            ("h[b-a]llo", "hallo"),
            ("[\\]]", "]"),
            ("\\*", "*"),
            ("a\\", "a\\"),
            ("[a", "a"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        let no = [
            ("", "a"),
            ("?", ""),
            ("a*c", "abcb"),
            ("h[^e]llo", "hello"),
            ("h[a-b]llo", "hcllo"),
            ("\\*", "a"),
            ("abc", "ab"),
            ("[]", "a"),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn a_malicious_pattern_takes_no_longer_than_others() {
        let (pattern, text) = ("a*".repeat(1000) + "b", "a".repeat(10_000));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }
}
