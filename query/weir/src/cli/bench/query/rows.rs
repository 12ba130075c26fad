//! A day of a busy cluster as rows: flows, and the traces, handshakes and dropped packets that go with them. Row by row out
//! of a batch's number, so that threads make batches in any order and each run has the same rows.

use weir_model::tables::DropRow;
use weir_model::{FlowRow, SmolStr, SpanRow, TlsHandshakeRow, format_smolstr, ids};

use super::cluster::{Cluster, Outside, Pod, Random, mixed};

const SECOND_NS: i64 = 1_000_000_000;
const INTERVAL_NS: i64 = 10 * SECOND_NS;
/// 2026-11-18, 00:00 UTC.
pub(super) const START_NS: i64 = 1_794_960_000 * SECOND_NS;
/// A day after it.
pub(super) const END_NS: i64 = START_NS + 86_400 * SECOND_NS;
/// Raised with each change of what is drawn: stores of another one are not used again.
pub(super) const VERSION: u32 = 1;
/// Flows in a batch, as a probe sends them.
pub(super) const BATCH_ROWS: u64 = 8_192;
/// Flows for each trace, each handshake and each row of drops.
const PER_TRACE: u64 = 24;
const PER_HANDSHAKE: u64 = 20;
const PER_DROP: u64 = 100;
/// Connections that live for long, in each hour.
const LASTING: u64 = 20_000;
/// Drop reasons, the commonest first: each half as common as the one before.
const REASONS: [&str; 8] = [
    "NETFILTER_DROP",
    "NO_SOCKET",
    "TCP_OLD_DATA",
    "SOCKET_RCVBUFF",
    "TCP_ZEROWINDOW",
    "NEIGH_FAILED",
    "TCP_INVALID_SEQUENCE",
    "QDISC_DROP",
];

/// The rows of one batch.
pub(super) struct Drawn {
    pub(super) flows: Vec<FlowRow>,
    pub(super) spans: Vec<SpanRow>,
    pub(super) handshakes: Vec<TlsHandshakeRow>,
    pub(super) drops: Vec<DropRow>,
}

/// The batch with that number of `flows` flows in all.
pub(super) fn batch(cluster: &Cluster, number: u64, flows: u64) -> Drawn {
    let mut random = Random::new(mixed(number));
    let rows = number * BATCH_ROWS..flows.min((number + 1) * BATCH_ROWS);
    let capacity = BATCH_ROWS as usize;
    let mut drawn = Drawn {
        flows: Vec::with_capacity(capacity),
        spans: Vec::with_capacity(capacity / 2),
        handshakes: Vec::new(),
        drops: Vec::new(),
    };
    for row in rows {
        let passed = i128::from(row) * i128::from(END_NS - START_NS) / i128::from(flows);
        let came = START_NS + passed as i64;
        // One in two hundred comes late, by up to half an hour: its probe was away.
        let late = if random.below(200) == 0 { random.below(1_800) as i64 * SECOND_NS } else { 0 };
        let flow = flow(cluster, (came - late).max(START_NS), &mut random);
        if row % PER_TRACE == 0 {
            trace(cluster, &flow, &mut random, &mut drawn.spans);
        }
        if row % PER_HANDSHAKE == 0 {
            drawn.handshakes.push(handshake(cluster, flow.time, &mut random));
        }
        if row % PER_DROP == 0 {
            drawn.drops.push(dropped(&flow, &mut random));
        }
        drawn.flows.push(flow);
    }
    drawn
}

fn flow(cluster: &Cluster, came: i64, random: &mut Random) -> FlowRow {
    let interval = came - came.rem_euclid(INTERVAL_NS);
    // Some rows are of connections that last, the others open and close in their interval.
    let lasts = random.percent(30);
    let slot = came / (3_600 * SECOND_NS) * LASTING as i64 + random.below(LASTING) as i64;
    let mut of_connection = Random::new(if lasts { mixed(slot as u64) } else { random.next() });
    let opened = interval + random.below(9_000_000_000) as i64;
    let times = if lasts {
        let hour = came - came.rem_euclid(3_600 * SECOND_NS);
        (interval, interval + INTERVAL_NS, hour - of_connection.below(3_600_000_000_000) as i64)
    } else {
        (opened, opened + random.heavy(2e6, 0.9, 9e8), opened)
    };
    let row = ends(cluster, &mut of_connection);
    let (client_bytes, server_bytes) = (random.heavy(300.0, 1.3, 1e8), random.heavy(900.0, 1.1, 4e9));
    let distance = match (&row.client_zone, &row.server_zone) {
        (Some(client), Some(server)) if client == server => 150.0,
        (Some(_), Some(_)) => 700.0,
        _ => 9_000.0,
    };
    let rtt = random.heavy(distance, 3.0, 5e6);
    let failed = !lasts && random.percent(2);
    let exchanges = 1 + random.heavy(1.0, 1.5, 1e4);
    let exchange = random.heavy(600.0, 1.2, 3e7);
    let is_tcp = row.protocol.as_deref() == Some("tcp");
    let of_tcp = |value: i64| is_tcp.then_some(value);
    FlowRow {
        time: times.0,
        end_time: Some(times.1),
        opened_time: Some(times.2),
        state: Some(SmolStr::new_static(if lasts { "ongoing" } else { "only" })),
        close_reason: (!lasts).then(|| {
            SmolStr::new_static(match (is_tcp, failed) {
                (false, _) => "idle",
                (true, true) => "reset_by_server",
                (true, false) => "fin",
            })
        }),
        client_bytes,
        server_bytes,
        client_packets: 4 + client_bytes / 1_400,
        server_packets: 4 + server_bytes / 1_400,
        connections: i64::from(!lasts),
        client_retransmits: of_tcp(i64::from(random.percent(1))),
        server_retransmits: of_tcp(i64::from(random.percent(1))),
        rtt_us: of_tcp(rtt),
        rtt_min_us: of_tcp(rtt * 3 / 4),
        connect_us: of_tcp(rtt + random.below(300) as i64),
        first_byte_us: of_tcp(rtt + random.heavy(400.0, 1.2, 6e7)),
        exchanges: of_tcp(exchanges),
        exchange_p50_us: of_tcp(exchange),
        exchange_p90_us: of_tcp(exchange * 2),
        exchange_p99_us: of_tcp(exchange * 5),
        resets: i64::from(failed),
        ..row
    }
}

/// Who talks to whom, and how: the same for all rows of a connection.
fn ends(cluster: &Cluster, random: &mut Random) -> FlowRow {
    let connection = ids::tcp_connection_id(random.next() as u32, random.next() as u32);
    let row = FlowRow {
        trace_id: Some(ids::trace_id(&connection)),
        connection_id: Some(connection),
        client_port: Some(32_768 + random.below(28_000) as u16),
        observer: Some(SmolStr::new_static("both")),
        source: Some(SmolStr::new_static("probe")),
        protocol: Some(SmolStr::new_static(if random.percent(8) { "udp" } else { "tcp" })),
        ..FlowRow::default()
    };
    match random.below(100) {
        0..10 => {
            let (client, server) = (cluster.any(random), cluster.outside(random));
            with_tls(to_outside(with_client(row, client), server), &server.name, random.percent(95))
        }
        10..16 => {
            let (client, server) = (cluster.outside(random), cluster.called(random));
            let row = with_tls(with_server(row, server), &server.service_name, true);
            FlowRow {
                client_ip: Some(client.ip.clone()),
                client_identity: Some(SmolStr::new_static("external")),
                node: Some(server.node.clone()),
                observer: Some(SmolStr::new_static("server")),
                direction: Some(SmolStr::new_static("ingress")),
                ..row
            }
        }
        _ => {
            let (client, server) = (cluster.any(random), cluster.called(random));
            let is_tls = server.port == 443 || server.port == 8443;
            let row = with_server(with_client(row, client), server);
            let row = FlowRow { direction: Some(SmolStr::new_static("internal")), ..row };
            with_tls(row, &server.service_name, is_tls)
        }
    }
}

fn with_client(row: FlowRow, pod: &Pod) -> FlowRow {
    FlowRow {
        node: Some(pod.node.clone()),
        client_ip: Some(pod.ip.clone()),
        client_pid: Some(pod.pid),
        client_process: Some(pod.process.clone()),
        client_container: Some(pod.container.clone()),
        client_pod: Some(pod.name.clone()),
        client_namespace: Some(pod.namespace.clone()),
        client_workload: Some(pod.workload.clone()),
        client_workload_kind: Some(pod.kind.clone()),
        client_node: Some(pod.node.clone()),
        client_zone: Some(pod.zone.clone()),
        client_identity: Some(SmolStr::new_static("pod")),
        ..row
    }
}

fn with_server(row: FlowRow, pod: &Pod) -> FlowRow {
    FlowRow {
        server_ip: Some(pod.ip.clone()),
        server_port: Some(pod.port),
        service_ip: Some(pod.service_ip.clone()),
        service_port: Some(pod.port),
        server_pid: Some(pod.pid),
        server_process: Some(pod.process.clone()),
        server_container: Some(pod.container.clone()),
        server_pod: Some(pod.name.clone()),
        server_namespace: Some(pod.namespace.clone()),
        server_workload: Some(pod.workload.clone()),
        server_workload_kind: Some(pod.kind.clone()),
        server_node: Some(pod.node.clone()),
        server_zone: Some(pod.zone.clone()),
        server_identity: Some(SmolStr::new_static("pod")),
        ..row
    }
}

fn to_outside(row: FlowRow, server: &Outside) -> FlowRow {
    FlowRow {
        server_ip: Some(server.ip.clone()),
        server_port: Some(443),
        server_name: Some(server.name.clone()),
        server_identity: Some(SmolStr::new_static("external")),
        observer: Some(SmolStr::new_static("client")),
        direction: Some(SmolStr::new_static("egress")),
        ..row
    }
}

fn with_tls(row: FlowRow, name: &SmolStr, is_tls: bool) -> FlowRow {
    let text = if is_tls { "tls" } else { "plaintext" };
    FlowRow {
        encryption: Some(SmolStr::new_static(text)),
        tls_version: is_tls.then(|| SmolStr::new_static("1.3")),
        tls_sni: is_tls.then(|| name.clone()),
        ..row
    }
}

/// The application's spans of one request that began with `flow`: its server's, then calls from service to service.
fn trace(cluster: &Cluster, flow: &FlowRow, random: &mut Random, spans: &mut Vec<SpanRow>) {
    let Some(trace) = &flow.trace_id else { return };
    let mut service = cluster.called(random);
    let (mut start, mut duration) = (flow.time, random.heavy(8e6, 1.3, 3e10));
    let mut server = span_id(random);
    spans.push(span(trace, &server, None, service, "server", (start, duration), random));
    for _ in 0..=random.below(5) {
        let called = cluster.called(random);
        start += duration / 10 + random.below(100_000) as i64;
        duration = duration * (30 + random.below(50) as i64) / 100;
        let client = span_id(random);
        spans.push(span(trace, &client, Some(&server), service, "client", (start, duration), random));
        let network = 50_000 + random.below(900_000) as i64;
        start += network;
        duration = (duration - 2 * network).max(10_000);
        server = span_id(random);
        spans.push(span(trace, &server, Some(&client), called, "server", (start, duration), random));
        service = called;
    }
}

fn span_id(random: &mut Random) -> SmolStr {
    format_smolstr!("{:016x}", random.next())
}

fn span(
    trace: &SmolStr,
    id: &SmolStr,
    parent: Option<&SmolStr>,
    pod: &Pod,
    kind: &'static str,
    (time, duration_ns): (i64, i64),
    random: &mut Random,
) -> SpanRow {
    let route = format_smolstr!("/{}/v{}/{{id}}", pod.trade, random.below(6));
    let (method, types) = if random.percent(70) { ("GET", "sssi") } else { ("POST", "sssi") };
    let failed = random.percent(2);
    let attributes = vec![
        ("http.request.method".into(), method.into()),
        ("http.route".into(), route.clone()),
        ("server.address".into(), pod.service_name.clone()),
        ("http.response.status_code".into(), SmolStr::new_static(if failed { "503" } else { "200" })),
    ];
    let resource_attributes = vec![
        ("service.name".into(), pod.workload.clone()),
        ("service.namespace".into(), pod.namespace.clone()),
        ("k8s.pod.name".into(), pod.name.clone()),
        ("k8s.node.name".into(), pod.node.clone()),
        ("telemetry.sdk.language".into(), SmolStr::new_static("go")),
    ];
    SpanRow {
        time,
        end_time: Some(time + duration_ns),
        trace_id: Some(trace.clone()),
        span_id: Some(id.clone()),
        parent_span_id: parent.cloned(),
        flags: Some(1),
        service: Some(pod.workload.clone()),
        operation: Some(format_smolstr!("{method} {route}")),
        kind: Some(SmolStr::new_static(kind)),
        status: Some(SmolStr::new_static(if failed { "error" } else { "unset" })),
        duration_ns,
        attributes,
        attribute_types: Some(SmolStr::new_static(types)),
        resource_attributes,
        resource_attribute_types: Some(SmolStr::new_static("sssss")),
        scope_name: Some(SmolStr::new_static(
            "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
        )),
        scope_version: Some(SmolStr::new_static("0.61.0")),
        source: Some(SmolStr::new_static("otlp")),
        node: Some(pod.node.clone()),
        ..SpanRow::default()
    }
}

fn handshake(cluster: &Cluster, time: i64, random: &mut Random) -> TlsHandshakeRow {
    let (client, server) = (cluster.any(random), cluster.called(random));
    let (version, cipher, group) = match random.below(100) {
        0..80 => {
            ("1.3", "TLS_AES_128_GCM_SHA256", if random.percent(60) { "X25519MLKEM768" } else { "x25519" })
        }
        80..98 => ("1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "x25519"),
        _ => ("1.1", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "secp256r1"),
    };
    // On the wire before TLS 1.3; of half of the others the programs' libraries tell.
    let shows_certificate = version != "1.3" || random.percent(50);
    let certificate = mixed(server.number);
    let ends = END_NS + (certificate % 365) as i64 * 86_400 * SECOND_NS - 20 * 86_400 * SECOND_NS;
    let of_certificate = |text: SmolStr| shows_certificate.then_some(text);
    let handshake_us = random.heavy(800.0, 1.5, 1e7);
    TlsHandshakeRow {
        time,
        connection_id: Some(ids::tcp_connection_id(random.next() as u32, random.next() as u32)),
        node: Some(client.node.clone()),
        observer: Some(SmolStr::new_static("client")),
        protocol: Some(SmolStr::new_static("tcp")),
        client_ip: Some(client.ip.clone()),
        client_port: Some(32_768 + random.below(28_000) as u16),
        server_ip: Some(server.ip.clone()),
        server_port: Some(443),
        client_pid: Some(client.pid),
        client_process: Some(client.process.clone()),
        tls_version: Some(SmolStr::new_static(version)),
        tls_versions_offered: vec!["1.3".into(), "1.2".into()],
        tls_cipher: Some(SmolStr::new_static(cipher)),
        tls_group: Some(SmolStr::new_static(group)),
        tls_post_quantum: Some(group == "X25519MLKEM768"),
        tls_sni: Some(server.service_name.clone()),
        tls_alpn_offered: vec!["h2".into(), "http/1.1".into()],
        tls_ja3: Some(format_smolstr!(
            "{:016x}{:016x}",
            mixed(client.number % 40),
            mixed(client.number % 40 + 99)
        )),
        tls_ja4: Some(format_smolstr!(
            "t13d1516h2_{:012x}_{:012x}",
            client.number % 40,
            client.number % 40 + 7
        )),
        tls_resumed: Some(random.percent(30)),
        tls_established: Some(!random.percent(1)),
        hello_us: Some(handshake_us / 3),
        handshake_us: Some(handshake_us),
        server_certificate_subject: of_certificate(format_smolstr!("CN={}", server.service_name)),
        server_certificate_issuer: of_certificate(SmolStr::new_static("CN=Cluster CA,O=Example")),
        server_certificate_sans: if shows_certificate {
            vec![server.service_name.clone()]
        } else {
            Vec::new()
        },
        server_certificate_serial: of_certificate(format_smolstr!("{certificate:016x}")),
        server_certificate_sha256: of_certificate(format_smolstr!(
            "{:016x}{:016x}{:016x}{:016x}",
            mixed(certificate),
            mixed(certificate + 1),
            mixed(certificate + 2),
            mixed(certificate + 3)
        )),
        server_certificate_not_before: shows_certificate.then_some(ends - 365 * 86_400 * SECOND_NS),
        server_certificate_not_after: shows_certificate.then_some(ends),
        server_certificate_key: of_certificate(SmolStr::new_static("ec-p256")),
        server_certificate_self_signed: shows_certificate.then_some(false),
        certificate_source: of_certificate(SmolStr::new_static(if version == "1.3" {
            "library"
        } else {
            "wire"
        })),
        certificate_sni_mismatch: shows_certificate.then_some(false),
        source: Some(SmolStr::new_static("probe")),
        ..TlsHandshakeRow::default()
    }
}

fn dropped(flow: &FlowRow, random: &mut Random) -> DropRow {
    let reason = random.next().trailing_zeros() as usize;
    let packets = random.heavy(1.0, 1.2, 1e5);
    DropRow {
        time: flow.time + random.below(1_000_000_000) as i64,
        end_time: Some(flow.time + INTERVAL_NS),
        node: flow.node.clone(),
        connection_id: flow.connection_id.clone(),
        protocol: flow.protocol.clone(),
        client_ip: flow.client_ip.clone(),
        client_port: flow.client_port,
        server_ip: flow.server_ip.clone(),
        server_port: flow.server_port,
        reason: Some(SmolStr::new_static(REASONS[reason.min(REASONS.len() - 1)])),
        location: Some(SmolStr::new_static(if reason == 0 { "netfilter" } else { "tcp_v4_rcv" })),
        packets,
        bytes: packets * (60 + random.below(1_400) as i64),
        ..DropRow::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_same_each_time_and_holds_what_goes_with_its_flows() {
        let cluster = Cluster::new();
        let (one, again) = (batch(&cluster, 3, 40_000), batch(&Cluster::new(), 3, 40_000));
        assert_eq!(one.flows, again.flows);
        assert_eq!(one.spans, again.spans);
        assert_eq!(one.flows.len() as u64, BATCH_ROWS);
        let traces: Vec<_> = one.flows.iter().filter_map(|flow| flow.trace_id.clone()).collect();
        assert!(one.spans.iter().all(|span| span.trace_id.as_ref().is_some_and(|id| traces.contains(id))));
        assert_eq!(batch(&cluster, 4, 40_000).flows.len(), 40_000 - 4 * 8_192, "the last is what is left");
        for flow in &one.flows {
            assert!((START_NS..END_NS + INTERVAL_NS).contains(&flow.time));
        }
    }
}
