//! Trace ids in all the forms that people send: hex of any case with or without leading zeros, or base64.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// 128 bits; older clients fill the lower half only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TraceId(u128);

impl TraceId {
    /// Out of bytes, whose missing leading ones are zeros.
    pub(crate) fn of_bytes(bytes: &[u8]) -> TraceId {
        TraceId(bytes.iter().fold(0, |id, &byte| id << 8 | u128::from(byte)))
    }

    /// 16 bytes.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    /// Reads 1 to 32 hex digits.
    pub(crate) fn parse_hex(text: &str) -> Result<TraceId, String> {
        if text.len() > 32 {
            return Err(format!("TraceID cannot be longer than 32 hex characters: {text}"));
        }
        // Jaeger reads the halves one by one, and complains of the half.
        let (high, low) = text.as_bytes().split_at(text.len().saturating_sub(16));
        let high = if high.is_empty() { 0 } else { half(high)? };
        Ok(TraceId(u128::from(high) << 64 | u128::from(half(low)?)))
    }

    /// Reads hex, or else base64.
    pub(crate) fn parse(text: &str) -> Result<TraceId, String> {
        const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true);
        TraceId::parse_hex(text).or_else(|not_hex| {
            // 128 bits are 24 letters with padding.
            if text.len() > 24 {
                return Err(not_hex);
            }
            let decoded = [STANDARD, URL_SAFE]
                .iter()
                .find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok());
            match decoded {
                Some(bytes) if matches!(bytes.len(), 8 | 16) => Ok(TraceId::of_bytes(&bytes)),
                Some(_) => Err("invalid length for TraceID".to_owned()),
                None => Err(not_hex),
            }
        })
    }

    /// No trace has this id.
    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// 32 digits: the form of v3 and of the `trace_id` column.
    pub(crate) fn long(self) -> String {
        format!("{:032x}", self.0)
    }

    /// The form of v1: 16 digits where they are enough.
    pub(crate) fn short(self) -> String {
        if self.0 >> 64 == 0 { format!("{:016x}", self.0) } else { self.long() }
    }
}

fn half(digits: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(digits);
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let number = is_hex.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
    number.ok_or_else(|| format!("strconv.ParseUint: parsing {text:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_every_form() {
        let long = "00112233445566778899aabbccddeeff";
        for text in
            [long, "112233445566778899AABBCCDDEEFF", "ABEiM0RVZneImaq7zN3u/w==", "ABEiM0RVZneImaq7zN3u_w"]
        {
            assert_eq!(TraceId::parse(text).map(TraceId::long), Ok(long.to_owned()), "{text}");
        }
        assert_eq!(
            TraceId::parse("1f").map(TraceId::long),
            Ok("0000000000000000000000000000001f".to_owned())
        );
    }

    #[test]
    fn v1_writes_no_more_digits_than_needed() {
        assert_eq!(TraceId::parse("1f").map(TraceId::short), Ok("000000000000001f".to_owned()));
        let long = "00000000000000010000000000000000";
        assert_eq!(TraceId::parse(long).map(TraceId::short), Ok(long.to_owned()));
    }

    #[test]
    fn what_is_no_id_fails_in_jaeger_s_words() {
        let too_long = "0".repeat(33);
        for (text, error) in [
            ("", r#"strconv.ParseUint: parsing "": invalid syntax"#.to_owned()),
            ("no such id!", r#"strconv.ParseUint: parsing "no such id!": invalid syntax"#.to_owned()),
            (
                "x0112233445566778899aabbccddeeff",
                r#"strconv.ParseUint: parsing "x011223344556677": invalid syntax"#.to_owned(),
            ),
            (&too_long, format!("TraceID cannot be longer than 32 hex characters: {too_long}")),
        ] {
            assert_eq!(TraceId::parse_hex(text), Err(error));
        }
        assert_eq!(TraceId::parse("zzzz"), Err("invalid length for TraceID".to_owned()));
        assert_eq!(TraceId::parse("0").map(TraceId::is_zero), Ok(true));
    }
}
