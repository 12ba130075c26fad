//! Durations as Go reads and writes them: `1.5ms`, `1h30m`, `100µs`.

/// Go's units, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds of a duration, with the error texts of Go's `time.ParseDuration`.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (is_negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, unit_ns)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total += u128::from(whole) * u128::from(*unit_ns) + part_of(fraction, *unit_ns);
        if total > 1 << 63 {
            return Err(invalid());
        }
        rest = after;
    }
    match i64::try_from(total) {
        Ok(total) => Ok(if is_negative { -total } else { total }),
        Err(_) if is_negative => Ok(i64::MIN),
        Err(_) => Err(invalid()),
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Nanoseconds of a decimal fraction of a unit; digits below a nanosecond of the largest unit say nothing.
fn part_of(fraction: &str, unit_ns: u64) -> u128 {
    let (mut nanoseconds, mut scale) = (0, 1_u128);
    for digit in fraction.bytes().take(18) {
        nanoseconds = nanoseconds * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    nanoseconds * u128::from(unit_ns) / scale
}

/// Go's `Duration.String()`: `1m2.5s`, `-1.5ms`, `0s`.
pub(crate) fn text(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    match size {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", decimal(size, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(size, 6)),
        _ => {
            let seconds = decimal(size % 60_000_000_000, 9);
            let minutes = size / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `size` / 10^places, without zeros at the end.
fn decimal(size: u64, places: usize) -> String {
    let one = 10_u64.pow(places as u32);
    let text = format!("{}.{:0places$}", size / one, size % one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("1.5ms", 1_500_000),
            ("100us", 100_000),
            ("100\u{b5}s", 100_000),
            ("100\u{3bc}s", 100_000),
            ("1h30m", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("-2s", -2_000_000_000),
            ("+3ns", 3),
            ("0.0000000001h", 360),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn what_is_none_fails_in_go_s_words() {
        for (text, error) in [
            ("20", r#"time: missing unit in duration "20""#),
            ("1.5x", r#"time: unknown unit "x" in duration "1.5x""#),
            ("abc", r#"time: invalid duration "abc""#),
            ("-", r#"time: invalid duration "-""#),
            (".s", r#"time: invalid duration ".s""#),
            ("9999999h", r#"time: invalid duration "9999999h""#),
            ("1s 2s", r#"time: unknown unit "s " in duration "1s 2s""#),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()));
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanoseconds, expected) in [
            (0, "0s"),
            (15, "15ns"),
            (-1_500_000, "-1.5ms"),
            (1_001, "1.001\u{b5}s"),
            (2_000_000_000, "2s"),
            (62_500_000_000, "1m2.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(text(nanoseconds), expected);
            assert_eq!(parse(expected), Ok(nanoseconds));
        }
    }
}
