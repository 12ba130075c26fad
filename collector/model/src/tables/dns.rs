//! `dns`.

use super::table;

table! {
    /// A DNS question and its answer, one row for both, as one observer saw them: with the answer, or 10 s after the
    /// question was last sent where none came. UDP and TCP port 53; multicast DNS is not looked at.
    DNS DnsRow = "dns" sorted by ["node", "question"];

    /// When the question was first seen; the answer, where nobody saw the question.
    time: Time ["ns"] {zeek: "ts"};
    /// Name of the node whose probe saw it, or of the capture it was read from.
    node: Text [""] {otel: "k8s.node.name", ipfix: "exporter"};
    /// Which end reported: `client` (who asked), `server`, or `path` (a capture).
    observer: Text [""] {ipfix: "observationPointId (138)"};
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
    /// Process id of who asked, on its own node. Null where that end was not seen.
    client_pid: Int [""] {otel: "process.pid"};
    /// Name of the process that asked (the kernel's `comm`, at most 15 bytes).
    client_process: Text [""] {otel: "process.executable.name"};
    /// Container that asked.
    client_container: Text [""] {otel: "container.id"};
    /// Pod that asked; its UID until Kubernetes tells its name.
    client_pod: Text [""] {otel: "k8s.pod.name"};
    /// Namespace of the pod that asked.
    client_namespace: Text [""] {otel: "k8s.namespace.name"};
    /// Process id of who answered. Null where that end was not seen.
    server_pid: Int [""] {otel: "process.pid"};
    /// Name of the process that answered.
    server_process: Text [""] {otel: "process.executable.name"};
    /// Container that answered.
    server_container: Text [""] {otel: "container.id"};
    /// Pod that answered.
    server_pod: Text [""] {otel: "k8s.pod.name"};
    /// Namespace of the pod that answered.
    server_namespace: Text [""] {otel: "k8s.namespace.name"};
    /// The id that question and answer share.
    transaction_id: Int [""] {zeek: "trans_id"};
    /// What was to be done: `QUERY`, `NOTIFY`, `UPDATE`, ….
    opcode: Text [""] {zeek: "opcode_name"};
    /// The name asked for, in lower case (resolvers scramble it on purpose) and without the last dot.
    question: Text [""] {otel: "dns.question.name", zeek: "query"};
    /// The record type asked for, such as `A`, `AAAA`, `SRV`.
    question_type: Text [""] {zeek: "qtype_name"};
    /// The class asked for: nearly always `IN`.
    question_class: Text [""] {zeek: "qclass_name"};
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`, …; null where no answer was seen.
    response_code: Text [""] {otel: "dns.response_code", zeek: "rcode_name"};
    /// Data of the answers: addresses, names, and the other types as a zone file has them (at most 256 answers and
    /// 1,024 bytes each).
    answers: TextList [""] {otel: "dns.answers", zeek: "answers"};
    /// Type of each of `answers`.
    answer_types: TextList [""] {};
    /// Smallest time to live among the answers.
    ttl_seconds: Int ["s"] {zeek: "TTLs"};
    /// From the first question to the answer. Null where either was not seen.
    latency_us: Int ["us"] {zeek: "rtt"};
    /// How often the question was sent again before its answer.
    retries: Count [""] {};
    /// Whether the server spoke for the zone (AA).
    authoritative: Bool [""] {zeek: "AA"};
    /// Whether the answer did not fit (TC): the client asks again over TCP, which is a row of its own.
    truncated: Bool [""] {zeek: "TC"};
    /// Whether the client wanted the server to ask others (RD).
    recursion_desired: Bool [""] {zeek: "RD"};
    /// Whether the server would (RA).
    recursion_available: Bool [""] {zeek: "RA"};
    /// Whether the server says that it checked the signatures (AD).
    authenticated: Bool [""] {};
    /// Longest datagram that the client takes (EDNS). Null without EDNS.
    edns_udp_bytes: Int ["bytes"] {};
    /// Whether the client wanted signatures (EDNS's DO).
    dnssec_ok: Bool [""] {};
    /// Length of the question's message.
    question_bytes: Int ["bytes"] {};
    /// Length of the answer's message.
    answer_bytes: Int ["bytes"] {};
    /// Where the row comes from: `probe` or `pcap`.
    source: Text [""] {};
}
