//! `exchanges`.

use super::table;

table! {
    /// A request/response turn on a TCP connection, as one end saw it: the client sends, the server answers, until the
    /// client sends again. Both ends' rows of one turn have the same `connection_id` and `request_offset`. What turns
    /// can't tell is written down in docs/exchanges.md.
    EXCHANGES ExchangeRow = "exchanges" sorted by ["server_ip", "server_port", "client_ip"];

    /// The request's first byte: when the client's program sent it, or when the server's program read it.
    time: Time ["ns"] {zeek: "ts"};
    /// The answer's last byte: when the server's program sent it, or when the client's program read it. Without an
    /// answer, when the connection ended.
    end_time: OptTime ["ns"] {};
    /// The connection's id, as in `flows`.
    connection_id: Str [""] {otel: "weir.connection.id", ipfix: "flowId (148)", zeek: "uid"};
    /// Name of the node whose probe saw it.
    node: Text [""] {otel: "k8s.node.name", ipfix: "exporter"};
    /// Which end reported: `client` or `server`.
    observer: Text [""] {};
    /// Which turn of its connection it was, from 1, as this end counts: since the probe saw the connection.
    number: Int [""] {};
    /// Position of the request's first byte in what the client sent on the connection, modulo 2^32: with
    /// `connection_id` the key of a turn, the same at both ends.
    request_offset: Int [""] {};
    /// Payload bytes of the request; of TLS as encrypted.
    request_bytes: Count ["bytes"] {};
    /// Payload bytes of the answer; of TLS as encrypted.
    response_bytes: Count ["bytes"] {};
    /// From the request's first byte to the answer's first byte. Null without an answer, and for the first
    /// exchange in TLS 1.3, where the server's session tickets look like the answer.
    first_byte_us: Int ["us"] {};
    /// From the request's first byte to the answer's last byte. Null without an answer.
    total_us: Int ["us"] {};
    /// Of a connection's first turn, when the connection opened: the client's SYN. Null for later ones, and where nobody saw it.
    opened_time: OptTime ["ns"] {};
    /// Of a connection's first turn, how long it took to open, as in `flows`.
    connect_us: Int ["us"] {};
    /// Address of the client, the end that opened the connection, as the observer saw it (IPv4-mapped IPv6 is
    /// written as IPv4).
    client_ip: Text [""] {otel: "client.address", ipfix: "sourceIPv4Address (8), sourceIPv6Address (27)", zeek: "id.orig_h"};
    /// Port of the client.
    client_port: Port [""] {otel: "client.port", ipfix: "sourceTransportPort (7)", zeek: "id.orig_p"};
    /// Address of the server, the end that the connection reached.
    server_ip: Text [""] {otel: "server.address", ipfix: "destinationIPv4Address (12), destinationIPv6Address (28)", zeek: "id.resp_h"};
    /// Port of the server.
    server_port: Port [""] {otel: "server.port", ipfix: "destinationTransportPort (11)", zeek: "id.resp_p"};
    /// Process of this end that sent or read the request's first byte.
    pid: Int [""] {otel: "process.pid"};
    /// Name of that process.
    process: Text [""] {otel: "process.executable.name"};
    /// The thread of it.
    thread_id: Int [""] {otel: "thread.id"};
    /// Name of the thread (the kernel's `comm`, at most 15 bytes).
    thread_name: Text [""] {otel: "thread.name"};
    /// The goroutine of it, in a Go program whose layout is known.
    goroutine: Int [""] {};
    /// Container id of this end, from its cgroup; null for processes outside containers.
    container: Text [""] {otel: "container.id"};
    /// Pod of this end; the pod's UID until Kubernetes tells its name.
    pod: Text [""] {otel: "k8s.pod.name"};
    /// Namespace of this end's pod.
    namespace: Text [""] {otel: "k8s.namespace.name"};
    /// Top owner of this end's pod.
    workload: Text [""] {otel: "k8s.deployment.name"};
    /// What `workload` is, as in `flows`.
    workload_kind: Text [""] {};
    /// What the first bytes, or ALPN, say is spoken: `http/1.1`, `h2`, `postgresql`, `mysql`, `redis`, `smtp`, `ssh`.
    /// Null where they don't.
    application_protocol: Text [""] {otel: "network.protocol.name", zeek: "service"};
    /// Whether the protocol carries several requests at once (HTTP/2, gRPC): then a turn is a burst of whatever was
    /// under way, and not one request. Null where TLS 1.3 hides which of the offered protocols was chosen.
    multiplexed: Bool [""] {};
    /// Whether the client had sent more before it had this answer, or this request before it had the previous answer:
    /// then request and answer may not belong together. A server's end looks when the call that sends the answer returns: where
    /// its thread is held up in that call, a fast client's next request may be taken for such.
    pipelined: Bool [""] {};
    /// What ended the turn: `next_request`, `close`, `silence` (two seconds without a byte) or `upgrade` (the
    /// connection went over to another protocol, such as WebSocket; it has no turns after that).
    ended_by: Text [""] {};
    /// Why there is no (whole) answer: `reset_by_client`, `reset_by_server`, `timed_out`, `closed_by_client`,
    /// `closed_by_server`. Null if nothing went wrong that TCP could tell.
    error: Text [""] {otel: "error.type"};
    /// The connection of the exchange that this one was made for, where this end served it: a key together with
    /// `cause_request_offset`. Only at the client's end.
    cause_connection_id: Str [""] {};
    /// `request_offset` of the exchange that this one was made for.
    cause_request_offset: Int [""] {};
    /// How that is known: `thread` (the thread had this one open and no other), `goroutine` (the same goroutine reads
    /// the request and sends this one), `goroutine_parent` (the goroutine that started the sending one), `event_loop`
    /// (one of several that the thread had open: what it last received for).
    cause_method: Text [""] {otel: "weir.link.method"};
    /// How many exchanges the task had open that could have been the cause: the fewer, the surer.
    cause_candidates: Int [""] {};
    /// Where the row comes from: `probe`.
    source: Text [""] {};
}
