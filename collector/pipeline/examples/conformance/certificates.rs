//! Certificates: nDPI's fields of the server's own one, Zeek's fingerprints (`ssl.log`) and what its `x509.log` says of
//! each certificate that an end showed as its own.
//!
//! nDPI writes a name's parts in the certificate's order and leaves out those that it has no letter for; the other
//! tools' names are compared in that form. Its list of server names ends where its room does, so that its names must be
//! the beginning of ours.

use std::path::Path;

use serde_json::Value;
use weir_model::time::date_text;
use weir_model::{SmolStr, TlsHandshakeRow};

use super::report::Report;
use super::zeek::{self, Line};
use super::{Ends, imported, list};

const WANTED: f64 = 0.995;
const FIELDS: [&str; 10] = [
    "subject",
    "issuer",
    "server_names",
    "not_before",
    "not_after",
    "cert_sha256",
    "zeek subject",
    "zeek serial",
    "zeek validity",
    "zeek key",
];

/// Misses that are known and why: shown, and not held against us.
const EXPLAINED: [(&str, &str); 1] =
    [("globus-url-copy.pcap 192.168.57.103:60108", "TLS within FTP's AUTH GSSAPI, as base64")];

/// Counts an answer, unless it is a miss that is explained.
fn count(report: &mut Report, field: &'static str, wanted: &str, got: Option<&str>, whose: &str) {
    let right = got == Some(wanted);
    if let Some((_, why)) = EXPLAINED.iter().find(|(end, _)| whose.ends_with(end) && !right) {
        report.set_aside(why, format!("{whose} {field}: {wanted:?}"));
        return;
    }
    report.count(field, right, || format!("{whose} {field}: {wanted:?}, read {got:?}"));
}

/// Prints the scores; whether they are good enough.
pub(super) fn score(folder: &Path, manifest: &Value) -> bool {
    let mut report = Report::default();
    for capture in list(manifest, "captures") {
        let Some(file) = capture["file"].as_str() else { continue };
        let known = list(capture, "flows").filter(|flow| has_certificate(flow)).collect::<Vec<_>>();
        let log = zeek::log(folder, capture, "x509");
        if known.is_empty() && log.is_empty() {
            continue;
        }
        let rows = imported(folder, file, &mut report).handshakes;
        for flow in known {
            flow_fields(file, flow, &rows, &mut report);
        }
        for certificate in log {
            zeek_fields(file, &certificate, &rows, &mut report);
        }
    }
    report.print("certificates", &FIELDS, WANTED)
}

fn has_certificate(flow: &Value) -> bool {
    let fields = ["subject", "issuer", "server_names", "cert_sha256", "not_after"];
    fields.iter().any(|field| !flow[*field].is_null())
}

fn flow_fields(file: &str, flow: &Value, rows: &[TlsHandshakeRow], report: &mut Report) {
    let undisputed = |field: &str| !list(flow, "disputed").any(|disputed| disputed == field);
    let whose = format!("{file} {}:{}", flow["src"].as_str().unwrap_or("?"), flow["sport"]);
    let candidates = rows.iter().filter(|row| row.is_between(flow));
    // Ports are used again within a capture.
    let row = candidates.max_by_key(|row| {
        let fits = |field: &str, got: Option<String>| got.is_some_and(|got| flow[field] == got);
        usize::from(row.server_certificate_sha256.is_some())
            + usize::from(fits("sni", row.tls_sni.as_ref().map(ToString::to_string)))
            + usize::from(fits("subject", row.server_certificate_subject.as_deref().map(in_order)))
    });
    for (field, got) in [
        ("subject", row.and_then(|row| row.server_certificate_subject.as_deref()).map(in_order)),
        ("issuer", row.and_then(|row| row.server_certificate_issuer.as_deref()).map(in_order)),
        ("not_before", row.and_then(|row| row.server_certificate_not_before).map(time)),
        ("not_after", row.and_then(|row| row.server_certificate_not_after).map(time)),
    ] {
        if let Some(wanted) = flow[field].as_str().filter(|_| undisputed(field)) {
            let wanted = if field == "subject" { own_subject(flow, wanted) } else { wanted };
            count(report, field, wanted, got.as_deref(), &whose);
        }
    }
    let names: Vec<&str> = list(flow, "server_names").filter_map(Value::as_str).collect();
    if !names.is_empty() && undisputed("server_names") {
        // nDPI makes them lower case.
        let got = row.map(|row| beginning(&row.server_certificate_sans, names.len()).to_lowercase());
        count(report, "server_names", &names.join(","), got.as_deref(), &whose);
    }
    if let Some(wanted) = list(flow, "cert_sha256").next().and_then(Value::as_str) {
        let got = row.and_then(|row| row.server_certificate_sha256.as_deref());
        count(report, "cert_sha256", wanted, got, &whose);
    }
}

/// nDPI puts the issuer's name behind some subjects; its own field tells, or that the same stands there twice.
fn own_subject<'a>(flow: &'a Value, subject: &'a str) -> &'a str {
    let twice = subject
        .split_at_checked(subject.len().saturating_sub(2) / 2)
        .filter(|(own, rest)| rest.strip_prefix(", ").is_some_and(|again| again == *own));
    let issuer = flow["issuer"].as_str().or(twice.map(|(own, _)| own)).unwrap_or_default();
    subject.strip_suffix(issuer).and_then(|own| own.strip_suffix(", ")).unwrap_or(subject)
}

fn beginning(names: &[SmolStr], count: usize) -> String {
    names[..names.len().min(count)].join(",")
}

/// `CN=x,O=y\, z,C=DE` as `C=DE, O=y, z, CN=x`, of the parts that nDPI writes.
fn in_order(name: &str) -> String {
    const LETTERS: [&str; 6] = ["C", "ST", "L", "O", "OU", "CN"];
    let mut parts: Vec<String> = parts(name)
        .into_iter()
        .filter(|part| part.split_once('=').is_some_and(|(kind, _)| LETTERS.contains(&kind)))
        .collect();
    parts.reverse();
    parts.join(", ")
}

/// The parts of a name, without escapes.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![Vec::new()];
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        let part = parts.last_mut().expect("it begins with one");
        match byte {
            b'\\' => match bytes.next() {
                Some(high) if high.is_ascii_hexdigit() => {
                    let low = bytes.next().unwrap_or_default();
                    let digits = [high, low];
                    let number =
                        std::str::from_utf8(&digits).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
                    part.extend(number);
                }
                Some(escaped) => part.push(escaped),
                None => {}
            },
            b',' => parts.push(Vec::new()),
            other => part.push(other),
        }
    }
    parts.into_iter().map(|part| String::from_utf8_lossy(&part).into_owned()).collect()
}

/// As nDPI writes it, UTC.
fn time(ns: i64) -> String {
    let seconds = ns.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    format!("{} {:02}:{:02}:{:02}", date_text(days), second / 3600, second / 60 % 60, second % 60)
}

fn zeek_fields(file: &str, certificate: &Line, rows: &[TlsHandshakeRow], report: &mut Report) {
    let field = |name: &str| certificate.get(name).map(String::as_str).unwrap_or_default();
    let fingerprint = field("fingerprint");
    let Some(own) = rows.iter().find_map(|row| own_certificate(row, fingerprint)) else { return };
    let whose = format!("{file} {}", &fingerprint[..fingerprint.len().min(12)]);
    let subject = parts(field("certificate.subject")).join(",");
    count(report, "zeek subject", &subject, own.subject.map(|name| parts(name).join(",")).as_deref(), &whose);
    count(report, "zeek serial", field("certificate.serial"), own.serial, &whose);
    let validity =
        format!("{} {}", field("certificate.not_valid_before"), field("certificate.not_valid_after"));
    let seconds = |ns: i64| format!("{}.000000", ns / 1_000_000_000);
    let got =
        own.not_before.zip(own.not_after).map(|(from, to)| format!("{} {}", seconds(from), seconds(to)));
    count(report, "zeek validity", &validity, got.as_deref(), &whose);
    let wanted = match (field("certificate.key_type"), field("certificate.curve")) {
        ("rsa", _) => format!("rsa-{}", field("certificate.key_length")),
        ("dsa", _) => format!("dsa-{}", field("certificate.key_length")),
        ("ecdsa", "prime256v1") => "ec-p256".to_owned(),
        ("ecdsa", "secp384r1") => "ec-p384".to_owned(),
        ("ecdsa", "secp521r1") => "ec-p521".to_owned(),
        _ => return,
    };
    count(report, "zeek key", &wanted, own.key, &whose);
}

/// What a row says of one of its two certificates.
struct Own<'a> {
    subject: Option<&'a str>,
    serial: Option<&'a str>,
    not_before: Option<i64>,
    not_after: Option<i64>,
    key: Option<&'a str>,
}

fn own_certificate<'a>(row: &'a TlsHandshakeRow, fingerprint: &str) -> Option<Own<'a>> {
    if row.server_certificate_sha256.as_deref() == Some(fingerprint) {
        return Some(Own {
            subject: row.server_certificate_subject.as_deref(),
            serial: row.server_certificate_serial.as_deref(),
            not_before: row.server_certificate_not_before,
            not_after: row.server_certificate_not_after,
            key: row.server_certificate_key.as_deref(),
        });
    }
    (row.client_certificate_sha256.as_deref() == Some(fingerprint)).then_some(Own {
        subject: row.client_certificate_subject.as_deref(),
        serial: row.client_certificate_serial.as_deref(),
        not_before: row.client_certificate_not_before,
        not_after: row.client_certificate_not_after,
        key: row.client_certificate_key.as_deref(),
    })
}
