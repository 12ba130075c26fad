//! An end's certificate (RFC 5280), as a bystander reads it: who it says it is, who says so, until when.
//!
//! Nothing is validated: no chain, no date, no revocation. A certificate that can't be parsed keeps its fingerprint.

use std::net::{Ipv4Addr, Ipv6Addr};

use sha2::{Digest, Sha256};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use name::distinguished_name;

mod name;

/// What a certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of its DER, hex.
    pub sha256: SmolStr,
    /// Subject as text (RFC 4514); this and all that follows is `None` or empty where the DER can't be read.
    pub subject: Option<SmolStr>,
    /// Issuer as text (RFC 4514).
    pub issuer: Option<SmolStr>,
    /// Subject alternative names: DNS names, addresses, URIs (SPIFFE IDs among them), mail addresses.
    pub sans: Vec<SmolStr>,
    /// Serial number, upper-case hex, as Zeek and OpenSSL write it.
    pub serial: Option<SmolStr>,
    /// Start of its validity, ns UTC.
    pub not_before_ns: Option<i64>,
    /// End of its validity, ns UTC.
    pub not_after_ns: Option<i64>,
    /// Key type and size, such as `rsa-2048`, `ec-p256`, `ed25519`, `ml-dsa-44`.
    pub key: Option<SmolStr>,
    /// Whether it is signed by its own key. Where that can't be checked (old algorithms), whether it is its own issuer.
    pub self_signed: Option<bool>,
    /// Names that a server may be called by.
    names: Vec<SmolStr>,
}

impl Certificate {
    /// Reads one certificate's DER.
    pub fn read(der: &[u8]) -> Certificate {
        let sha256 = SmolStr::new(hex::encode(Sha256::digest(der)));
        let Ok((_, x509)) = X509Certificate::from_der(der) else {
            return Certificate { sha256, ..Certificate::default() };
        };
        let alternative = alternative_names(&x509);
        let dns = alternative.iter().filter(|(is_dns, _)| *is_dns).map(|(_, name)| name.clone());
        let mut names: Vec<SmolStr> = dns.collect();
        if names.is_empty() {
            // RFC 6125 §6.4.4: only where there is no other name.
            names.extend(name::common_names(x509.subject()));
        }
        Certificate {
            sha256,
            subject: Some(distinguished_name(x509.subject())),
            issuer: Some(distinguished_name(x509.issuer())),
            sans: alternative.into_iter().map(|(_, name)| name).collect(),
            serial: Some(serial(x509.raw_serial())),
            not_before_ns: Some(nanoseconds(x509.validity().not_before)),
            not_after_ns: Some(nanoseconds(x509.validity().not_after)),
            key: Some(key(x509.public_key())),
            self_signed: Some(is_self_signed(&x509)),
            names,
        }
    }

    /// Whether a server that is asked for as `sni` may show this certificate (RFC 6125 §6.4); `None` where it can't be
    /// read.
    pub fn covers(&self, sni: &str) -> Option<bool> {
        self.subject.as_ref()?;
        let asked = sni.trim_end_matches('.');
        Some(self.names.iter().any(|name| matches(name.trim_end_matches('.'), asked)))
    }
}

/// A wildcard stands for the whole leftmost label and for one label only.
fn matches(name: &str, asked: &str) -> bool {
    if let Some(rest) = name.strip_prefix("*.")
        && let Some((label, parent)) = asked.split_once('.')
    {
        return !label.is_empty() && rest.eq_ignore_ascii_case(parent);
    }
    name.eq_ignore_ascii_case(asked)
}

/// Each with whether it is a DNS name.
fn alternative_names(x509: &X509Certificate<'_>) -> Vec<(bool, SmolStr)> {
    let Ok(Some(extension)) = x509.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((true, SmolStr::new(name))),
        GeneralName::URI(name) | GeneralName::RFC822Name(name) => Some((false, SmolStr::new(name))),
        GeneralName::IPAddress(bytes) => Some((false, address(bytes)?)),
        _ => None,
    });
    names.collect()
}

fn address(bytes: &[u8]) -> Option<SmolStr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).to_smolstr());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_smolstr())
}

/// Without the byte that DER puts before a first digit of 8 or more.
fn serial(bytes: &[u8]) -> SmolStr {
    let digits = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    SmolStr::new(hex::encode_upper(digits))
}

/// Years beyond 2262, which some certificates name for "never", are the end of our time.
fn nanoseconds(time: ASN1Time) -> i64 {
    time.timestamp().saturating_mul(1_000_000_000)
}

fn is_self_signed(x509: &X509Certificate<'_>) -> bool {
    // First the names: only for the few that are their own issuer is it worth a public-key operation.
    if x509.subject().as_raw() != x509.issuer().as_raw() {
        return false;
    }
    !matches!(x509.verify_signature(None), Err(error) if error != X509Error::SignatureUnsupportedAlgorithm)
}

/// Keys that their algorithm's identifier says all about.
const KEYS: [(&str, &str); 10] = [
    ("1.3.101.110", "x25519"),
    ("1.3.101.112", "ed25519"),
    ("1.3.101.113", "ed448"),
    ("2.16.840.1.101.3.4.3.17", "ml-dsa-44"),
    ("2.16.840.1.101.3.4.3.18", "ml-dsa-65"),
    ("2.16.840.1.101.3.4.3.19", "ml-dsa-87"),
    ("1.2.643.2.2.19", "gost-2001"),
    ("1.2.643.7.1.1.1.1", "gost-2012-256"),
    ("1.2.643.7.1.1.1.2", "gost-2012-512"),
    ("1.2.840.10046.2.1", "dh"),
];

const CURVES: [(&str, &str); 8] = [
    ("1.2.840.10045.3.1.1", "p192"),
    ("1.3.132.0.33", "p224"),
    ("1.2.840.10045.3.1.7", "p256"),
    ("1.3.132.0.34", "p384"),
    ("1.3.132.0.35", "p521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolp256r1"),
    ("1.2.156.10197.1.301", "sm2"),
];

fn named(list: &'static [(&str, &str)], identifier: &str) -> Option<&'static str> {
    list.iter().find(|(known, _)| *known == identifier).map(|(_, name)| *name)
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> SmolStr {
    let identifier = info.algorithm.algorithm.to_id_string();
    if let Some(name) = named(&KEYS, &identifier) {
        return SmolStr::new_static(name);
    }
    match info.parsed() {
        Ok(PublicKey::RSA(rsa)) => format_smolstr!("rsa-{}", bits(rsa.modulus)),
        Ok(PublicKey::DSA(key)) => format_smolstr!("dsa-{}", dsa_bits(info).unwrap_or_else(|| bits(key))),
        Ok(PublicKey::EC(_)) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()) {
                Some(curve) => format_smolstr!("ec-{}", named(&CURVES, &curve).unwrap_or(&curve)),
                None => SmolStr::new_static("ec"),
            }
        }
        _ => SmolStr::new(identifier),
    }
}

/// The size of DSA's prime, the first of its parameters.
fn dsa_bits(info: &SubjectPublicKeyInfo<'_>) -> Option<usize> {
    // SEQUENCE { INTEGER p, … }; `data` is the sequence's content.
    let parameters = info.algorithm.parameters.as_ref()?.data;
    let [0x02, length, rest @ ..] = parameters else { return None };
    let (length, rest) = match *length {
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        short => (usize::from(short), rest),
    };
    rest.get(..length).map(bits)
}

fn bits(number: &[u8]) -> usize {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let digits = &number[start..];
    digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests;
