//! `dns`.

use super::table;

table! {
    /// A DNS question and its answer.
    DNS DnsRow = "dns" sorted by ["node", "question"];

    /// When the question was seen.
    time: Time ["ns"] {zeek: "ts"};
    /// Name of the node whose probe saw it, or of the capture it was read from.
    node: Text [""] {otel: "k8s.node.name", ipfix: "exporter"};
    /// The connection's id: its pair of initial sequence numbers as hex (client, then server), the same at every
    /// observer and through NAT; for UDP and for TCP whose opening nobody saw, a hash of node, 5-tuple and first
    /// time.
    connection_id: Str [""] {otel: "weir.connection.id", ipfix: "flowId (148)", zeek: "uid"};
    /// Transport protocol: `tcp`, `udp`, `sctp` or `icmp`.
    protocol: Text [""] {otel: "network.transport", ipfix: "protocolIdentifier (4)", zeek: "proto"};
    /// Address of the client, the end that opened the connection, as the observer saw it (IPv4-mapped IPv6 is
    /// written as IPv4).
    client_ip: Text [""] {otel: "client.address", ipfix: "sourceIPv4Address (8), sourceIPv6Address (27)", zeek: "id.orig_h"};
    /// Port of the client.
    client_port: Port [""] {otel: "client.port", ipfix: "sourceTransportPort (7)", zeek: "id.orig_p"};
    /// Address of the server, the end that the connection reached.
    server_ip: Text [""] {otel: "server.address", ipfix: "destinationIPv4Address (12), destinationIPv6Address (28)", zeek: "id.resp_h"};
    /// Port of the server.
    server_port: Port [""] {otel: "server.port", ipfix: "destinationTransportPort (11)", zeek: "id.resp_p"};
    /// Process id of who asked.
    client_pid: Int [""] {otel: "process.pid"};
    /// Name of the process that asked.
    client_process: Text [""] {otel: "process.executable.name"};
    /// Pod that asked.
    client_pod: Text [""] {otel: "k8s.pod.name"};
    /// Namespace of the pod that asked.
    client_namespace: Text [""] {otel: "k8s.namespace.name"};
    /// The name asked for.
    question: Text [""] {otel: "dns.question.name", zeek: "query"};
    /// The record type asked for, such as `A`, `AAAA`, `SRV`.
    question_type: Text [""] {zeek: "qtype_name"};
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, …; null where no answer was seen.
    response_code: Text [""] {otel: "dns.response_code", zeek: "rcode_name"};
    /// Addresses and names answered.
    answers: TextList [""] {otel: "dns.answers", zeek: "answers"};
    /// Smallest time to live among the answers.
    ttl_seconds: Int ["s"] {zeek: "TTLs"};
    /// From question to answer.
    latency_us: Int ["us"] {zeek: "rtt"};
}
