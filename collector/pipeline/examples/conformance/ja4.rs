//! nDPI's JA4 departs from `FoxIO`'s specification in a few characters, against its own other fields: no SNI is `d` with
//! it and `i` in the specification, the last character of the ALPN is its second one, the hash of an empty list is not
//! zeros, DTLS 1.3 is written `d2`, and a version that the specification has no name for `s3`. Those are put right by
//! nDPI's own fields before all of the fingerprint is compared, and counted.

use serde_json::Value;

use super::list;

/// nDPI's JA4 as the specification has it, by nDPI's own `sni` and `alpn_offered`.
pub(super) fn put_right(ja4: &str, flow: &Value) -> String {
    let mut text = ja4.replace("e3b0c44298fc", "000000000000");
    if list(flow, "supported_versions").any(|version| version == "DTLSv1.3") && text.starts_with("dd2") {
        text.replace_range(1..3, "d3");
    }
    // nDPI names no version for the number before DTLS 1.0.
    if flow["version"].is_null() && text.starts_with("ds3") {
        text.replace_range(1..3, "00");
    }
    if flow["sni"].is_null() && text.get(3..4) == Some("d") {
        text.replace_range(3..4, "i");
    }
    let ends = list(flow, "alpn_offered").next().and_then(Value::as_str).and_then(|name| {
        let (first, last) = (name.chars().next()?, name.chars().last()?);
        (first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric()).then(|| format!("{first}{last}"))
    });
    if let Some(ends) = ends
        && text.len() > 10
    {
        text.replace_range(8..10, &ends);
    }
    text
}
