//! Flows as a busy cluster has them: services called by Zipf's law, sizes with a heavy tail, round trips by zone.

use weir_model::{FlowRow, SmolStr, format_smolstr, ids};

/// Start of the first interval, UTC nanoseconds; a full hour.
pub(crate) const START: i64 = 1_794_999_600_000_000_000;
/// Flows that end in one second.
const A_SECOND: i64 = 1_000;
const WORKLOADS: usize = 200;
const PODS_EACH: i64 = 4;

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

    /// In (0, 1].
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Pareto's law: most are near `least`, a few are thousands of times as large.
    fn heavy(&mut self, least: f64, shape: f64, most: f64) -> i64 {
        (least / self.share().powf(1.0 / shape)).min(most) as i64
    }
}

/// One pod.
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
    port: u16,
}

fn end(number: i64) -> End {
    let workload = number / PODS_EACH;
    End {
        ip: format_smolstr!("10.42.{}.{}", number / 200, number % 200 + 2),
        pid: 1000 + number * 7,
        process: format_smolstr!("svc-{}", workload % 60),
        container: format_smolstr!(
            "{:016x}{:016x}{:016x}{:016x}",
            number,
            number * 31,
            number * 77,
            number * 131
        ),
        pod: format_smolstr!("workload-{workload}-5d9c7b{number:04x}"),
        namespace: format_smolstr!("team-{}", workload % 24),
        workload: format_smolstr!("workload-{workload}"),
        node: format_smolstr!("node-{}", number % 16),
        zone: format_smolstr!("zone-{}", number % 3),
        port: [443, 8080, 5432, 6379, 9092][workload as usize % 5],
    }
}

/// The cluster, from which flows are drawn.
pub(crate) struct Cluster {
    ends: Vec<End>,
    /// How often a workload is called, as a running sum: the k-th is called 1/k as often as the first.
    calls: Vec<f64>,
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        let ends = (0..WORKLOADS as i64 * PODS_EACH).map(end).collect();
        let mut sum = 0.0;
        let calls = (1..=WORKLOADS).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Cluster { ends, calls: calls.collect() }
    }

    /// `count` flows from number `first` on, in intervals of ten seconds.
    pub(crate) fn flows(&self, first: usize, count: usize) -> Vec<FlowRow> {
        let mut random = Random(first as u64);
        (first..first + count).map(|number| self.flow(number as i64, &mut random)).collect()
    }

    fn called(&self, random: &mut Random) -> &End {
        let wanted = random.share() * self.calls.last().copied().unwrap_or_default();
        let workload = self.calls.partition_point(|sum| *sum < wanted).min(WORKLOADS - 1) as i64;
        &self.ends[(workload * PODS_EACH + random.below(PODS_EACH as u64)) as usize]
    }

    fn flow(&self, number: i64, random: &mut Random) -> FlowRow {
        let server = self.called(random);
        let client = &self.ends[random.below(self.ends.len() as u64) as usize];
        let interval = START + number / (10 * A_SECOND) * 10_000_000_000;
        let opened = interval + random.below(9_000_000_000);
        let connection = ids::tcp_connection_id(random.next() as u32, random.next() as u32);
        let is_tls = server.port == 443;
        let is_over = random.below(10) < 8;
        let (client_bytes, server_bytes) = (random.heavy(300.0, 1.3, 1e8), random.heavy(900.0, 1.1, 4e9));
        let distance = if client.zone == server.zone { 150.0 } else { 700.0 };
        let rtt = random.heavy(distance, 3.0, 5e6);
        FlowRow {
            time: interval,
            end_time: Some(opened + random.below(900_000_000)),
            opened_time: Some(opened),
            trace_id: Some(ids::trace_id(&connection)),
            connection_id: Some(connection),
            state: Some(if is_over { "only".into() } else { "opened".into() }),
            close_reason: is_over.then(|| "fin".into()),
            node: Some(client.node.clone()),
            observer: Some("both".into()),
            protocol: Some("tcp".into()),
            client_ip: Some(client.ip.clone()),
            client_port: Some(32_768 + random.below(28_000) as u16),
            server_ip: Some(server.ip.clone()),
            server_port: Some(server.port),
            client_bytes,
            server_bytes,
            client_packets: 4 + client_bytes / 1400,
            server_packets: 4 + server_bytes / 1400,
            client_retransmits: Some(i64::from(random.below(100) == 0)),
            server_retransmits: Some(i64::from(random.below(100) == 0)),
            rtt_us: Some(rtt),
            rtt_min_us: Some(rtt * 3 / 4),
            connect_us: Some(rtt + random.below(300)),
            first_byte_us: Some(rtt + random.heavy(400.0, 1.2, 6e7)),
            client_pid: Some(client.pid),
            client_process: Some(client.process.clone()),
            client_container: Some(client.container.clone()),
            client_pod: Some(client.pod.clone()),
            client_namespace: Some(client.namespace.clone()),
            client_workload: Some(client.workload.clone()),
            client_workload_kind: Some("Deployment".into()),
            client_node: Some(client.node.clone()),
            client_zone: Some(client.zone.clone()),
            client_identity: Some("pod".into()),
            server_pid: Some(server.pid),
            server_process: Some(server.process.clone()),
            server_container: Some(server.container.clone()),
            server_pod: Some(server.pod.clone()),
            server_namespace: Some(server.namespace.clone()),
            server_workload: Some(server.workload.clone()),
            server_workload_kind: Some("Deployment".into()),
            server_node: Some(server.node.clone()),
            server_zone: Some(server.zone.clone()),
            server_identity: Some("pod".into()),
            direction: Some("internal".into()),
            encryption: Some(if is_tls { "tls".into() } else { "plaintext".into() }),
            tls_version: is_tls.then(|| "1.3".into()),
            source: Some("probe".into()),
            ..FlowRow::default()
        }
    }
}
