//! Durations in the text form that Kuma's configuration, policies and tokens use: `1h30m`, `100ms`, `2m0s`.
//!
//! [`GoDuration`] reads the grammar of that form with its well-known error texts and prints its one canonical
//! spelling. It is a signed number of nanoseconds, so a negative or a zero duration is a value that the caller judges.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
/// The magnitude of the most negative value; one more than the largest positive one.
const LIMIT: u64 = 1 << 63;

/// A signed duration in nanoseconds whose text form is `1h0m0s`, `1.5s`, `100µs`, `0s`.
///
/// ```
/// use kuma_core::duration::GoDuration;
/// let parsed: GoDuration = "90m".parse().unwrap();
/// assert_eq!(parsed, GoDuration::from_secs(5400));
/// assert_eq!(parsed.to_string(), "1h30m0s");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

impl GoDuration {
    /// No time at all, printed `0s`.
    pub const ZERO: Self = Self(0);
    /// The longest duration that can be held, a little over 292 years.
    pub const MAX: Self = Self(i64::MAX);

    /// From a number of nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds; out of range becomes the nearest bound.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(MILLISECOND as i64))
    }

    /// From seconds; out of range becomes the nearest bound.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(SECOND as i64))
    }

    /// From minutes; out of range becomes the nearest bound.
    pub const fn from_mins(mins: i64) -> Self {
        Self(mins.saturating_mul(MINUTE as i64))
    }

    /// From hours; out of range becomes the nearest bound.
    pub const fn from_hours(hours: i64) -> Self {
        Self(hours.saturating_mul(HOUR as i64))
    }

    /// The number of nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds, rounded towards zero.
    pub const fn as_millis(self) -> i64 {
        self.0 / MILLISECOND as i64
    }

    /// Whole seconds, rounded towards zero.
    pub const fn as_secs(self) -> i64 {
        self.0 / SECOND as i64
    }

    /// Is it exactly zero?
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Is it more than zero?
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Is it less than zero?
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// As an unsigned standard duration; a negative one becomes zero.
    pub const fn to_std(self) -> Duration {
        if self.0 < 0 { Duration::ZERO } else { Duration::from_nanos(self.0 as u64) }
    }
}

impl From<GoDuration> for Duration {
    /// A negative duration becomes zero.
    fn from(value: GoDuration) -> Self {
        value.to_std()
    }
}

impl From<Duration> for GoDuration {
    /// Longer than [`GoDuration::MAX`] becomes that.
    fn from(value: Duration) -> Self {
        Self(i64::try_from(value.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// Why a text is no duration. The texts are what users see in the answers of the API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form at all, or out of range.
    #[error("time: invalid duration {}", quoted(.0))]
    Invalid(String),
    /// A number with a unit that does not exist.
    #[error("time: unknown unit {} in duration {}", quoted(.unit), quoted(.text))]
    UnknownUnit {
        /// The unit as written.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// A number without a unit; only a bare `0` needs none.
    #[error("time: missing unit in duration {}", quoted(.0))]
    MissingUnit(String),
}

/// In double quotes; quotes and backslashes escaped, every byte outside printable ASCII as `\xNN`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', byte as char]),
            b' '..=0x7f => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// The digits at the front of `text` as a number, and what follows them. `None` when they exceed [`LIMIT`].
fn leading_integer(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let mut value: u64 = 0;
    for digit in digits.bytes() {
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        if value > LIMIT {
            return None;
        }
    }
    Some((value, rest))
}

/// The digits after a decimal point as (value, scale), so that the fraction is value / scale, and what follows them.
/// Digits beyond what fits are dropped: they are below a nanosecond for every unit.
fn leading_fraction(text: &str) -> (u64, f64, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let (mut value, mut scale) = (0_u64, 1.0);
    for digit in digits.bytes() {
        let Some(next) = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0'))) else { break };
        if next > LIMIT {
            break;
        }
        value = next;
        scale *= 10.0;
    }
    (value, scale, rest)
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // Plain u, the micro sign U+00B5, and the Greek letter U+03BC.
        "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        _ => return None,
    })
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let before = rest;
            let (whole, after) = leading_integer(rest).ok_or_else(invalid)?;
            rest = after;
            let mut digits_seen = rest.len() < before.len();
            let (mut fraction, mut scale) = (0, 1.0);
            if let Some(after) = rest.strip_prefix('.') {
                (fraction, scale, rest) = leading_fraction(after);
                digits_seen |= rest.len() < after.len();
            }
            if !digits_seen {
                return Err(invalid());
            }
            let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
            if end == 0 {
                return Err(DurationError::MissingUnit(text.to_owned()));
            }
            let (unit, after) = rest.split_at(end);
            rest = after;
            let nanos = unit_nanos(unit)
                .ok_or_else(|| DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
            let mut part = whole.checked_mul(nanos).filter(|v| *v <= LIMIT).ok_or_else(invalid)?;
            if fraction > 0 {
                part = part.saturating_add((fraction as f64 * (nanos as f64 / scale)) as u64);
            }
            total = total.checked_add(part).filter(|v| *v <= LIMIT).ok_or_else(invalid)?;
        }
        if negative {
            // -LIMIT is the one value whose magnitude has no positive counterpart.
            return Ok(Self((total as i64).wrapping_neg()));
        }
        i64::try_from(total).map(Self).map_err(|_| invalid())
    }
}

/// `value / 10^digits` without trailing zeros: `1.5`, `100`, `0.001`.
fn write_decimal(f: &mut fmt::Formatter<'_>, value: u64, digits: usize) -> fmt::Result {
    let scale = 10_u64.pow(digits as u32);
    write!(f, "{}", value / scale)?;
    let fraction = format!("{:0digits$}", value % scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        if value == 0 {
            return f.write_str("0s");
        }
        if value < MICROSECOND {
            return write!(f, "{value}ns");
        }
        if value < MILLISECOND {
            write_decimal(f, value, 3)?;
            return f.write_str("µs");
        }
        if value < SECOND {
            write_decimal(f, value, 6)?;
            return f.write_str("ms");
        }
        let (hours, minutes) = (value / HOUR, value % HOUR / MINUTE);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write_decimal(f, value % MINUTE, 9)?;
        f.write_str("s")
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    /// From text only: a bare number is refused, as it says nothing about its unit.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"10s\" or \"1h30m\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<i64, String> {
        text.parse::<GoDuration>().map(GoDuration::as_nanos).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_every_unit_sign_and_fraction() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("30m", 1_800_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("-2m3.4s", -123_400_000_000),
            ("10ns", 10),
            ("11us", 11_000),
            ("12µs", 12_000),
            ("12μs", 12_000),
            ("13ms", 13_000_000),
            ("39h9m14.425s", 140_954_425_000_000),
            ("52763797000ns", 52_763_797_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("9223372036s854ms775us807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
            ("0.100000000000000000000h", 360_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong_in_the_known_words() {
        for (text, message) in [
            ("", r#"time: invalid duration """#),
            ("x", r#"time: invalid duration "x""#),
            ("-", r#"time: invalid duration "-""#),
            (".", r#"time: invalid duration ".""#),
            ("-.", r#"time: invalid duration "-.""#),
            (".s", r#"time: invalid duration ".s""#),
            ("+.s", r#"time: invalid duration "+.s""#),
            ("1h-5m", r#"time: unknown unit "h-" in duration "1h-5m""#),
            ("10", r#"time: missing unit in duration "10""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("10 s", r#"time: unknown unit " s" in duration "10 s""#),
            (" 1s", r#"time: invalid duration " 1s""#),
            ("1a\"b", r#"time: unknown unit "a\"b" in duration "1a\"b""#),
            ("3µ", r#"time: unknown unit "\xc2\xb5" in duration "3\xc2\xb5""#),
            ("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#),
            ("9223372036854775.808us", r#"time: invalid duration "9223372036854775.808us""#),
            ("-9223372036854775809ns", r#"time: invalid duration "-9223372036854775809ns""#),
            ("3000000h", r#"time: invalid duration "3000000h""#),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn prints_one_canonical_form() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (100_000, "100µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (3_600_000_000_000, "1h0m0s"),
            (60_000_000_000, "1m0s"),
            (480_000_000_001, "8m0.000000001s"),
            (-1_500_000_000, "-1.5s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(GoDuration::from_nanos(nanos).to_string(), text);
            assert_eq!(parse(text), Ok(nanos), "reads back {text}");
        }
    }

    #[test]
    fn is_text_in_json() {
        let value: GoDuration = serde_json::from_str(r#""1h30m""#).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), r#""1h30m0s""#);
        let error = serde_json::from_str::<GoDuration>("10").unwrap_err().to_string();
        assert!(error.contains("expected a duration such as"), "{error}");
        let error = serde_json::from_str::<GoDuration>(r#""10""#).unwrap_err().to_string();
        assert!(error.starts_with(r#"time: missing unit in duration "10""#), "{error}");
    }

    #[test]
    fn meets_the_standard_type() {
        assert_eq!(GoDuration::from_millis(1500).to_std(), Duration::from_millis(1500));
        assert_eq!(GoDuration::from_secs(-1).to_std(), Duration::ZERO);
        assert_eq!(GoDuration::from(Duration::MAX), GoDuration::MAX);
        assert_eq!(GoDuration::from_hours(i64::MAX), GoDuration::MAX);
    }
}
