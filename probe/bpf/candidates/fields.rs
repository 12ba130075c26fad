//! The kernel fields that the candidates read, by index into `CANDIDATE_OFFSETS`. The bench includes this file too.

pub(crate) const FIELDS: [&str; 13] = [
    "sock.__sk_common.skc_daddr",
    "sock.__sk_common.skc_rcv_saddr",
    "sock.__sk_common.skc_dport",
    "inet_sock.inet_sport",
    "tcp_sock.bytes_acked",
    "tcp_sock.bytes_received",
    "tcp_sock.segs_in",
    "tcp_sock.segs_out",
    "tcp_sock.srtt_us",
    "tcp_sock.total_retrans",
    "tcp_sock.snd_una",
    "tcp_sock.rcv_nxt",
    "socket.sk",
];
