//! Inline commands: a line of words, as a person types it into `nc`.
//!
//! Words are separated by white space. `"…"` keeps spaces and knows `\n \r \t \a \b \\ \"` and
//! `\xHH`; `'…'` knows only `\'`. A quote must end, and white space or the end must follow it.

use std::ops::Range;

/// Quotes that do not end, or that end in the middle of a word.
#[derive(Debug, PartialEq, Eq)]
pub struct Unbalanced;

/// Takes `line` apart. The words are appended to `text`, without their quotes, and where each lies
/// in it to `words`.
pub fn split(
    line: &[u8],
    text: &mut Vec<u8>,
    words: &mut Vec<Range<usize>>,
) -> Result<(), Unbalanced> {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Ok(());
        }
        let start = text.len();
        rest = word(rest, text)?;
        words.push(start..text.len());
    }
}

/// One word to `text`; what follows it.
fn word<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    while let [first, tail @ ..] = rest {
        match first {
            b'"' => return after_quote(double(tail, text)?),
            b'\'' => return after_quote(single(tail, text)?),
            byte if byte.is_ascii_whitespace() => break,
            byte => text.push(*byte),
        }
        rest = tail;
    }
    Ok(rest)
}

fn after_quote(rest: &[u8]) -> Result<&[u8], Unbalanced> {
    match rest.first() {
        Some(byte) if !byte.is_ascii_whitespace() => Err(Unbalanced),
        _ => Ok(rest),
    }
}

fn double<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, tail) = match rest {
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (nibble(*high) << 4 | nibble(*low), tail)
            }
            [b'\\', escaped, tail @ ..] => (unescape(*escaped), tail),
            [b'"', tail @ ..] => return Ok(tail),
            [byte, tail @ ..] => (*byte, tail),
            [] => return Err(Unbalanced),
        };
        text.push(byte);
        rest = tail;
    }
}

fn single<'a>(mut rest: &'a [u8], text: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        let (byte, tail) = match rest {
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [b'\'', tail @ ..] => return Ok(tail),
            [byte, tail @ ..] => (*byte, tail),
            [] => return Err(Unbalanced),
        };
        text.push(byte);
        rest = tail;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn nibble(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Vec<u8>>, Unbalanced> {
        let (mut text, mut words) = (Vec::new(), Vec::new());
        split(line.as_bytes(), &mut text, &mut words)?;
        Ok(words.into_iter().map(|range| text[range].to_vec()).collect())
    }

    #[test]
    fn words_are_separated_by_any_white_space() {
        assert_eq!(words("").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(words("  \t ").unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(words(" set  a\tb ").unwrap(), [b"set", &b"a"[..], b"b"]);
    }

    #[test]
    fn quotes_keep_spaces_and_know_escapes() {
        assert_eq!(
            words(r#""a b" '' "\x41\x6g\n\"\\" 'it\'s \n'"#).unwrap(),
            [&b"a b"[..], b"", b"Ax6g\n\"\\", b"it's \\n",]
        );
        // A quote may begin in the middle of a word, but ends it.
        assert_eq!(words(r#"a"b c""#).unwrap(), [b"ab c"]);
    }

    #[test]
    fn quotes_that_do_not_end_are_refused() {
        for line in [r#"""#, r#"a "b"#, r#""a"b"#, "'a", "'a'b", r#""a\"#] {
            assert_eq!(words(line), Err(Unbalanced), "{line}");
        }
    }
}
