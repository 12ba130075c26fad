//! `drops`.

use super::table;

table! {
    /// Packets that a node's kernel dropped, by connection and reason.
    DROPS DropRow = "drops" sorted by ["node", "reason"];

    /// When the first of them was dropped.
    time: Time ["ns"] {};
    /// When the last of them was dropped.
    end_time: OptTime ["ns"] {};
    /// Name of the node whose probe saw it, or of the capture it was read from.
    node: Text [""] {otel: "k8s.node.name", ipfix: "exporter"};
    /// The connection's id: its pair of initial sequence numbers as hex (client, then server), the same at every
    /// observer and through NAT; for TCP that was never established, a hash of 5-tuple and the client's initial
    /// sequence number; for UDP and for TCP whose opening nobody saw, one of node, 5-tuple and first time.
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
    /// The kernel's reason without `SKB_DROP_REASON_`.
    reason: Text [""] {};
    /// Where in the kernel: `netfilter`, or the function's name; null where the kernel hides its symbols.
    location: Text [""] {};
    /// How many packets.
    packets: Count ["packets"] {ipfix: "droppedPacketDeltaCount (133)"};
    /// How many bytes, network layer.
    bytes: Count ["bytes"] {ipfix: "droppedOctetDeltaCount (132)"};
    /// The policy that asked for it, where that is known.
    policy: Text [""] {otel: "security_rule.name"};
    /// Inode of the network namespace in which it was dropped; null where that is not known.
    netns: Int [""] {};
}
