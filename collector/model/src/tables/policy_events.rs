//! `policy_events`.

use super::table;

table! {
    /// A policy's decision about a flow: a change of verdict, or a first sight.
    POLICY_EVENTS PolicyEventRow = "policy_events" sorted by ["policy", "client_namespace"];

    /// When it was decided.
    time: Time ["ns"] {};
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
    /// Namespace of the client.
    client_namespace: Text [""] {otel: "k8s.namespace.name"};
    /// Namespace of the server.
    server_namespace: Text [""] {otel: "k8s.namespace.name"};
    /// Workload of the client.
    client_workload: Text [""] {otel: "k8s.deployment.name"};
    /// Workload of the server.
    server_workload: Text [""] {otel: "k8s.deployment.name"};
    /// `forwarded`, `dropped`, `audit` or `error`.
    verdict: Text [""] {};
    /// The policy that decided, `namespace/name`.
    policy: Text [""] {otel: "security_rule.name"};
    /// NetworkPolicy, EgressFirewall, AuthorizationPolicy, …
    policy_kind: Text [""] {};
    /// The rule of it, in words.
    reason: Str [""] {};
}
