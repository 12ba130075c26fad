//! Times in requests and answers: RFC 3339 in and out, nanoseconds inside.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{Span, Timestamp};

/// Now, UTC nanoseconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

/// `2026-11-24T08:00:00.123456789Z`.
pub(crate) fn text(nanoseconds: i64) -> String {
    match Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => nanoseconds.to_string(),
    }
}

/// Reads RFC 3339, `now`, or a time ago (`15m`, `1h`, `7d`, `1h30m`).
pub(crate) fn parse(text: &str, now: i64) -> Result<i64, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    // A plus sign in a query string arrives as a space.
    if let Ok(time) = text.replace(' ', "+").parse::<Timestamp>() {
        return i64::try_from(time.as_nanosecond()).map_err(|_| format!("{text:?} is too far away"));
    }
    let ago = text.strip_suffix("ago").unwrap_or(text).trim();
    if let Ok(span) = ago.parse::<Span>()
        && let Ok(ago) = span.total((jiff::Unit::Nanosecond, jiff::SpanRelativeTo::days_are_24_hours()))
    {
        return Ok(now - ago.abs() as i64);
    }
    Err(format!("{text:?} is no time: RFC 3339 (2026-11-24T08:00:00Z) or how long ago (15m, 1h, 7d)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = 1_000_000_000_000_000_000;
        assert_eq!(parse("1h", now), Ok(now - 3_600_000_000_000));
        assert_eq!(parse("7d", now), Ok(now - 7 * 86_400_000_000_000));
        assert_eq!(parse("1970-01-01T00:00:01Z", now), Ok(1_000_000_000));
        assert_eq!(parse("1970-01-01T02:00:01 02:00", now), Ok(1_000_000_000));
        assert!(parse("yesterday-ish", now).is_err());
    }

    #[test]
    fn times_are_written_with_all_their_digits() {
        assert_eq!(text(1_000_000_001), "1970-01-01T00:00:01.000000001Z");
    }
}
