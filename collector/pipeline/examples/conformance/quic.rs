//! QUIC and DTLS: TLS over UDP, and what Zeek's quic.log and ssl.log say of the same captures.
//!
//! nDPI's version of QUIC is TLS 1.3 by definition and not counted: ours is what a ServerHello said.

use std::path::Path;

use serde_json::Value;
use weir_model::FlowRow;

use super::handshakes::{Contradicted, compare, is_known};
use super::report::Report;
use super::zeek::{self, Line};
use super::{Ends, imported, list};

const FIELDS: [&str; 13] = [
    "sni",
    "version",
    "quic_version",
    "alpn_offered",
    "cipher",
    "curve",
    "ja3",
    "ja3s",
    "ja4",
    "ech",
    "client_initial_dcid",
    "client_scid",
    "server_scid",
];
/// Whether our flow's row says that it is encrypted, where another tool says that it is QUIC or DTLS.
const ENCRYPTED: &str = "encrypted";
const WANTED: f64 = 0.995;

const CONTRADICTED: [Contradicted; 2] = [
    (
        "dtls.pcap",
        40983,
        "ja3s",
        "that is the HelloRetryRequest's; tshark shows the ServerHello's as c2c89a8b10ca74ec5a350a59fb762fb6",
    ),
    (
        "dtls_certificate_fragments.pcap",
        39347,
        "version",
        "the ServerHello says 0xfeff; 1.2 is what the client offered",
    ),
];

/// Prints the scores; whether they are good enough.
pub(super) fn score(folder: &Path, manifest: &Value) -> bool {
    let mut report = Report::default();
    let (mut captures, mut corrected) = (0, 0);
    for capture in list(manifest, "captures") {
        let mut known: Vec<Value> =
            list(capture, "flows").filter(|flow| flow["transport"] == "udp").cloned().collect();
        known.extend(of_zeek(folder, capture));
        let Some(file) = capture["file"].as_str().filter(|_| !known.is_empty()) else { continue };
        captures += 1;
        let mut rows = imported(folder, file, &mut report);
        rows.handshakes.retain(|row| row.protocol.as_deref() == Some("udp"));
        rows.flows.retain(|row| row.protocol.as_deref() == Some("udp"));
        for flow in &known {
            corrected += compare(file, flow, &rows.handshakes, &FIELDS, &CONTRADICTED, &mut report);
            if FIELDS.iter().any(|field| is_known(flow, field)) {
                let miss =
                    || format!("{file} {}:{}: the flow isn't shown as encrypted", flow["src"], flow["sport"]);
                report.count(ENCRYPTED, is_encrypted(&rows.flows, flow), miss);
            }
        }
    }
    let fields: Vec<&str> = FIELDS.into_iter().chain([ENCRYPTED]).collect();
    let good = report.print(&format!("{captures} captures with known QUIC or DTLS"), &fields, WANTED);
    println!("{corrected} of nDPI's JA4 put right by its own fields (see ja4.rs)");
    good
}

/// Zeek's quic.log and, of the flows in it, its ssl.log, in the manifest's words.
fn of_zeek(folder: &Path, capture: &Value) -> Vec<Value> {
    let mut known = zeek::log(folder, capture, "quic");
    let ends = |line: &Line| {
        ["id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"].map(|name| line.get(name).cloned())
    };
    for line in zeek::log(folder, capture, "ssl") {
        if let Some(same) = known.iter_mut().find(|known| ends(known) == ends(&line)) {
            same.extend(line.into_iter().filter(|(name, _)| matches!(name.as_str(), "cipher" | "curve")));
        }
    }
    let flow = |line: Line| {
        let mut flow = serde_json::json!({ "truth": "zeek" });
        for (theirs, ours) in [
            ("id.orig_h", "src"),
            ("id.resp_h", "dst"),
            ("version", "quic_version"),
            ("server_name", "sni"),
            ("client_protocol", "alpn_first"),
            ("cipher", "cipher"),
            ("curve", "curve"),
            ("client_initial_dcid", "client_initial_dcid"),
            ("client_scid", "client_scid"),
            ("server_scid", "server_scid"),
        ] {
            if let Some(text) = line.get(theirs) {
                flow[ours] = text.as_str().into();
            }
        }
        for (theirs, ours) in [("id.orig_p", "sport"), ("id.resp_p", "dport")] {
            flow[ours] = line.get(theirs).and_then(|port| port.parse::<u64>().ok()).into();
        }
        flow
    };
    known.into_iter().map(flow).collect()
}

/// A flow that was idle for long goes on in rows of a new one, whose beginning nobody saw: one row that says it is enough.
fn is_encrypted(flows: &[FlowRow], flow: &Value) -> bool {
    let mut of_flow = flows.iter().filter(|row| row.is_between(flow));
    of_flow.any(|row| row.encryption.as_ref().is_some_and(|word| word.ends_with("tls")))
}
