//! Integers as Redis reads and writes them: one spelling for each number.
//!
//! `str::parse` would also take `+1`, `01` and `-0`. A value is the text that was stored, so a
//! counter that accepted them would change its spelling at the first INCR; Redis refuses them, in
//! arguments and in the protocol alike.

/// The number, if `text` is exactly how it would be written.
pub fn parse(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // Counted downwards: i64 reaches one further on that side.
    let mut value = 0_i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// `value` in decimal, at the end of `digits`. (`write!` costs several times as much, and each reply
/// has a number.)
pub fn format(value: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for value in [0, 1, -1, 9, 10, -10, 1234567890, i64::MAX, i64::MIN, i64::MIN + 1] {
            let mut digits = [0; 20];
            let text = format(value, &mut digits);
            assert_eq!(text, value.to_string().as_bytes());
            assert_eq!(parse(text), Some(value));
        }
    }

    #[test]
    fn other_spellings_and_other_texts_are_no_numbers() {
        let bad = ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1.0", "x", "1x", "--1"];
        let beyond = ["9223372036854775808", "-9223372036854775809", "99999999999999999999"];
        for text in bad.iter().chain(&beyond) {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
