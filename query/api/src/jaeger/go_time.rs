//! RFC 3339 as Go reads it (`time.RFC3339Nano`), with its error texts.

use jiff::civil::DateTime;

const LAYOUT: &str = "2006-01-02T15:04:05.999999999Z07:00";

/// UTC nanoseconds of `2026-11-24T08:00:00.123Z`. A `+` before an offset may have come as a space: Grafana leaves it
/// unencoded. What lies beyond the years 1677 to 2262 is cut to them.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let plain = text.replace(' ', "+");
    let mut cursor = Cursor { text, rest: &plain };
    let year = cursor.number(4, "2006")?;
    cursor.literal("-")?;
    let month = cursor.number(2, "01")?;
    cursor.literal("-")?;
    let day = cursor.number(2, "02")?;
    cursor.literal("T")?;
    let hour = cursor.number(2, "15")?;
    cursor.literal(":")?;
    let minute = cursor.number(2, "04")?;
    cursor.literal(":")?;
    let second = cursor.number(2, "05")?;
    let nanosecond = cursor.fraction();
    let offset_seconds = cursor.offset()?;
    if !cursor.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", cursor.rest));
    }
    let out_of_range = |what| format!("parsing time {text:?}: {what} out of range");
    for (value, limits, what) in [
        (month, 1..=12, "month"),
        (hour, 0..=23, "hour"),
        (minute, 0..=59, "minute"),
        (second, 0..=59, "second"),
        (day, 1..=31, "day"),
    ] {
        if !limits.contains(&value) {
            return Err(out_of_range(what));
        }
    }
    let [month, day, hour, minute, second] = [month, day, hour, minute, second].map(|part| part as i8);
    let civil = DateTime::new(year as i16, month, day, hour, minute, second, nanosecond)
        .map_err(|_| out_of_range("day"))?;
    let since_epoch = civil.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_nanos();
    let nanoseconds = since_epoch - i128::from(offset_seconds) * 1_000_000_000;
    Ok(nanoseconds.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

struct Cursor<'a> {
    /// As it was sent.
    text: &'a str,
    rest: &'a str,
}

impl Cursor<'_> {
    fn wrong(&self, expected: &str) -> String {
        format!("parsing time {:?} as {LAYOUT:?}: cannot parse {:?} as {expected:?}", self.text, self.rest)
    }

    fn number(&mut self, digits: usize, expected: &str) -> Result<i32, String> {
        let part = self.rest.get(..digits).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let number = part.and_then(|part| part.parse().ok()).ok_or_else(|| self.wrong(expected))?;
        self.rest = &self.rest[digits..];
        Ok(number)
    }

    fn literal(&mut self, expected: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(expected).ok_or_else(|| self.wrong(expected))?;
        Ok(())
    }

    /// Nanoseconds after the seconds' point, where there is one; further digits are cut.
    fn fraction(&mut self) -> i32 {
        let Some(after) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        if end == 0 {
            return 0;
        }
        self.rest = &after[end..];
        let mut nanoseconds = 0;
        for place in 0..9 {
            let digit = after.as_bytes()[..end].get(place).map_or(0, |digit| i32::from(digit - b'0'));
            nanoseconds = nanoseconds * 10 + digit;
        }
        nanoseconds
    }

    fn offset(&mut self) -> Result<i32, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let is_offset = bytes.len() >= 6
            && matches!(bytes[0], b'+' | b'-')
            && bytes[3] == b':'
            && [1, 2, 4, 5].iter().all(|&place: &usize| bytes[place].is_ascii_digit());
        if !is_offset {
            return Err(self.wrong("Z07:00"));
        }
        let two = |place: usize| i32::from(bytes[place] - b'0') * 10 + i32::from(bytes[place + 1] - b'0');
        let seconds = two(1) * 3600 + two(4) * 60;
        let seconds = if bytes[0] == b'-' { -seconds } else { seconds };
        self.rest = &self.rest[6..];
        Ok(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_all_their_digits() {
        for (text, nanoseconds) in [
            ("1970-01-01T00:00:01Z", 1_000_000_000),
            ("1970-01-01T00:00:00.000000007Z", 7),
            ("1970-01-01T02:00:00.5+02:00", 500_000_000),
            ("1970-01-01T02:00:00 02:00", 0),
            ("1969-12-31T19:00:00-05:00", 0),
            ("9999-12-31T23:59:59Z", i64::MAX),
            ("0001-01-01T00:00:00Z", i64::MIN),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn what_is_none_fails_in_go_s_words() {
        for (text, error) in [
            (
                "yesterday",
                r#"parsing time "yesterday" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "yesterday" as "2006""#,
            ),
            (
                "2026-11-24",
                r#"parsing time "2026-11-24" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "" as "T""#,
            ),
            (
                "2026-11-24T08:00:00",
                r#"parsing time "2026-11-24T08:00:00" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "" as "Z07:00""#,
            ),
            ("2026-13-24T08:00:00Z", r#"parsing time "2026-13-24T08:00:00Z": month out of range"#),
            ("2026-02-30T08:00:00Z", r#"parsing time "2026-02-30T08:00:00Z": day out of range"#),
            ("2026-02-03T08:00:00Zz", r#"parsing time "2026-02-03T08:00:00Zz": extra text: "z""#),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()));
        }
    }
}
