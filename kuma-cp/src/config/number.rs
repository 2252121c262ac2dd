//! Numbers and booleans as environment variables spell them, with the error texts that users know.
//!
//! Numbers may have a prefix for their base (`0x`, `0o`, `0b`, or `0` for octal) and, then or in decimal, underscores
//! between digits.

/// One of the thirteen spellings of true and false.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(problem("ParseBool", text, "invalid syntax")),
    }
}

/// An unsigned number that fits in `bits` (at most 64).
pub(super) fn unsigned(text: &str, bits: u32) -> Result<u64, String> {
    let value = magnitude(text).ok_or_else(|| problem("ParseUint", text, "invalid syntax"))?;
    u64::try_from(value)
        .ok()
        .filter(|v| bits >= 64 || *v < 1 << bits)
        .ok_or_else(|| problem("ParseUint", text, "value out of range"))
}

/// A signed number that fits in `bits` (at most 64).
pub(super) fn signed(text: &str, bits: u32) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = magnitude(digits).ok_or_else(|| problem("ParseInt", text, "invalid syntax"))?;
    let value = i128::try_from(value).unwrap_or(i128::MAX) * if negative { -1 } else { 1 };
    let limit = 1_i128 << (bits.min(64) - 1);
    i64::try_from(value)
        .ok()
        .filter(|v| (-limit..limit).contains(&i128::from(*v)))
        .ok_or_else(|| problem("ParseInt", text, "value out of range"))
}

/// The digits as a number, saturating far above any type that is read; `None` when they are no number.
fn magnitude(text: &str) -> Option<u128> {
    let lower = text.to_ascii_lowercase();
    let (base, digits, prefixed) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest, true)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest, true)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest, true)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..], true)
    } else {
        (10, lower.as_str(), false)
    };
    // An underscore stands between digits; a prefix counts as a digit before it.
    let mut digit_before = prefixed;
    let (mut value, mut any) = (0_u128, false);
    for c in digits.chars() {
        if c == '_' {
            if !digit_before {
                return None;
            }
            digit_before = false;
            continue;
        }
        let digit = c.to_digit(base)?;
        value = value.saturating_mul(u128::from(base)).saturating_add(u128::from(digit));
        (digit_before, any) = (true, true);
    }
    (any && digit_before).then_some(value)
}

fn problem(function: &str, text: &str, what: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_base() {
        for (text, value) in [
            ("0", 0),
            ("42", 42),
            ("0x10", 16),
            ("010", 8),
            ("0o17", 15),
            ("0b11", 3),
            ("1_000", 1000),
            ("0x_ff", 255),
            ("65535", 65535),
        ] {
            assert_eq!(unsigned(text, 32), Ok(value), "{text}");
        }
        assert_eq!(signed("-5", 32), Ok(-5));
        assert_eq!(signed("+5", 64), Ok(5));
        assert_eq!(signed("-9223372036854775808", 64), Ok(i64::MIN));
        assert_eq!(unsigned("18446744073709551615", 64), Ok(u64::MAX));
    }

    #[test]
    fn what_is_no_number() {
        for text in ["", "x", "1.5", "_1", "1_", "1__0", "0x", "-1", " 1", "+1", "09"] {
            let expected = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            assert_eq!(unsigned(text, 32), Err(expected), "{text}");
        }
        let range = |t: &str, f: &str| format!("strconv.{f}: parsing {t:?}: value out of range");
        assert_eq!(unsigned("65536", 16), Err(range("65536", "ParseUint")));
        let huge = "9".repeat(60);
        assert_eq!(unsigned(&huge, 64), Err(range(&huge, "ParseUint")));
        assert_eq!(signed("2147483648", 32), Err(range("2147483648", "ParseInt")));
        assert_eq!(signed("-", 32), Err("strconv.ParseInt: parsing \"-\": invalid syntax".to_owned()));
    }

    #[test]
    fn booleans() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(text), Ok(true));
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(boolean(text), Ok(false));
        }
        for text in ["yes", "on", "tRUE", ""] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }
}
