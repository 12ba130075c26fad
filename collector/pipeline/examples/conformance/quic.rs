//! QUIC and DTLS: TLS over UDP, and what Zeek's quic.log and ssl.log say of the same captures.
//!
//! Not counted as known: what another tool disputes; a version where the tool that names it saw no ServerHello; and
//! nDPI's version of QUIC, which is TLS 1.3 by definition: ours is what a ServerHello said.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::Value;
use weir_collector::receive::pcap;
use weir_model::{FlowRow, TlsHandshakeRow};

use super::ja4::put_right;
use super::{Score, list, same_ends};

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
/// What our flow's row must say where another tool says that it is QUIC or DTLS.
const ENCRYPTED: &str = "encrypted";
const WANTED: f64 = 0.995;

/// Answers that the bytes themselves contradict, each looked up by hand: file, client's port, field, what is there.
const CONTRADICTED: [(&str, u64, &str, &str); 2] = [
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
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let (mut misses, mut contradicted) = (Vec::new(), Vec::new());
    let (mut captures, mut corrected) = (0, 0);
    for capture in list(manifest, "captures") {
        let mut known: Vec<Value> =
            list(capture, "flows").filter(|flow| flow["transport"] == "udp").cloned().collect();
        known.extend(zeek(folder, capture));
        let Some(file) = capture["file"].as_str().filter(|_| !known.is_empty()) else { continue };
        captures += 1;
        let (flows, rows) = match import(&folder.join(file)) {
            Ok(rows) => rows,
            Err(err) => {
                misses.push(format!("{file}: {err:#}"));
                Default::default()
            }
        };
        for flow in &known {
            let row = best(&rows, flow);
            let mut answers: Vec<(&str, String, Option<String>)> = FIELDS
                .into_iter()
                .filter(|field| is_known(flow, field))
                .map(|field| (field, expected(flow, field), row.and_then(|row| answer(row, field, flow))))
                .collect();
            if !answers.is_empty() {
                answers.push((ENCRYPTED, "tls".to_owned(), encryption(&flows, flow)));
            }
            for (field, wanted, got) in answers {
                if let Some(evidence) = contradiction(file, flow, field) {
                    contradicted.push(format!("{file} {field}: {wanted}, but {evidence}"));
                    continue;
                }
                corrected += usize::from(field == "ja4" && flow["ja4"] != *wanted);
                let score = scores.entry(field).or_default();
                score.known += 1;
                if got.as_deref() == Some(wanted.as_str()) {
                    score.right += 1;
                } else {
                    misses.push(miss(file, flow, field, &wanted, row, got));
                }
            }
        }
    }

    println!("\n{captures} captures with known QUIC or DTLS\n");
    println!("{:19} {:>6} {:>6} {:>8}", "field", "right", "known", "");
    let mut good = true;
    for field in FIELDS.into_iter().chain([ENCRYPTED]) {
        let Some(Score { right, known }) = scores.get(field) else { continue };
        let ratio = *right as f64 / *known as f64;
        good &= ratio >= WANTED;
        println!("{field:19} {right:>6} {known:>6} {:>7.2}%", ratio * 100.0);
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

/// The UDP flows of a capture, and their handshakes.
fn import(path: &Path) -> Result<(Vec<FlowRow>, Vec<TlsHandshakeRow>), Box<dyn std::error::Error>> {
    let (mut flows, mut rows) = (Vec::new(), Vec::new());
    let on_rows = |more: pcap::Rows| {
        flows.extend(more.flows.into_iter().filter(|flow| flow.protocol.as_deref() == Some("udp")));
        rows.extend(more.handshakes.into_iter().filter(|row| row.protocol.as_deref() == Some("udp")));
        ControlFlow::Continue(())
    };
    pcap::import(fs::File::open(path)?, pcap::Options::default(), on_rows, |_| {})?;
    Ok((flows, rows))
}

/// Zeek's quic.log and, of the flows in it, its ssl.log, in the manifest's words.
fn zeek(folder: &Path, capture: &Value) -> Vec<Value> {
    let log = |name: &str| {
        let text = capture["logs"][name].as_str().and_then(|path| fs::read_to_string(folder.join(path)).ok());
        lines(&text.unwrap_or_default())
    };
    let mut known = log("quic");
    let ends = |line: &BTreeMap<String, String>| {
        ["id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"].map(|name| line.get(name).cloned())
    };
    for line in log("ssl") {
        if let Some(same) = known.iter_mut().find(|known| ends(known) == ends(&line)) {
            same.extend(line.into_iter().filter(|(name, _)| matches!(name.as_str(), "cipher" | "curve")));
        }
    }
    let flow = |line: BTreeMap<String, String>| {
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
            match line.get(theirs).map(String::as_str) {
                None | Some("-") => {}
                Some("(empty)") => flow[ours] = "".into(),
                Some(text) => flow[ours] = text.into(),
            }
        }
        for (theirs, ours) in [("id.orig_p", "sport"), ("id.resp_p", "dport")] {
            flow[ours] = line.get(theirs).and_then(|port| port.parse::<u64>().ok()).into();
        }
        flow
    };
    known.into_iter().map(flow).collect()
}

/// The lines of a Zeek log by their columns' names; some lost the `#fields` in front.
fn lines(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut names: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(fields) = line.strip_prefix("#fields\t") {
            names = fields.split('\t').collect();
        } else if line.starts_with("ts\t") {
            names = line.split('\t').collect();
        } else if !line.starts_with('#') {
            let values = line.split('\t').map(str::to_owned);
            found.push(names.iter().map(|name| (*name).to_owned()).zip(values).collect());
        }
    }
    found
}

fn is_known(flow: &Value, field: &str) -> bool {
    if list(flow, "disputed").any(|disputed| disputed == field) {
        return false;
    }
    match field {
        "alpn_offered" => list(flow, field).next().is_some() || flow["alpn_first"].is_string(),
        "ech" => flow[field].is_boolean(),
        "version" => flow[field].is_string() && (flow["cipher"].is_string() || flow["ja3s"].is_string()),
        _ => flow[field].is_string(),
    }
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
        let agrees = |field: &&&str| answer(row, field, flow).is_some_and(|got| got == expected(flow, field));
        FIELDS.iter().filter(agrees).count()
    };
    rows.iter()
        .filter(|row| {
            same_ends(flow, row.client_ip.as_ref(), row.client_port, row.server_ip.as_ref(), row.server_port)
        })
        .max_by_key(|row| agreement(row))
}

fn encryption(flows: &[FlowRow], flow: &Value) -> Option<String> {
    let of_flow = flows.iter().filter(|row| {
        same_ends(flow, row.client_ip.as_ref(), row.client_port, row.server_ip.as_ref(), row.server_port)
    });
    // A flow that was idle for long goes on in rows of a new one, whose beginning nobody saw.
    let mut words = of_flow.filter_map(|row| row.encryption.as_ref());
    words.find(|word| word.ends_with("tls")).map(|_| "tls".to_owned())
}

fn expected(flow: &Value, field: &str) -> String {
    let text = flow[field].as_str().unwrap_or_default();
    match (field, text) {
        ("alpn_offered", _) if flow["alpn_first"].is_string() => {
            flow["alpn_first"].as_str().unwrap_or_default().to_owned()
        }
        ("alpn_offered", _) => list(flow, field).filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        ("ech", _) => flow[field].to_string(),
        ("version", "TLSv1.3" | "TLSv13") => "1.3".to_owned(),
        ("version", "DTLSv1.3" | "DTLSv13") => "dtls1.3".to_owned(),
        ("version", "DTLSv1.2" | "DTLSv12") => "dtls1.2".to_owned(),
        ("version", "DTLSv1.0" | "DTLSv10") => "dtls1.0".to_owned(),
        ("quic_version", "V-1") => "1".to_owned(),
        ("quic_version", "V-2" | "quicv2") => "2".to_owned(),
        ("quic_version", "MVFST-EXP") => "mvfst-exp".to_owned(),
        ("quic_version", text) => text.replace("Draft-", "draft-").replace("MVFST-", "mvfst-"),
        ("ja4", text) if flow["truth"] == "ndpi" => put_right(text, flow),
        _ => text.to_owned(),
    }
}

fn answer(row: &TlsHandshakeRow, field: &str, flow: &Value) -> Option<String> {
    let value = match field {
        "alpn_offered" if flow["alpn_first"].is_string() => {
            return row.tls_alpn_offered.first().map(ToString::to_string);
        }
        "alpn_offered" => return Some(row.tls_alpn_offered.join(",")),
        "ech" => return row.tls_ech.map(|ech| ech.to_string()),
        "sni" => &row.tls_sni,
        "version" => &row.tls_version,
        "quic_version" => &row.quic_version,
        "cipher" => &row.tls_cipher,
        "curve" => &row.tls_group,
        "ja3" => &row.tls_ja3,
        "ja3s" => &row.tls_ja3s,
        "client_initial_dcid" => &row.quic_client_initial_dcid,
        "client_scid" => &row.quic_client_scid,
        "server_scid" => &row.quic_server_scid,
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
        (Some(row), None) if row.tls_ja4.is_none() && row.tls_version.is_none() => {
            "no hello could be put together".to_owned()
        }
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
