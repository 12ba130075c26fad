//! JA4 of a TLS client, after `FoxIO`'s specification of JA4 (BSD 3-Clause).
//!
//! `t13d1516h2_8daaf6152771_e5627efa2ab1`: transport, version, whether there is an SNI, how many ciphers and
//! extensions, first and last character of the first ALPN; then hashes of the sorted ciphers, and of the sorted
//! extensions with the signature algorithms in their own order. The rest of JA4+ has another licence: not here.

use sha2::{Digest, Sha256};
use smol_str::{SmolStr, format_smolstr};

use super::Carrier;
use super::hello::{ClientHello, extension};
use super::names::is_grease;

/// JA4 of a client over TCP.
pub fn ja4(hello: &ClientHello<'_>) -> SmolStr {
    ja4_over(hello, Carrier::Tcp)
}

/// JA4 of a client over what carried its hello.
pub fn ja4_over(hello: &ClientHello<'_>, carrier: Carrier) -> SmolStr {
    let (head, ciphers, extensions) = parts(hello, carrier);
    format_smolstr!("{head}_{}_{}", hash12(&ciphers), hash12(&extensions))
}

/// JA4 over TCP with the lists in clear instead of their hashes (JA4's raw form), for people and for tests.
pub fn ja4_text(hello: &ClientHello<'_>) -> String {
    let (head, ciphers, extensions) = parts(hello, Carrier::Tcp);
    format!("{head}_{ciphers}_{extensions}")
}

fn parts(hello: &ClientHello<'_>, carrier: Carrier) -> (String, String, String) {
    let mut ciphers: Vec<u16> = hello.ciphers.iter().copied().filter(|cipher| !is_grease(*cipher)).collect();
    let mut extensions: Vec<u16> =
        hello.extensions.iter().map(|(number, _)| *number).filter(|number| !is_grease(*number)).collect();
    let head = format!(
        "{}{}{}{:02}{:02}{}",
        match carrier {
            Carrier::Tcp => 't',
            Carrier::Quic => 'q',
            Carrier::Dtls => 'd',
        },
        version(hello, carrier),
        if hello.extension(extension::SERVER_NAME).is_some() { 'd' } else { 'i' },
        ciphers.len().min(99),
        extensions.len().min(99),
        alpn(hello.alpn().first().copied().unwrap_or_default()),
    );

    ciphers.sort_unstable();
    extensions.retain(|number| !matches!(*number, extension::SERVER_NAME | extension::ALPN));
    extensions.sort_unstable();
    let mut extensions = hex_list(&extensions);
    let signatures: Vec<u16> =
        hello.signature_algorithms().into_iter().filter(|algorithm| !is_grease(*algorithm)).collect();
    if !signatures.is_empty() {
        extensions.push('_');
        extensions.push_str(&hex_list(&signatures));
    }
    (head, hex_list(&ciphers), extensions)
}

fn version(hello: &ClientHello<'_>, carrier: Carrier) -> &'static str {
    let versions = hello.supported_versions().unwrap_or_default().into_iter();
    // DTLS counts down.
    let highest = if carrier == Carrier::Dtls { versions.min() } else { versions.max() };
    match highest.unwrap_or(hello.legacy_version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        0xfefc => "d3",
        0xfefd => "d2",
        0xfeff => "d1",
        _ => "00",
    }
}

/// First and last character of a protocol's name; where one of them is not alphanumeric, those of its hex form.
fn alpn(name: &[u8]) -> String {
    match (name.first(), name.last()) {
        (Some(first), Some(last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => {
            format!("{}{}", *first as char, *last as char)
        }
        (Some(first), Some(last)) => {
            let (first, last) = (format!("{first:02x}"), format!("{last:02x}"));
            format!("{}{}", &first[..1], &last[1..])
        }
        _ => "00".to_owned(),
    }
}

fn hex_list(values: &[u16]) -> String {
    // By hand: formatting each number is half of what a fingerprint costs.
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(values.len() * 5);
    for (nth, value) in values.iter().enumerate() {
        if nth > 0 {
            text.push(',');
        }
        text.extend([12, 8, 4, 0].map(|shift| char::from(DIGITS[usize::from(value >> shift & 0xf)])));
    }
    text
}

/// The first 12 hex digits of SHA-256, or zeros for an empty list.
fn hash12(text: &str) -> SmolStr {
    if text.is_empty() {
        return SmolStr::new_static("000000000000");
    }
    SmolStr::new(hex::encode(&Sha256::digest(text.as_bytes())[..6]))
}
