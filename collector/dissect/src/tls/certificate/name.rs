//! Distinguished names as text: RFC 4514, most specific first, with OpenSSL's short names for what that RFC leaves to
//! numbers, as Zeek writes them.

use std::fmt::Write as _;

use smol_str::SmolStr;
use x509_parser::der_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::X509Name;

const COMMON_NAME: &str = "2.5.4.3";

const SHORT_NAMES: [(&str, &str); 26] = [
    (COMMON_NAME, "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.18", "postOfficeBox"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// The name as one line of text.
pub(super) fn distinguished_name(name: &X509Name<'_>) -> SmolStr {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (index, part) in parts.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            let identifier = attribute.attr_type().to_id_string();
            match SHORT_NAMES.iter().find(|(known, _)| *known == identifier) {
                Some((_, name)) => text.push_str(name),
                None => text.push_str(&identifier),
            }
            text.push('=');
            match string(attribute.attr_value()) {
                Some(value) => escape(&value, &mut text),
                // RFC 4514 §2.4 wants its whole DER here; what tells them apart is the content.
                None => text.extend(["#", &hex::encode_upper(attribute.attr_value().data)]),
            }
        }
    }
    SmolStr::new(text)
}

/// What servers were called by before there were alternative names.
pub(super) fn common_names(name: &X509Name<'_>) -> Vec<SmolStr> {
    let names = name.iter_common_name().filter_map(|attribute| string(attribute.attr_value()));
    names.map(SmolStr::new).collect()
}

/// The text of any of ASN.1's kinds of string; `None` for what is none.
fn string(value: &Any<'_>) -> Option<String> {
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        // In practice what everybody put in was Latin-1.
        Tag::T61String => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units: Vec<u16> =
                bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            Some(String::from_utf16_lossy(&units))
        }
        Tag::UniversalString => Some(
            bytes
                .chunks_exact(4)
                .map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
                .map(|number| char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
        ),
        _ => None,
    }
}

/// RFC 4514 §2.4, and control characters by number, so that no name breaks a line.
fn escape(value: &str, into: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => into.extend(['\\', character]),
            '#' if index == 0 => into.push_str("\\#"),
            ' ' if index == 0 || index == last => into.push_str("\\ "),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    // Writing to a string can't fail.
                    let _ = write!(into, "\\{byte:02X}");
                }
            }
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_name_is_escaped() {
        let check = |value: &str, expected: &str| {
            let mut text = String::new();
            escape(value, &mut text);
            assert_eq!(text, expected, "{value:?}");
        };
        check("Facebook, Inc.", "Facebook\\, Inc.");
        check(" #a# ", "\\ #a#\\ ");
        check("#1", "\\#1");
        check("a\nb\0", "a\\0Ab\\00");
        check("Zürich", "Zürich");
        check("", "");
    }
}
