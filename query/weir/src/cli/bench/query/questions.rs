//! The questions, in the words of each engine: the same rows are asked for in the same order. Where their dialects differ
//! each gets what its own manual recommends, such as its usual approximate percentile.

use super::cluster::Cluster;
use super::rows::END_NS;

const MINUTE_NS: i64 = 60_000_000_000;
const HOUR_NS: i64 = 60 * MINUTE_NS;

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Weir,
    DuckDb,
    ClickHouse,
}

/// A question that each engine is asked.
pub(super) struct Question {
    pub(super) what: &'static str,
    text: Box<dyn Fn(Dialect) -> String>,
}

impl Question {
    fn new(what: &'static str, text: impl Fn(Dialect) -> String + 'static) -> Question {
        Question { what, text: Box::new(text) }
    }

    pub(super) fn text(&self, dialect: Dialect) -> String {
        (self.text)(dialect)
    }
}

/// A time as a literal.
fn at(dialect: Dialect, ns: i64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default();
    let text = time.strftime("%Y-%m-%d %H:%M:%S");
    match dialect {
        Dialect::Weir | Dialect::DuckDb => format!("TIMESTAMP '{text}'"),
        Dialect::ClickHouse => format!("toDateTime64('{text}', 9, 'UTC')"),
    }
}

/// Rows of the last `ns` before the end.
fn last(dialect: Dialect, column: &str, ns: i64) -> String {
    format!("{column} >= {} AND {column} < {}", at(dialect, END_NS - ns), at(dialect, END_NS))
}

fn minute(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Weir | Dialect::DuckDb => "date_trunc('minute', time)",
        Dialect::ClickHouse => "toStartOfMinute(time)",
    }
}

/// What somebody wants to see of one address or pod.
const SHOWN: &str = "time, end_time, connection_id, state, close_reason, protocol, client_ip, client_port, client_pod, client_namespace,
    server_ip, server_port, server_pod, server_namespace, server_name, client_bytes, server_bytes, rtt_us, client_retransmits,
    encryption, tls_version, tls_sni, direction, trace_id";

/// The fourteen.
pub(super) fn all(cluster: &Cluster) -> Vec<Question> {
    let one = cluster.one();
    let (ip, pod) = (one.ip.clone(), one.name.clone());
    vec![
        Question::new("top talkers by namespace, 15 min", |d| {
            format!(
                "SELECT client_namespace, sum(client_bytes + server_bytes) AS bytes, count(*) AS flows FROM flows
                 WHERE {} GROUP BY client_namespace ORDER BY bytes DESC, 1 LIMIT 20",
                last(d, "time", 15 * MINUTE_NS)
            )
        }),
        Question::new("p95 RTT by service and minute, 1 h", |d| {
            let p95 = match d {
                Dialect::Weir => "p95(rtt_us)",
                Dialect::DuckDb => "approx_quantile(rtt_us, 0.95)",
                Dialect::ClickHouse => "quantile(0.95)(rtt_us)",
            };
            let (minute, last) = (minute(d), last(d, "time", HOUR_NS));
            format!(
                "SELECT {minute} AS minute, server_workload, {p95} AS p95_us, count(*) AS flows FROM flows
                 WHERE {last} AND rtt_us IS NOT NULL AND direction = 'internal'
                 GROUP BY {minute}, server_workload ORDER BY flows DESC, minute, server_workload LIMIT 200"
            )
        }),
        Question::new("everything about one IP, 24 h", move |_| {
            format!(
                "SELECT {SHOWN} FROM flows WHERE client_ip = '{ip}' OR server_ip = '{ip}'
                 ORDER BY time DESC, connection_id, client_bytes, server_bytes LIMIT 1000"
            )
        }),
        Question::new("everything about one pod, 1 h", move |d| {
            format!(
                "SELECT {SHOWN} FROM flows WHERE (client_pod = '{pod}' OR server_pod = '{pod}') AND {}
                 ORDER BY time, connection_id, client_bytes, server_bytes LIMIT 1000",
                last(d, "time", HOUR_NS)
            )
        }),
        Question::new("drop reasons by minute, 6 h", |d| {
            let (minute, last) = (minute(d), last(d, "time", 6 * HOUR_NS));
            format!(
                "SELECT {minute} AS minute, reason, sum(packets) AS packets, count(*) AS told FROM drops
                 WHERE {last} GROUP BY {minute}, reason ORDER BY minute, reason"
            )
        }),
        Question::new("egress by namespace, 24 h", |_| {
            "SELECT client_namespace, server_name, sum(client_bytes) AS sent, count(*) AS flows, count(DISTINCT client_pod) AS pods
             FROM flows WHERE direction = 'egress' GROUP BY client_namespace, server_name ORDER BY sent DESC, 1, 2 LIMIT 50"
                .to_owned()
        }),
        Question::new("plaintext between namespaces, 24 h", |_| {
            "SELECT client_namespace, server_namespace, server_port, count(*) AS flows, sum(client_bytes + server_bytes) AS bytes
             FROM flows WHERE encryption = 'plaintext' AND direction = 'internal' AND client_namespace <> server_namespace
             GROUP BY client_namespace, server_namespace, server_port ORDER BY flows DESC, 1, 2, 3 LIMIT 100"
                .to_owned()
        }),
        Question::new("TLS versions and ciphers, 24 h", |_| {
            "SELECT tls_version, tls_cipher, tls_group, count(*) AS handshakes, sum(CASE WHEN tls_resumed THEN 1 ELSE 0 END) AS resumed
             FROM tls_handshakes GROUP BY tls_version, tls_cipher, tls_group ORDER BY handshakes DESC, 1, 2, 3"
                .to_owned()
        }),
        Question::new("certificates that end in 30 days", |d| {
            format!(
                "SELECT server_certificate_subject, server_certificate_sha256, server_certificate_not_after, count(*) AS handshakes,
                    count(DISTINCT client_ip) AS clients
                 FROM tls_handshakes WHERE server_certificate_not_after >= {} AND server_certificate_not_after < {}
                 GROUP BY server_certificate_subject, server_certificate_sha256, server_certificate_not_after
                 ORDER BY server_certificate_not_after, server_certificate_sha256",
                at(d, END_NS),
                at(d, END_NS + 30 * 24 * HOUR_NS)
            )
        }),
        Question::new("part of a server name (SNI), 24 h", |_| {
            "SELECT tls_sni, count(*) AS flows, sum(client_bytes) AS sent FROM flows
             WHERE tls_sni LIKE '%ledger%' GROUP BY tls_sni ORDER BY flows DESC, tls_sni LIMIT 100"
                .to_owned()
        }),
        Question::new("distinct peers by pod, 24 h", |_| {
            "SELECT client_pod, count(DISTINCT server_ip) AS peers, count(*) AS flows FROM flows
             WHERE client_identity = 'pod' GROUP BY client_pod ORDER BY peers DESC, client_pod LIMIT 50"
                .to_owned()
        }),
        Question::new("flows joined with spans by trace, 1 h", |d| {
            format!(
                "SELECT s.service AS service, count(*) AS spans, sum(CASE WHEN s.status = 'error' THEN 1 ELSE 0 END) AS errors,
                    sum(f.client_retransmits + f.server_retransmits) AS retransmits, max(s.duration_ns) AS slowest_ns
                 FROM spans s JOIN flows f ON s.trace_id = f.trace_id
                 WHERE {} AND {} AND f.protocol = 'tcp' GROUP BY s.service ORDER BY spans DESC, service LIMIT 50",
                last(d, "s.time", HOUR_NS),
                last(d, "f.time", HOUR_NS)
            )
        }),
        Question::new("slowest traces, 6 h", |d| {
            format!(
                "SELECT trace_id, min(time) AS began, count(*) AS spans, max(duration_ns) AS slowest_ns FROM spans
                 WHERE {} GROUP BY trace_id ORDER BY slowest_ns DESC, trace_id LIMIT 20",
                last(d, "time", 6 * HOUR_NS)
            )
        }),
        Question::new("namespace to namespace, 24 h", |_| {
            "SELECT client_namespace, server_namespace, count(*) AS flows, sum(client_bytes) AS sent, sum(server_bytes) AS received,
                max(rtt_us) AS worst_rtt_us
             FROM flows WHERE direction = 'internal' GROUP BY client_namespace, server_namespace ORDER BY 1, 2"
                .to_owned()
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_is_asked_for_the_same_time_in_its_own_words() {
        let questions = all(&Cluster::new());
        assert_eq!(questions.len(), 14);
        let talkers = &questions[0];
        assert!(talkers.text(Dialect::Weir).contains("time >= TIMESTAMP '2026-11-18 23:45:00'"));
        assert!(
            talkers
                .text(Dialect::ClickHouse)
                .contains("time >= toDateTime64('2026-11-18 23:45:00', 9, 'UTC')")
        );
    }
}
