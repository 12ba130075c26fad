//! `tls_handshakes`.

use super::table;

table! {
    /// A TLS handshake, as one observer saw it: what the client offered, what the server chose, how long it took
    /// and how it ended.
    TLS_HANDSHAKES TlsHandshakeRow = "tls_handshakes" sorted by ["server_ip", "client_ip"];

    /// When the ClientHello's first byte was seen.
    time: Time ["ns"] {zeek: "ts"};
    /// The connection's id: its pair of initial sequence numbers as hex (client, then server), the same at every
    /// observer and through NAT; for UDP and for TCP whose opening nobody saw, a hash of node, 5-tuple and first
    /// time.
    connection_id: Str [""] {otel: "weir.connection.id", ipfix: "flowId (148)", zeek: "uid"};
    /// Name of the node whose probe saw it, or of the capture it was read from.
    node: Text [""] {otel: "k8s.node.name", ipfix: "exporter"};
    /// Which end reported: `client`, `server`, or `path`.
    observer: Text [""] {};
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
    /// Process id of the client, where its end was observed.
    client_pid: Int [""] {otel: "process.pid"};
    /// Name of the client's process.
    client_process: Text [""] {otel: "process.executable.name"};
    /// Process id of the server, where its end was observed.
    server_pid: Int [""] {otel: "process.pid"};
    /// Name of the server's process.
    server_process: Text [""] {otel: "process.executable.name"};
    /// Version negotiated: `1.3`, `1.2`, `1.1`, `1.0`, `ssl3`; over UDP without QUIC `dtls1.3`, `dtls1.2`, `dtls1.0`.
    /// Null without a ServerHello.
    tls_version: Text [""] {otel: "tls.protocol.version", zeek: "version"};
    /// Versions that the client offered, GREASE left out, in its order.
    tls_versions_offered: TextList [""] {};
    /// Cipher suite negotiated, IANA's name.
    tls_cipher: Text [""] {otel: "tls.cipher", zeek: "cipher"};
    /// How many cipher suites the client offered, GREASE left out.
    tls_ciphers_offered: Int [""] {otel: "tls.client.supported_ciphers"};
    /// Key exchange group negotiated, IANA's name.
    tls_group: Text [""] {otel: "tls.curve", zeek: "curve"};
    /// Whether that group withstands a quantum computer (ML-KEM hybrids).
    tls_post_quantum: Bool [""] {};
    /// Server name that the client asked for.
    tls_sni: Text [""] {otel: "server.address", zeek: "server_name"};
    /// Application protocols that the client offered.
    tls_alpn_offered: TextList [""] {};
    /// Application protocol negotiated. Encrypted, so null, in TLS 1.3.
    tls_alpn: Text [""] {otel: "tls.next_protocol", zeek: "next_protocol"};
    /// JA3 fingerprint of the client (MD5 hex).
    tls_ja3: Str [""] {otel: "tls.client.ja3", zeek: "ja3"};
    /// JA3S fingerprint of the server (MD5 hex).
    tls_ja3s: Str [""] {otel: "tls.server.ja3s", zeek: "ja3s"};
    /// JA4 fingerprint of the client.
    tls_ja4: Str [""] {otel: "weir.tls.client.ja4", zeek: "ja4"};
    /// Whether the handshake resumed a session.
    tls_resumed: Bool [""] {otel: "tls.resumed", zeek: "resumed"};
    /// Whether the client sent, or offered, 0-RTT data.
    tls_early_data: Bool [""] {};
    /// Whether the server asked for another key share (HelloRetryRequest).
    tls_hello_retry: Bool [""] {};
    /// Whether the server asked for the client's certificate. Null where nothing tells: in QUIC, in resumed sessions before
    /// TLS 1.3, with 0-RTT data.
    tls_client_certificate_requested: Bool [""] {};
    /// Whether the client showed a certificate. Null as above.
    tls_client_certificate_sent: Bool [""] {};
    /// How the two above are known: `message`, seen in clear (before TLS 1.3), or `record_length`, concluded from the length
    /// of the client's first encrypted record in TLS 1.3 over TCP: a lone Finished and an empty answer have lengths of
    /// their own. Wrong where a client pads its handshake, which none does unless told to. `library`: in TLS 1.3 the
    /// server's TLS library was seen to read it.
    tls_client_certificate_known_by: Text [""] {};
    /// Whether the client offered Encrypted ClientHello.
    tls_ech: Bool [""] {};
    /// Whether the handshake was completed.
    tls_established: Bool [""] {otel: "tls.established", zeek: "established"};
    /// The alert that was seen in clear text, such as `handshake_failure`.
    tls_alert: Text [""] {zeek: "last_alert"};
    /// Why the handshake failed: the alert, or `closed_by_client`, `closed_by_server`, `reset`, or QUIC's transport
    /// error such as `connection_refused`. Null where it was completed.
    failure_reason: Text [""] {otel: "error.type"};
    /// Whether the server made the client prove its address first: QUIC's Retry, DTLS's `HelloVerifyRequest`. Null over
    /// TCP.
    tls_address_validated: Bool [""] {};
    /// QUIC's version: `1`, `2`, `draft-29`, `mvfst-27`, `Q050`, or the number as hex. Null where it isn't QUIC.
    quic_version: Text [""] {zeek: "version"};
    /// Connection id that the client made up for the server, hex.
    quic_client_initial_dcid: Str [""] {zeek: "client_initial_dcid"};
    /// Connection id that the client chose for itself, hex; empty where it needs none.
    quic_client_scid: Str [""] {zeek: "client_scid"};
    /// Connection id that the server chose for itself, hex.
    quic_server_scid: Str [""] {zeek: "server_scid"};
    /// From the TCP SYN to the established connection.
    connect_us: Int ["us"] {};
    /// From ClientHello to ServerHello.
    hello_us: Int ["us"] {};
    /// From ClientHello to the first application data, or to the end of the handshake as far as it is visible.
    handshake_us: Int ["us"] {};
    /// Subject of the server's certificate (RFC 4514). Null unless the certificate was visible (TLS 1.2, or from
    /// the library).
    server_certificate_subject: Text [""] {otel: "tls.server.subject", zeek: "certificate.subject"};
    /// Issuer of the server's certificate.
    server_certificate_issuer: Text [""] {otel: "tls.server.issuer", zeek: "certificate.issuer"};
    /// Subject alternative names of the server's certificate.
    server_certificate_sans: TextList [""] {zeek: "san.dns"};
    /// Serial number of the server's certificate, hex.
    server_certificate_serial: Text [""] {zeek: "certificate.serial"};
    /// SHA-256 of the server's certificate (DER), hex.
    server_certificate_sha256: Str [""] {otel: "tls.server.hash.sha256", zeek: "fingerprint"};
    /// Start of the server certificate's validity.
    server_certificate_not_before: OptTime ["ns"] {otel: "tls.server.not_before", zeek: "certificate.not_valid_before"};
    /// End of the server certificate's validity.
    server_certificate_not_after: OptTime ["ns"] {otel: "tls.server.not_after", zeek: "certificate.not_valid_after"};
    /// Key type and size of the server's certificate, such as `rsa-2048`, `ec-p256`, `ed25519`.
    server_certificate_key: Text [""] {zeek: "certificate.key_type"};
    /// Whether the server's certificate is signed by its own key.
    server_certificate_self_signed: Bool [""] {};
    /// Subject of the client's certificate (RFC 4514). Null unless the certificate was visible (TLS 1.2, or from
    /// the library).
    client_certificate_subject: Text [""] {otel: "tls.client.subject", zeek: "certificate.subject"};
    /// Issuer of the client's certificate.
    client_certificate_issuer: Text [""] {otel: "tls.client.issuer", zeek: "certificate.issuer"};
    /// Subject alternative names of the client's certificate.
    client_certificate_sans: TextList [""] {zeek: "san.dns"};
    /// Serial number of the client's certificate, hex.
    client_certificate_serial: Text [""] {zeek: "certificate.serial"};
    /// SHA-256 of the client's certificate (DER), hex.
    client_certificate_sha256: Str [""] {otel: "tls.client.hash.sha256", zeek: "fingerprint"};
    /// Start of the client certificate's validity.
    client_certificate_not_before: OptTime ["ns"] {otel: "tls.client.not_before", zeek: "certificate.not_valid_before"};
    /// End of the client certificate's validity.
    client_certificate_not_after: OptTime ["ns"] {otel: "tls.client.not_after", zeek: "certificate.not_valid_after"};
    /// Key type and size of the client's certificate, such as `rsa-2048`, `ec-p256`, `ed25519`.
    client_certificate_key: Text [""] {zeek: "certificate.key_type"};
    /// Whether the client's certificate is signed by its own key.
    client_certificate_self_signed: Bool [""] {};
    /// Where the certificates were read: on the `wire` (before TLS 1.3), or by the `library` that the other end's program
    /// uses (TLS 1.3: each end's row has the other end's certificate). Null without a certificate.
    certificate_source: Text [""] {};
    /// Whether the server's certificate does not cover the name that the client asked for.
    certificate_sni_mismatch: Bool [""] {};
    /// Where the row comes from: `probe` or `pcap`.
    source: Text [""] {};
}
