//! Flows and handshakes as OCSF 1.2.0 events of the class Network Activity (4001): <https://schema.ocsf.io/1.2.0/classes/network_activity>.
//!
//! What OCSF has no attribute for stays in `unmapped`, under our own column names. Times are milliseconds since the epoch.

use serde_json::{Map, Value, json};
use weir_model::{FlowRow, SmolStr, TlsHandshakeRow};

const OCSF_VERSION: &str = "1.2.0";
const CATEGORY: i64 = 4;
const CLASS: i64 = 4001;

/// Activities of the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Open = 1,
    Close = 2,
    Reset = 3,
    Fail = 4,
    Refuse = 5,
    Traffic = 6,
}

impl Activity {
    fn name(self) -> &'static str {
        match self {
            Activity::Open => "Open",
            Activity::Close => "Close",
            Activity::Reset => "Reset",
            Activity::Fail => "Fail",
            Activity::Refuse => "Refuse",
            Activity::Traffic => "Traffic",
        }
    }

    fn is_failure(self) -> bool {
        matches!(self, Activity::Fail | Activity::Refuse)
    }
}

/// A flow as an event.
pub(crate) fn flow(row: &FlowRow) -> Value {
    let reason = row.close_reason.as_deref().unwrap_or_default();
    let activity = match (row.state.as_deref().unwrap_or_default(), reason) {
        (_, "refused") => Activity::Refuse,
        (_, "timed_out" | "unreachable") => Activity::Fail,
        (_, "reset_by_client" | "reset_by_server") => Activity::Reset,
        ("opened", _) => Activity::Open,
        ("closed" | "only", _) => Activity::Close,
        _ => Activity::Traffic,
    };
    let ends = Ends {
        protocol: row.protocol.as_deref(),
        client: (&row.client_ip, row.client_port, &row.client_name),
        server: (&row.server_ip, row.server_port, &row.server_name),
        direction: row.direction.as_deref(),
        connection_id: &row.connection_id,
    };
    let mut event = event(activity, row.time, row.end_time, &ends);
    event.insert(
        "traffic".to_owned(),
        json!({
            "bytes": row.client_bytes + row.server_bytes,
            "bytes_out": row.client_bytes,
            "bytes_in": row.server_bytes,
            "packets": row.client_packets + row.server_packets,
            "packets_out": row.client_packets,
            "packets_in": row.server_packets,
        }),
    );
    if let Some(version) = &row.tls_version {
        let mut tls = Map::new();
        tls.insert("version".to_owned(), version.as_str().into());
        put(&mut tls, "sni", row.tls_sni.as_ref());
        event.insert("tls".to_owned(), tls.into());
    }
    if !reason.is_empty() {
        event.insert("status_detail".to_owned(), reason.into());
    }
    let mut rest = Map::new();
    for (name, value) in [
        ("node", &row.node),
        ("observer", &row.observer),
        ("source", &row.source),
        ("state", &row.state),
        ("encryption", &row.encryption),
        ("client_process", &row.client_process),
        ("client_pod", &row.client_pod),
        ("client_namespace", &row.client_namespace),
        ("server_process", &row.server_process),
        ("server_pod", &row.server_pod),
        ("server_namespace", &row.server_namespace),
        ("policy_verdict", &row.policy_verdict),
        ("trace_id", &row.trace_id),
    ] {
        put(&mut rest, name, value.as_ref());
    }
    for (name, value) in
        [("client_pid", row.client_pid), ("server_pid", row.server_pid), ("rtt_us", row.rtt_us)]
    {
        if let Some(value) = value {
            rest.insert(name.to_owned(), value.into());
        }
    }
    event.insert("unmapped".to_owned(), rest.into());
    event.into()
}

/// A handshake as an event.
pub(crate) fn handshake(row: &TlsHandshakeRow) -> Value {
    let activity = if row.failure_reason.is_some() { Activity::Fail } else { Activity::Open };
    let none = None;
    let ends = Ends {
        protocol: row.protocol.as_deref(),
        client: (&row.client_ip, row.client_port, &none),
        server: (&row.server_ip, row.server_port, &row.tls_sni),
        direction: None,
        connection_id: &row.connection_id,
    };
    let end = row.handshake_us.map(|us| row.time + us * 1000);
    let mut event = event(activity, row.time, end, &ends);
    let mut tls = Map::new();
    // Required by the schema; a handshake that ended before a ServerHello has negotiated none.
    tls.insert("version".to_owned(), row.tls_version.as_deref().unwrap_or("unknown").into());
    put(&mut tls, "sni", row.tls_sni.as_ref());
    put(&mut tls, "cipher", row.tls_cipher.as_ref());
    for (name, hash) in [("ja3_hash", &row.tls_ja3), ("ja3s_hash", &row.tls_ja3s)] {
        if let Some(hash) = hash {
            tls.insert(
                name.to_owned(),
                json!({ "algorithm_id": 1, "algorithm": "MD5", "value": hash.as_str() }),
            );
        }
    }
    if let Some(us) = row.handshake_us {
        tls.insert("handshake_dur".to_owned(), (us / 1000).into());
    }
    if let Some(certificate) = certificate(row) {
        tls.insert("certificate".to_owned(), certificate);
    }
    event.insert("tls".to_owned(), tls.into());
    if let Some(reason) = &row.failure_reason {
        event.insert("status_detail".to_owned(), reason.as_str().into());
    }
    let mut rest = Map::new();
    for (name, value) in [
        ("node", &row.node),
        ("observer", &row.observer),
        ("source", &row.source),
        ("client_process", &row.client_process),
        ("server_process", &row.server_process),
        ("tls_ja4", &row.tls_ja4),
        ("tls_alpn", &row.tls_alpn),
        ("tls_group", &row.tls_group),
    ] {
        put(&mut rest, name, value.as_ref());
    }
    event.insert("unmapped".to_owned(), rest.into());
    event.into()
}

/// The server's certificate; the schema wants issuer, serial number and fingerprint of it, or nothing.
fn certificate(row: &TlsHandshakeRow) -> Option<Value> {
    let (issuer, serial, hash) = (
        row.server_certificate_issuer.as_deref()?,
        row.server_certificate_serial.as_deref()?,
        row.server_certificate_sha256.as_deref()?,
    );
    let mut certificate = Map::new();
    certificate.insert("issuer".to_owned(), issuer.into());
    certificate.insert("serial_number".to_owned(), serial.into());
    certificate.insert(
        "fingerprints".to_owned(),
        json!([{ "algorithm_id": 3, "algorithm": "SHA-256", "value": hash }]),
    );
    put(&mut certificate, "subject", row.server_certificate_subject.as_ref());
    for (name, time) in [
        ("created_time", row.server_certificate_not_before),
        ("expiration_time", row.server_certificate_not_after),
    ] {
        if let Some(time) = time {
            certificate.insert(name.to_owned(), milliseconds(time).into());
        }
    }
    Some(certificate.into())
}

fn milliseconds(nanoseconds: i64) -> i64 {
    nanoseconds.div_euclid(1_000_000)
}

/// Who spoke with whom.
struct Ends<'a> {
    protocol: Option<&'a str>,
    client: (&'a Option<SmolStr>, Option<u16>, &'a Option<SmolStr>),
    server: (&'a Option<SmolStr>, Option<u16>, &'a Option<SmolStr>),
    direction: Option<&'a str>,
    connection_id: &'a Option<SmolStr>,
}

fn event(activity: Activity, start: i64, end: Option<i64>, ends: &Ends<'_>) -> Map<String, Value> {
    let mut event = Map::new();
    let mut insert = |name: &str, value: Value| event.insert(name.to_owned(), value);
    insert("class_uid", CLASS.into());
    insert("class_name", "Network Activity".into());
    insert("category_uid", CATEGORY.into());
    insert("category_name", "Network Activity".into());
    insert("activity_id", (activity as i64).into());
    insert("activity_name", activity.name().into());
    insert("type_uid", (CLASS * 100 + activity as i64).into());
    insert("type_name", format!("Network Activity: {}", activity.name()).into());
    insert("severity_id", 1.into());
    insert("severity", "Informational".into());
    let (status_id, status) = if activity.is_failure() { (2, "Failure") } else { (1, "Success") };
    insert("status_id", status_id.into());
    insert("status", status.into());
    insert("time", milliseconds(start).into());
    insert("start_time", milliseconds(start).into());
    if let Some(end) = end {
        insert("end_time", milliseconds(end).into());
        insert("duration", milliseconds(end - start).into());
    }
    insert(
        "metadata",
        json!({
            "version": OCSF_VERSION,
            "product": { "name": "Weir", "vendor_name": "Weir", "version": env!("CARGO_PKG_VERSION") },
        }),
    );
    insert("src_endpoint", endpoint(ends.client));
    insert("dst_endpoint", endpoint(ends.server));
    insert("connection_info", connection(ends));
    event
}

fn endpoint((ip, port, name): (&Option<SmolStr>, Option<u16>, &Option<SmolStr>)) -> Value {
    let mut endpoint = Map::new();
    put(&mut endpoint, "ip", ip.as_ref());
    // A name that someone asked for need not be one that a host may have.
    let attribute = if name.as_deref().is_some_and(is_hostname) { "hostname" } else { "name" };
    put(&mut endpoint, attribute, name.as_ref());
    if ip.is_none() && name.is_none() {
        // The schema wants an endpoint to be somebody.
        endpoint.insert("name".to_owned(), "unknown".into());
    }
    if let Some(port) = port {
        endpoint.insert("port".to_owned(), port.into());
    }
    endpoint.into()
}

/// RFC 1123 §2.1.
fn is_hostname(name: &str) -> bool {
    name.split('.').all(|label| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    })
}

fn connection(ends: &Ends<'_>) -> Value {
    let mut connection = Map::new();
    let (direction_id, direction) = match ends.direction {
        Some("ingress") => (1, "Inbound"),
        Some("egress") => (2, "Outbound"),
        Some("internal") => (3, "Lateral"),
        _ => (0, "Unknown"),
    };
    connection.insert("direction_id".to_owned(), direction_id.into());
    connection.insert("direction".to_owned(), direction.into());
    put(&mut connection, "uid", ends.connection_id.as_ref());
    if let Some(protocol) = ends.protocol {
        connection.insert("protocol_name".to_owned(), protocol.into());
        // IANA's protocol numbers.
        let number = match protocol {
            "icmp" => Some(1),
            "tcp" => Some(6),
            "udp" => Some(17),
            "sctp" => Some(132),
            _ => None,
        };
        if let Some(number) = number {
            connection.insert("protocol_num".to_owned(), number.into());
        }
    }
    if let Some(ip) = ends.client.0 {
        connection.insert("protocol_ver_id".to_owned(), if ip.contains(':') { 6 } else { 4 }.into());
    }
    connection.into()
}

fn put(object: &mut Map<String, Value>, name: &str, value: Option<&SmolStr>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.as_str().into());
    }
}

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
