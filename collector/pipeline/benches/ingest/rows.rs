//! Flows as a cluster of a few nodes has them: 400 pods of 40 workloads that talk to each other, most over TLS.

use weir_model::{FlowRow, SmolStr, ToSmolStr, format_smolstr, ids};

/// A small generator with a fixed seed (`SplitMix64`): the same rows in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> i64 {
        (self.next() % bound) as i64
    }
}

/// One end of a connection.
struct End {
    ip: SmolStr,
    pid: i64,
    process: SmolStr,
    container: SmolStr,
    pod: SmolStr,
    namespace: SmolStr,
    workload: SmolStr,
    node: SmolStr,
    zone: SmolStr,
}

fn end(pod: i64) -> End {
    let workload = pod % 40;
    End {
        ip: format_smolstr!("10.42.{}.{}", pod / 100, pod % 100 + 2),
        pid: 1000 + pod * 7,
        process: format_smolstr!("svc-{}", workload % 12),
        container: format_smolstr!("{:016x}{:016x}{:016x}{:016x}", pod, pod * 31, pod * 77, pod * 131),
        pod: format_smolstr!("workload-{workload}-5d9c7b{pod:04x}"),
        namespace: format_smolstr!("team-{}", workload % 8),
        workload: format_smolstr!("workload-{workload}"),
        node: format_smolstr!("node-{}", pod % 4),
        zone: format_smolstr!("zone-{}", pod % 2),
    }
}

/// `count` flows from number `first` on: a thousand a second, in intervals of ten seconds.
pub(crate) fn flows(first: usize, count: usize) -> Vec<FlowRow> {
    let mut random = Random(first as u64);
    (first..first + count).map(|number| flow(number as i64, &mut random)).collect()
}

/// The same flow as its server's node tells it.
pub(crate) fn other_end(client: &FlowRow) -> FlowRow {
    FlowRow {
        time: client.time + 40_000,
        end_time: client.end_time.map(|end| end + 30_000),
        node: client.server_node.clone(),
        observer: Some("server".into()),
        client_retransmits: None,
        client_pid: None,
        client_process: None,
        client_container: None,
        ..client.clone()
    }
}

fn flow(number: i64, random: &mut Random) -> FlowRow {
    let (client, server) = (end(random.below(400)), end(random.below(400)));
    let service = random.below(40);
    let interval = 1_795_000_000_000_000_000 + number / 10_000 * 10_000_000_000;
    let opened = interval + random.below(9_000_000_000);
    let connection = ids::tcp_connection_id(random.next() as u32, random.next() as u32);
    let is_tls = random.below(10) < 7;
    let is_over = random.below(10) < 8;
    FlowRow {
        time: interval,
        end_time: Some(opened + random.below(900_000_000)),
        opened_time: Some(opened),
        trace_id: Some(ids::trace_id(&connection)),
        connection_id: Some(connection),
        state: Some(if is_over { "only".into() } else { "opened".into() }),
        close_reason: is_over.then(|| "fin".into()),
        node: Some(client.node.clone()),
        observer: Some("client".into()),
        protocol: Some("tcp".into()),
        client_ip: Some(client.ip),
        client_port: Some(32_768 + random.below(28_000) as u16),
        server_ip: Some(server.ip),
        server_port: Some([443, 8080, 5432, 6379][random.below(4) as usize]),
        service_ip: Some(format_smolstr!("10.43.0.{service}")),
        service_port: Some(443),
        client_bytes: random.below(4_000),
        server_bytes: random.below(60_000),
        client_packets: 4 + random.below(12),
        server_packets: 4 + random.below(40),
        client_retransmits: Some(i64::from(random.below(100) == 0)),
        server_retransmits: None,
        rtt_us: Some(100 + random.below(2_000)),
        rtt_min_us: Some(80 + random.below(200)),
        connect_us: Some(100 + random.below(1_000)),
        first_byte_us: Some(500 + random.below(20_000)),
        client_pid: Some(client.pid),
        client_process: Some(client.process),
        client_container: Some(client.container),
        client_pod: Some(client.pod),
        client_namespace: Some(client.namespace),
        client_workload: Some(client.workload),
        client_workload_kind: Some("Deployment".into()),
        client_node: Some(client.node),
        client_zone: Some(client.zone),
        client_identity: Some("pod".into()),
        server_pid: Some(server.pid),
        server_process: Some(server.process),
        server_container: Some(server.container),
        server_pod: Some(server.pod),
        server_namespace: Some(server.namespace),
        server_workload: Some(server.workload),
        server_workload_kind: Some("Deployment".into()),
        server_node: Some(server.node),
        server_zone: Some(server.zone),
        server_identity: Some("pod".into()),
        direction: Some("internal".into()),
        encryption: Some(if is_tls { "tls".into() } else { "plaintext".into() }),
        tls_version: is_tls.then(|| "1.3".into()),
        tls_sni: is_tls.then(|| format_smolstr!("workload-{service}.team-{}.svc", service % 8)),
        source: Some("probe".to_smolstr()),
        ..FlowRow::default()
    }
}
