//! TLS over TCP.
//!
//! Not counted as known: what another tool disputes (`disputed` in the manifest), and a version where the tool that
//! names it saw no ServerHello, since it then tells a field of the ClientHello and nothing was negotiated.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::Value;
use weir_collector::receive::pcap;
use weir_dissect::tls::names;
use weir_model::{FlowRow, TlsHandshakeRow};

use super::ja4::put_right;
use super::{Score, list, same_ends};

const FIELDS: [&str; 7] = ["sni", "version", "cipher", "alpn", "ja3", "ja3s", "ja4"];
const WANTED: f64 = 0.99;

/// Answers that the bytes themselves contradict, each looked up by hand: file, client's port, field, what is there.
const CONTRADICTED: [(&str, u64, &str, &str); 4] = [
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
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let mut misses = Vec::new();
    let (mut captures, mut corrected) = (0, 0);
    let mut contradicted = Vec::new();
    for capture in list(manifest, "captures") {
        let flows: Vec<&Value> = list(capture, "flows").filter(|flow| is_tls_over_tcp(flow)).collect();
        let Some(file) = capture["file"].as_str().filter(|_| !flows.is_empty()) else { continue };
        captures += 1;
        let (rows, datagrams) = match import(&folder.join(file)) {
            Ok(rows) => rows,
            Err(err) => {
                misses.push(format!("{file}: {err:#}"));
                (Vec::new(), Vec::new())
            }
        };
        for flow in flows {
            // Zeek's flows don't name their transport: QUIC shows as UDP in the capture itself.
            let ends = |row: &FlowRow| {
                same_ends(
                    flow,
                    row.client_ip.as_ref(),
                    row.client_port,
                    row.server_ip.as_ref(),
                    row.server_port,
                )
            };
            if flow["transport"].is_null() && datagrams.iter().any(ends) {
                continue;
            }
            let row = best(&rows, flow);
            for field in FIELDS.into_iter().filter(|field| is_known(flow, field)) {
                if let Some(evidence) = contradiction(file, flow, field) {
                    contradicted.push(format!("{file} {field}: {}, but {evidence}", expected(flow, field)));
                    continue;
                }
                let score = scores.entry(field).or_default();
                score.known += 1;
                let wanted = expected(flow, field);
                corrected += usize::from(field == "ja4" && flow["ja4"] != *wanted);
                let got = row.and_then(|row| answer(row, field));
                if got.as_deref() == Some(wanted.as_str()) {
                    score.right += 1;
                } else {
                    misses.push(miss(file, flow, field, &wanted, row, got));
                }
            }
        }
    }

    println!("{captures} captures with known TLS over TCP\n");
    println!("{:8} {:>6} {:>6} {:>8}", "field", "right", "known", "");
    let mut good = true;
    for field in FIELDS {
        let Some(Score { right, known }) = scores.get(field) else { continue };
        let ratio = *right as f64 / *known as f64;
        good &= ratio >= WANTED;
        println!("{field:8} {right:>6} {known:>6} {:>7.2}%", ratio * 100.0);
    }
    println!("\n{corrected} of nDPI's JA4 put right by its own fields (see ja4.rs)");
    println!("{} answers not counted, because the bytes contradict them", contradicted.len());
    for answer in contradicted {
        println!("  {answer}");
    }
    println!("{} misses", misses.len());
    for miss in misses {
        println!("  {miss}");
    }
    good
}

/// The handshakes of a capture, and its UDP flows.
pub(super) fn import(
    path: &Path,
) -> Result<(Vec<TlsHandshakeRow>, Vec<FlowRow>), Box<dyn std::error::Error>> {
    let (mut rows, mut datagrams) = (Vec::new(), Vec::new());
    let on_rows = |ready: pcap::Rows| {
        rows.extend(ready.handshakes);
        datagrams.extend(ready.flows.into_iter().filter(|flow| flow.protocol.as_deref() == Some("udp")));
        ControlFlow::Continue(())
    };
    pcap::import(fs::File::open(path)?, pcap::Options::default(), on_rows, |_| {})?;
    Ok((rows, datagrams))
}

/// The manifest has QUIC and DTLS too.
fn is_tls_over_tcp(flow: &Value) -> bool {
    let datagram = flow["transport"] == "udp"
        || flow["quic_version"].is_string()
        || flow["version"].as_str().is_some_and(|version| version.starts_with("DTLS"))
        || flow["ja4"].as_str().is_some_and(|ja4| !ja4.starts_with('t'));
    !datagram
}

fn is_known(flow: &Value, field: &str) -> bool {
    let negotiated = field != "version" || flow["cipher"].is_string() || flow["ja3s"].is_string();
    flow[field].is_string() && negotiated && !list(flow, "disputed").any(|disputed| disputed == field)
}

fn contradiction(file: &str, flow: &Value, field: &str) -> Option<&'static str> {
    let found = CONTRADICTED
        .iter()
        .find(|(name, port, of, _)| file.ends_with(name) && flow["sport"] == *port && *of == field)?;
    Some(found.3)
}

/// The row of that flow that agrees best: ports are used again within a capture.
fn best<'a>(rows: &'a [TlsHandshakeRow], flow: &Value) -> Option<&'a TlsHandshakeRow> {
    let agreement = |row: &TlsHandshakeRow| {
        FIELDS
            .iter()
            .filter(|field| answer(row, field).is_some_and(|got| got == expected(flow, field)))
            .count()
    };
    rows.iter()
        .filter(|row| {
            same_ends(flow, row.client_ip.as_ref(), row.client_port, row.server_ip.as_ref(), row.server_port)
        })
        .max_by_key(|row| agreement(row))
}

fn expected(flow: &Value, field: &str) -> String {
    let text = flow[field].as_str().unwrap_or_default();
    match (field, text) {
        ("version", "TLSv1.3" | "TLSv13") => "1.3".to_owned(),
        ("version", "TLSv1.2" | "TLSv12") => "1.2".to_owned(),
        ("version", "TLSv1.1" | "TLSv11") => "1.1".to_owned(),
        ("version", "TLSv1" | "TLSv1.0" | "TLSv10") => "1.0".to_owned(),
        ("version", "SSLv3") => "ssl3".to_owned(),
        // Zeek's form of a number that it has no name for.
        ("version", text) if text.starts_with("unknown-") => {
            text[8..].parse().map_or_else(|_| text.to_owned(), |number| names::version(number).to_string())
        }
        ("ja4", text) if flow["truth"] == "ndpi" => put_right(text, flow),
        _ => text.to_owned(),
    }
}

fn answer(row: &TlsHandshakeRow, field: &str) -> Option<String> {
    let value = match field {
        "sni" => &row.tls_sni,
        "version" => &row.tls_version,
        "cipher" => &row.tls_cipher,
        "alpn" => &row.tls_alpn,
        "ja3" => &row.tls_ja3,
        "ja3s" => &row.tls_ja3s,
        _ => &row.tls_ja4,
    };
    value.as_ref().map(ToString::to_string)
}

fn miss(
    file: &str,
    flow: &Value,
    field: &str,
    wanted: &str,
    row: Option<&TlsHandshakeRow>,
    got: Option<String>,
) -> String {
    let cause = match (row, got) {
        (None, _) => "no handshake row for this flow".to_owned(),
        (Some(row), None) if row.tls_version.is_none() => "no ServerHello was read".to_owned(),
        (Some(_), None) => "nothing read".to_owned(),
        (Some(_), Some(got)) => format!("read {got}"),
    };
    let end = |address: &str, port: &str| format!("{}:{}", flow[address].as_str().unwrap_or("?"), flow[port]);
    let truth = flow["truth"].as_str().unwrap_or("?");
    format!(
        "{file} {} > {} {field}: {truth} says {wanted}, {cause}",
        end("src", "sport"),
        end("dst", "dport")
    )
}
