//! TLS over TCP.

use std::path::Path;

use serde_json::Value;

use super::handshakes::{Contradicted, compare};
use super::report::Report;
use super::{Ends, imported, list};

const FIELDS: [&str; 7] = ["sni", "version", "cipher", "alpn", "ja3", "ja3s", "ja4"];
const WANTED: f64 = 0.99;

const CONTRADICTED: [Contradicted; 4] = [
    (
        "smtp-starttls.pcap",
        57406,
        "sni",
        "its only extension is session_ticket; the name is from SMTP's greeting",
    ),
    ("smtp-starttls.pcap", 57406, "ja4", "as above: there is no SNI for the `d`"),
    ("ftp-start-tls.pcap", 62092, "version", "the ServerHello says 0x0301; 1.2 is what the client offered"),
    (
        "tls-non-ascii-alpn.pcapng",
        50112,
        "ja4",
        "an ALPN that isn't alphanumeric is shown by hex digits in the specification; this tool wrote 9s",
    ),
];

/// Prints the scores; whether they are good enough.
pub(super) fn score(folder: &Path, manifest: &Value) -> bool {
    let mut report = Report::default();
    let (mut captures, mut corrected) = (0, 0);
    for capture in list(manifest, "captures") {
        let flows: Vec<&Value> = list(capture, "flows").filter(|flow| is_tls_over_tcp(flow)).collect();
        let Some(file) = capture["file"].as_str().filter(|_| !flows.is_empty()) else { continue };
        captures += 1;
        let rows = imported(folder, file, &mut report);
        let is_udp = |flow: &Value| {
            rows.flows.iter().any(|row| row.protocol.as_deref() == Some("udp") && row.is_between(flow))
        };
        for flow in flows {
            // Zeek's flows don't name their transport: QUIC shows as UDP in the capture itself.
            if flow["transport"].is_null() && is_udp(flow) {
                continue;
            }
            corrected += compare(file, flow, &rows.handshakes, &FIELDS, &CONTRADICTED, &mut report);
        }
    }
    let good = report.print(&format!("{captures} captures with known TLS over TCP"), &FIELDS, WANTED);
    println!("{corrected} of nDPI's JA4 put right by its own fields (see ja4.rs)");
    good
}

/// The manifest has QUIC and DTLS too.
fn is_tls_over_tcp(flow: &Value) -> bool {
    let datagram = flow["transport"] == "udp"
        || flow["quic_version"].is_string()
        || flow["version"].as_str().is_some_and(|version| version.starts_with("DTLS"))
        || flow["ja4"].as_str().is_some_and(|ja4| !ja4.starts_with('t'));
    !datagram
}
