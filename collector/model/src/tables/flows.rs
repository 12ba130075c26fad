//! `flows`.

use super::table;

table! {
    /// A flow: what one connection did in one interval. Where both ends have a probe their rows are one; the sum over a
    /// connection's flows is exact, however many observers told of it (docs/pairing.md).
    FLOWS FlowRow = "flows" sorted by ["client_namespace", "client_workload", "client_ip", "server_ip"];

    /// Start of the interval, cut short by the opening. Intervals lie on multiples of their length (10 s by
    /// default) since the epoch; one is cut short where the node's clock was set, and longer where the probe was held up.
    time: Time ["ns"] {ipfix: "flowStartNanoseconds (156)", zeek: "ts"};
    /// End of the interval, cut short by the close; by the last packet, where a capture ends or is silent for long.
    end_time: OptTime ["ns"] {ipfix: "flowEndNanoseconds (157)"};
    /// When the connection was opened: the client's SYN (SCTP's INIT) as its observer saw it; for UDP the first
    /// datagram. The same in every flow of the connection, as the node's clock was then; null where nobody saw the opening.
    opened_time: OptTime ["ns"] {zeek: "ts"};
    /// The connection's id: its pair of initial sequence numbers as hex (client, then server), the same at every
    /// observer and through NAT; SCTP's is its pair of initiate tags. For TCP that was never established, a hash of
    /// 5-tuple and the client's initial sequence number; for UDP and for what nobody saw opening, one of node, 5-tuple
    /// and first time.
    connection_id: Str [""] {otel: "weir.connection.id", ipfix: "flowId (148)", zeek: "uid"};
    /// Where in its life the connection was: `opened` (opened in this interval, still open at its end),
    /// `ongoing`, `closed` (closed in it), `only` (opened and closed in it). Null in what a flow exporter tells.
    state: Text [""] {zeek: "conn_state"};
    /// Why it ended: `fin`, `reset_by_client`, `reset_by_server`, `refused`, `timed_out`, `unreachable`, `idle`
    /// (UDP; on the path, silence for two hours), `denied` (a rule dropped its packets before this observer had a socket for it), or null while it is
    /// open.
    close_reason: Text [""] {ipfix: "flowEndReason (136)", zeek: "conn_state"};
    /// Name of the node whose probe saw it, the client's where both ends did, or of the capture it was read from.
    node: Text [""] {otel: "k8s.node.name", ipfix: "exporter"};
    /// Which end reported: `client`, `server`, `both` (their rows were paired), or `path` (a node that it passed, from
    /// level `packets` on, or a capture). A probe's row counts only what no other row of the connection has counted; captures
    /// are not paired with anything.
    observer: Text [""] {ipfix: "observationPointId (138)"};
    /// Transport protocol: `tcp`, `udp`, `sctp` or `icmp`.
    protocol: Text [""] {otel: "network.transport", ipfix: "protocolIdentifier (4)", zeek: "proto"};
    /// Address of the client, the end that opened the connection, as the observer saw it (IPv4-mapped IPv6 is
    /// written as IPv4).
    client_ip: Text [""] {otel: "client.address", ipfix: "sourceIPv4Address (8), sourceIPv6Address (27)", zeek: "id.orig_h"};
    /// Port of the client.
    client_port: Port [""] {otel: "client.port", ipfix: "sourceTransportPort (7)", zeek: "id.orig_p"};
    /// Address of the server as the observer knows it: on the path, the end that the connection reached; for the client's
    /// own row, whom its socket is connected to, which is `service_ip` where that is set.
    server_ip: Text [""] {otel: "server.address", ipfix: "postNATDestinationIPv4Address (226), postNATDestinationIPv6Address (282), destinationIPv4Address (12), destinationIPv6Address (28)", zeek: "id.resp_h"};
    /// Port of the server.
    server_port: Port [""] {otel: "server.port", ipfix: "postNAPTDestinationTransportPort (228), destinationTransportPort (11)", zeek: "id.resp_p"};
    /// Address that the client dialled, before DNAT (a Service's cluster IP); null where no NAT was seen. Level `packets`
    /// sees it, where interfaces on both sides of the NAT are looked at.
    service_ip: Text [""] {ipfix: "destinationIPv4Address (12), destinationIPv6Address (28)"};
    /// Port that the client dialled, before DNAT.
    service_port: Port [""] {ipfix: "destinationTransportPort (11)"};
    /// Address that the connection left this node by, after SNAT; null where no NAT was seen, as above.
    egress_ip: Text [""] {ipfix: "postNATSourceIPv4Address (225), postNATSourceIPv6Address (281)"};
    /// Interface of the observer's node that the client's packets came in by; null where they began on the node, or where
    /// that interface is not looked at. Of rows that a node on the path told of.
    ingress_interface: Text [""] {ipfix: "ingressInterface (10), interfaceName (82)"};
    /// Interface that the client's packets left by; null where they did not: delivered on the node, or dropped there.
    egress_interface: Text [""] {ipfix: "egressInterface (14), interfaceName (82)"};
    /// Tunnel that the path saw it in: `vxlan`, `geneve`, `ipip`, `6in4`, `ip6ip6`, `gre`; of the UDP flow that is one
    /// itself, `wireguard`.
    tunnel_type: Text [""] {zeek: "tunnel_type"};
    /// The tunnel's id: VNI (VXLAN, GENEVE) or key (GRE).
    tunnel_id: Int [""] {ipfix: "layer2SegmentId (351)"};
    /// Address of the tunnel's end on the client's side.
    tunnel_client_ip: Text [""] {};
    /// Address of the tunnel's end on the server's side.
    tunnel_server_ip: Text [""] {};
    /// Payload bytes (transport layer) that the client sent in this interval, retransmissions not counted. On the path,
    /// of TCP, how far its stream has come there (by sequence numbers, so what was lost before and is sent again counts
    /// once); of SCTP its chunks, retransmissions included.
    client_bytes: Count ["bytes"] {ipfix: "octetDeltaCount (1)", zeek: "orig_bytes"};
    /// Payload bytes that the server sent in this interval, retransmissions not counted.
    server_bytes: Count ["bytes"] {ipfix: "octetDeltaCount (1)", zeek: "resp_bytes"};
    /// Packets (TCP segments, UDP datagrams, SCTP packets) that the client sent in this interval, as its observer
    /// counts them: retransmissions and bare acknowledgements included; on the path each IP fragment.
    client_packets: Count ["packets"] {ipfix: "packetDeltaCount (2)", zeek: "orig_pkts"};
    /// Packets that the server sent in this interval.
    server_packets: Count ["packets"] {ipfix: "packetDeltaCount (2)", zeek: "resp_pkts"};
    /// Connections that are told of for the first time: 1 in one row of each that was seen from its opening on, else 0. The
    /// sum is the number of connections, however many observers and intervals tell of them. Filled in by the collector.
    connections: Count [""] {ipfix: "newConnectionDeltaCount (278)"};
    /// Payload bytes that the client has sent since the opening, as far as anybody had told when this row came. In the last
    /// row of a connection that has several, and in some before it: the collector goes on from there. Null elsewhere.
    client_bytes_total: Int ["bytes"] {ipfix: "octetTotalCount (85)"};
    /// Payload bytes that the server has sent since the opening, as above.
    server_bytes_total: Int ["bytes"] {ipfix: "octetTotalCount (85)"};
    /// Packets that the client has sent since the opening, as above.
    client_packets_total: Int ["packets"] {ipfix: "packetTotalCount (86)"};
    /// Packets that the server has sent since the opening, as above.
    server_packets_total: Int ["packets"] {ipfix: "packetTotalCount (86)"};
    /// Segments that the client sent again in this interval. Null where only the other end was seen. On the path those
    /// with nothing new, which may have been overtaken on the way.
    client_retransmits: Int ["packets"] {};
    /// Segments that the server sent again in this interval. Null where only the other end was seen.
    server_retransmits: Int ["packets"] {};
    /// Payload bytes that the client sent again in this interval, each time it did (the kernel's `bytes_retrans`). Null
    /// where only the other end was seen.
    client_bytes_retransmitted: Int ["bytes"] {};
    /// Payload bytes that the server sent again in this interval. Null where only the other end was seen.
    server_bytes_retransmitted: Int ["bytes"] {};
    /// Segments of the client's that it took for lost in this interval (the kernel's `lost`): those that the server's
    /// acknowledgements left out, and all in flight when a timer ran out. One that was only late, or was lost again, counts
    /// each time. Null where only the other end was seen.
    client_segments_lost: Int ["packets"] {};
    /// Segments of the server's that it took for lost in this interval. Null where only the other end was seen.
    server_segments_lost: Int ["packets"] {};
    /// Segments of the client's that reached the server before one that was sent earlier (the kernel's `rcv_ooopack`): lost
    /// or overtaken on the way. Only the server's end knows; null where it wasn't seen.
    client_segments_out_of_order: Int ["packets"] {};
    /// Segments of the server's that reached the client before one that was sent earlier. Only the client's end knows; null
    /// where it wasn't seen.
    server_segments_out_of_order: Int ["packets"] {};
    /// How long the client had more to send and the server's receive window was full, or too small for the next segment
    /// (`TCP_INFO`'s `rwnd_limited`): a slow reader, zero windows included, which the kernel doesn't count one by one. In the
    /// kernel's ticks of 1 to 10 ms. Null where only the other end was seen.
    client_window_limited_us: Int ["us"] {};
    /// How long the client's receive window kept the server from sending. Null where only the other end was seen.
    server_window_limited_us: Int ["us"] {};
    /// How long the client could have sent more, but its send buffer was too small for what was in flight
    /// (`TCP_INFO`'s `sndbuf_limited`). Null where only the other end was seen.
    client_buffer_limited_us: Int ["us"] {};
    /// How long the server's send buffer kept it from sending. Null where only the other end was seen.
    server_buffer_limited_us: Int ["us"] {};
    /// Smoothed round-trip time at the interval's end (RFC 6298; the kernel's `srtt_us >> 3`). Null until a
    /// first sample; UDP never has one. Includes the peer's delayed acknowledgement.
    rtt_us: Int ["us"] {};
    /// Smallest round-trip time of the kernel's window.
    rtt_min_us: Int ["us"] {};
    /// From the client's SYN to the established connection. Null where the opening was not seen.
    connect_us: Int ["us"] {};
    /// From the established connection to the server's first byte. Null until there is one.
    first_byte_us: Int ["us"] {};
    /// Request/response turns that ended in this interval; null below the level `exchanges`.
    exchanges: Int [""] {};
    /// Median time of an exchange in this interval.
    exchange_p50_us: Int ["us"] {};
    /// 90th percentile of the time of an exchange in this interval.
    exchange_p90_us: Int ["us"] {};
    /// 99th percentile of the time of an exchange in this interval.
    exchange_p99_us: Int ["us"] {};
    /// RST segments (SCTP's ABORT chunks) seen in this interval.
    resets: Count ["packets"] {};
    /// Packets of this connection that the kernel dropped in this interval.
    drops: Count ["packets"] {};
    /// The commonest drop's reason: the kernel's name without `SKB_DROP_REASON_`.
    drop_reason: Text [""] {};
    /// ICMP errors about packets of this flow in this interval that its node's probe knows of: those that reached the
    /// flow's socket (TCP, and UDP that is connected), and those that the same node sent.
    icmp_errors: Count ["packets"] {};
    /// What the last of them said: `port_unreachable`, `host_unreachable`, `net_unreachable`, `protocol_unreachable`,
    /// `admin_prohibited`, `fragmentation_needed`, `packet_too_big`, `time_exceeded`, `parameter_problem`,
    /// `unreachable`.
    icmp_error: Text [""] {};
    /// Process id of the client, on its own node, in the node's own process namespace. Null where no probe saw
    /// that end.
    client_pid: Int [""] {otel: "process.pid"};
    /// Name of the client's process (the kernel's `comm`, at most 15 bytes).
    client_process: Text [""] {otel: "process.executable.name"};
    /// Container id of the client, from its cgroup; null for processes outside containers.
    client_container: Text [""] {otel: "container.id"};
    /// Pod of the client at the flow's own time; the pod's UID until Kubernetes tells its name.
    client_pod: Text [""] {otel: "k8s.pod.name"};
    /// Kubernetes namespace of the client.
    client_namespace: Text [""] {otel: "k8s.namespace.name"};
    /// Top owner of the client's pod, the service or gateway that its address is of, the part of the control plane that it
    /// is (`kube-apiserver`, `kubelet`, `etcd`, `dns`), or the systemd unit of a host process.
    client_workload: Text [""] {otel: "k8s.deployment.name"};
    /// What `client_workload` is: Deployment, StatefulSet, DaemonSet, Job, CronJob, Pod, ReplicaSet or another owner, Service,
    /// Gateway, `EgressIP`, control-plane, or unit (systemd).
    client_workload_kind: Text [""] {};
    /// Node that the client ran on.
    client_node: Text [""] {otel: "k8s.node.name"};
    /// Zone that the client ran in (label `topology.kubernetes.io/zone`).
    client_zone: Text [""] {otel: "cloud.availability_zone"};
    /// What the client's address was at the row's `time`: pod, service, node, control-plane, gateway, egress-ip,
    /// process, external or unknown (of the pods' network, but nobody is known to have had it). docs/identity.md says how.
    client_identity: Text [""] {};
    /// Name of the client outside the cluster: the DNS name it was looked up by, or the SNI.
    client_name: Text [""] {otel: "client.address"};
    /// Process id of the server, on its own node, in the node's own process namespace. Null where no probe saw
    /// that end.
    server_pid: Int [""] {otel: "process.pid"};
    /// Name of the server's process (the kernel's `comm`, at most 15 bytes).
    server_process: Text [""] {otel: "process.executable.name"};
    /// Container id of the server, from its cgroup; null for processes outside containers.
    server_container: Text [""] {otel: "container.id"};
    /// Pod of the server at the flow's own time; the pod's UID until Kubernetes tells its name.
    server_pod: Text [""] {otel: "k8s.pod.name"};
    /// Kubernetes namespace of the server.
    server_namespace: Text [""] {otel: "k8s.namespace.name"};
    /// Top owner of the server's pod, the service or gateway that its address is of, the part of the control plane that it
    /// is (`kube-apiserver`, `kubelet`, `etcd`, `dns`), or the systemd unit of a host process.
    server_workload: Text [""] {otel: "k8s.deployment.name"};
    /// What `server_workload` is: Deployment, StatefulSet, DaemonSet, Job, CronJob, Pod, ReplicaSet or another owner, Service,
    /// Gateway, `EgressIP`, control-plane, or unit (systemd).
    server_workload_kind: Text [""] {};
    /// Node that the server ran on.
    server_node: Text [""] {otel: "k8s.node.name"};
    /// Zone that the server ran in (label `topology.kubernetes.io/zone`).
    server_zone: Text [""] {otel: "cloud.availability_zone"};
    /// What the server's address was at the row's `time`: pod, service, node, control-plane, gateway, egress-ip,
    /// process, external or unknown (of the pods' network, but nobody is known to have had it). docs/identity.md says how.
    server_identity: Text [""] {};
    /// Name of the server outside the cluster: the DNS name it was looked up by, or the SNI.
    server_name: Text [""] {otel: "server.address"};
    /// `internal` (both ends in the cluster), `ingress`, `egress`, or `node` (both ends processes of one node, or unknown
    /// to Kubernetes).
    direction: Text [""] {ipfix: "flowDirection (61)"};
    /// `tls`, `mtls`, `plaintext`, or `unknown` (nothing seen that proves either). `mtls` in TLS 1.3 is a conclusion: see
    /// `tls_client_certificate_known_by` of `tls_handshakes`.
    encryption: Text [""] {};
    /// TLS version negotiated: `1.3`, `1.2`, `1.1`, `1.0`, `ssl3`.
    tls_version: Text [""] {otel: "tls.protocol.version", zeek: "version"};
    /// Server name that the client asked for (SNI).
    tls_sni: Text [""] {otel: "server.address", zeek: "server_name"};
    /// SPIFFE ID in the client's certificate.
    client_principal: Text [""] {};
    /// SPIFFE ID in the server's certificate.
    server_principal: Text [""] {};
    /// `forwarded`, `dropped` (a filter on the observer's node dropped packets of it, and nothing came through),
    /// `audit` or `error`.
    policy_verdict: Text [""] {ipfix: "firewallEvent (233)"};
    /// The policy that decided, `namespace/name`.
    policy: Text [""] {otel: "security_rule.name"};
    /// Why it decided so.
    policy_reason: Text [""] {};
    /// The trace that this connection is part of, 32 hex digits.
    trace_id: Str [""] {otel: "trace_id"};
    /// Where the row comes from: `probe`, `pcap`, or a flow exporter's `netflow`, `ipfix` or `sflow`. Of the latter each row tells of
    /// one direction, bytes are those of IP packets, and the end with the lower port is taken for the server.
    source: Text [""] {};
}
