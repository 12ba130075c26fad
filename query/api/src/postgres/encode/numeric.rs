//! PostgreSQL's binary `numeric`: digits in base 10,000, and where the point is.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

/// Writes a decimal number that is given as digits with an optional sign and point; anything else is NaN.
pub(super) fn binary(text: &str, to: &mut BytesMut) {
    let (sign, digits) = text.strip_prefix('-').map_or((0, text), |digits| (0x4000, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number =
        !whole.is_empty() && [whole, fraction].iter().all(|part| part.bytes().all(|c| c.is_ascii_digit()));
    if !is_number {
        for part in [0, 0, 0xc000, 0] {
            to.put_u16(part);
        }
        return;
    }
    let whole = whole.trim_start_matches('0');
    // Groups of four, counted from the point.
    let before = whole.len().div_ceil(4);
    let after = fraction.len().div_ceil(4);
    let padded = format!("{whole:0>before$}{fraction:0<after$}", before = before * 4, after = after * 4);
    let mut groups: Vec<u16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, c| sum * 10 + u16::from(c - b'0')))
        .collect();
    let mut weight = before as i16 - 1;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    to.put_u16(groups.len() as u16);
    to.put_i16(if groups.is_empty() { 0 } else { weight });
    to.put_u16(if groups.is_empty() { 0 } else { sign });
    to.put_u16(fraction.len() as u16);
    for group in groups {
        to.put_u16(group);
    }
}

/// Reads one as digits; `None` where it is none.
pub(in crate::postgres) fn digits(bytes: &[u8]) -> Option<String> {
    let mut parts = bytes.chunks_exact(2).map(|part| u16::from_be_bytes([part[0], part[1]]));
    let (count, weight, sign, scale) = (parts.next()?, parts.next()? as i16, parts.next()?, parts.next()?);
    let groups: Vec<u16> = parts.collect();
    // A number far from the point is as long as it is far; nobody means such.
    let is_known = groups.len() == usize::from(count) && [0, 0x4000].contains(&sign) && scale <= 1_000;
    if !is_known || weight.unsigned_abs() > 250 || groups.iter().any(|group| *group > 9_999) {
        return None;
    }
    let group = |at: i16| groups.get(usize::try_from(weight - at).ok()?).copied();
    let mut whole = String::new();
    for at in (0..=weight).rev() {
        let _ = write!(whole, "{:04}", group(at).unwrap_or_default());
    }
    let trimmed = whole.trim_start_matches('0').len();
    whole.drain(..whole.len() - trimmed);
    let after = usize::from(scale).div_ceil(4) as i16;
    let mut fraction = String::new();
    for at in 1..=after {
        let _ = write!(fraction, "{:04}", group(-at).unwrap_or_default());
    }
    fraction.truncate(scale.into());
    let sign = if sign == 0 { "" } else { "-" };
    let whole = if whole.is_empty() { "0" } else { &whole };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_as_it_went() {
        for text in [
            "0",
            "1",
            "-1",
            "9999",
            "10000",
            "18446744073709551615",
            "0.5",
            "-0.0001",
            "123456.789",
            "1.00",
            "100000000",
        ] {
            let mut bytes = BytesMut::new();
            binary(text, &mut bytes);
            assert_eq!(digits(&bytes).as_deref(), Some(text));
        }
    }

    /// From PostgreSQL 15: `SELECT encode(numeric_send(12345.678), 'hex')`.
    #[test]
    fn the_bytes_are_postgresqls() {
        let mut bytes = BytesMut::new();
        binary("12345.678", &mut bytes);
        assert_eq!(hex::encode(&bytes), "0003000100000003000109291a7c");
        for wrong in [&b""[..], b"\0\x01", b"\0\x05\0\0\0\0\0\0", b"\0\x01\x7f\xff\0\0\0\0\0\x01"] {
            assert_eq!(digits(wrong), None, "{wrong:?}");
        }
    }
}
