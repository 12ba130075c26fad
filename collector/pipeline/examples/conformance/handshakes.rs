//! What is the same for TLS over TCP and over UDP: which row is a flow's, what another tool says in our words, what a
//! row says, and why they differ.
//!
//! Not counted as known: what another tool disputes (`disputed` in the manifest), and a version where the tool that
//! names it saw no ServerHello, since it then tells a field of the ClientHello and nothing was negotiated.

use serde_json::Value;
use weir_dissect::tls::names;
use weir_model::TlsHandshakeRow;

use super::ja4::put_right;
use super::report::Report;
use super::{Ends, list};

/// Answers that the bytes themselves contradict, each looked up by hand: file, client's port, field, what is there.
pub(super) type Contradicted = (&'static str, u64, &'static str, &'static str);

/// Compares a flow's fields with its row, the one that agrees best: ports are used again within a capture. Returns how
/// many of nDPI's JA4 were put right.
pub(super) fn compare(
    file: &str,
    flow: &Value,
    rows: &[TlsHandshakeRow],
    fields: &[&'static str],
    contradicted: &[Contradicted],
    report: &mut Report,
) -> usize {
    let agreement = |row: &TlsHandshakeRow| {
        let agrees =
            |field: &&&'static str| answer(row, field, flow).is_some_and(|got| got == expected(flow, field));
        fields.iter().filter(agrees).count()
    };
    let row = rows.iter().filter(|row| row.is_between(flow)).max_by_key(|row| agreement(row));
    let mut corrected = 0;
    for field in fields.iter().copied().filter(|field| is_known(flow, field)) {
        let wanted = expected(flow, field);
        if let Some(evidence) = contradiction(file, flow, field, contradicted) {
            let what = format!("{file} {field}: {wanted}, but {evidence}");
            report.set_aside("the bytes contradict the answer", what);
            continue;
        }
        corrected += usize::from(field == "ja4" && flow["ja4"] != *wanted);
        let got = row.and_then(|row| answer(row, field, flow));
        let right = got.as_deref() == Some(wanted.as_str());
        report.count(field, right, || miss(file, flow, field, &wanted, row, got));
    }
    corrected
}

/// Whether a tool says that of a flow, and none contradicts it.
pub(super) fn is_known(flow: &Value, field: &str) -> bool {
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

fn contradiction(file: &str, flow: &Value, field: &str, known: &[Contradicted]) -> Option<&'static str> {
    let found = known
        .iter()
        .find(|(name, port, of, _)| file.ends_with(name) && flow["sport"] == *port && *of == field)?;
    Some(found.3)
}

fn expected(flow: &Value, field: &str) -> String {
    let text = flow[field].as_str().unwrap_or_default();
    match (field, text) {
        ("alpn_offered", _) if flow["alpn_first"].is_string() => {
            flow["alpn_first"].as_str().unwrap_or_default().to_owned()
        }
        ("alpn_offered", _) => list(flow, field).filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        ("ech", _) => flow[field].to_string(),
        ("version", text) => version(text),
        ("quic_version", "V-1") => "1".to_owned(),
        ("quic_version", "V-2" | "quicv2") => "2".to_owned(),
        ("quic_version", "MVFST-EXP") => "mvfst-exp".to_owned(),
        ("quic_version", text) => text.replace("Draft-", "draft-").replace("MVFST-", "mvfst-"),
        ("ja4", text) if flow["truth"] == "ndpi" => put_right(text, flow),
        _ => text.to_owned(),
    }
}

fn version(text: &str) -> String {
    let ours = match text {
        "TLSv1.3" | "TLSv13" => "1.3",
        "TLSv1.2" | "TLSv12" => "1.2",
        "TLSv1.1" | "TLSv11" => "1.1",
        "TLSv1" | "TLSv1.0" | "TLSv10" => "1.0",
        "SSLv3" => "ssl3",
        "DTLSv1.3" | "DTLSv13" => "dtls1.3",
        "DTLSv1.2" | "DTLSv12" => "dtls1.2",
        "DTLSv1.0" | "DTLSv10" => "dtls1.0",
        // Zeek's form of a number that it has no name for.
        _ => {
            let number = text.strip_prefix("unknown-").and_then(|number| number.parse().ok());
            return number.map_or_else(|| text.to_owned(), |number| names::version(number).to_string());
        }
    };
    ours.to_owned()
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
        "alpn" => &row.tls_alpn,
        "cipher" => &row.tls_cipher,
        "curve" => &row.tls_group,
        "ja3" => &row.tls_ja3,
        "ja3s" => &row.tls_ja3s,
        "client_initial_dcid" => &row.quic_client_initial_dcid,
        "client_scid" => &row.quic_client_scid,
        "server_scid" => &row.quic_server_scid,
        "ja4" => &row.tls_ja4,
        other => unreachable!("no field is called {other}"),
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
    let (src, dst) = (end("src", "sport"), end("dst", "dport"));
    format!("{file} {src} > {dst} {field}: {truth} says {wanted}, {cause}")
}
