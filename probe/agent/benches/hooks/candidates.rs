//! The candidates: programs of `probe/bpf/candidates` and where they are attached.

/// Where a program is attached.
#[derive(Clone, Copy)]
pub(crate) enum Hook {
    /// At this BTF tracepoint.
    Tracepoint(&'static str),
    /// Where packets reach their socket, of the whole machine.
    SocketIn,
    /// Where packets leave their socket.
    SocketOut,
    /// At both hosts' devices.
    DeviceIn,
    /// At both hosts' devices.
    DeviceOut,
    /// At the events of all sockets.
    SockOps,
}

/// What calling an empty program costs depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tracepoint,
    Socket,
    Device,
    SockOps,
}

impl Hook {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Hook::Tracepoint(_) => Kind::Tracepoint,
            Hook::SocketIn | Hook::SocketOut => Kind::Socket,
            Hook::DeviceIn | Hook::DeviceOut => Kind::Device,
            Hook::SockOps => Kind::SockOps,
        }
    }
}

/// Programs that do one thing together.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    pub(crate) programs: &'static [(&'static str, Hook)],
    /// Whether each record wakes the reader.
    pub(crate) wakes: bool,
}

const fn candidate(name: &'static str, programs: &'static [(&'static str, Hook)]) -> Candidate {
    Candidate { name, programs, wakes: false }
}

const STATE: Hook = Hook::Tracepoint("inet_sock_set_state");

/// Programs that do nothing.
pub(crate) const EMPTY: &[Candidate] = &[
    candidate("empty", &[("empty_tp", STATE)]),
    candidate("empty", &[("empty_skb", Hook::SocketOut)]),
    candidate("empty", &[("empty_tc", Hook::DeviceOut)]),
    candidate("empty", &[("empty_ops", Hook::SockOps)]),
];

/// In the order of the ADR's table.
pub(crate) const CANDIDATES: &[Candidate] = &[
    candidate(
        "usual agent: tc, shared hash",
        &[("tc_shared_in", Hook::DeviceIn), ("tc_shared_out", Hook::DeviceOut)],
    ),
    candidate(
        "usual agent: tc, per-CPU hash",
        &[("tc_percpu_in", Hook::DeviceIn), ("tc_percpu_out", Hook::DeviceOut)],
    ),
    candidate("life cycle: state-change tracepoint", &[("life_tp", STATE)]),
    Candidate {
        name: "life cycle: the same, a wake-up each",
        programs: &[("life_tp_wake", STATE)],
        wakes: true,
    },
    candidate("life cycle: the same, hash by socket", &[("life_tp_hash", STATE)]),
    candidate("life cycle: the same, growing hash by socket", &[("life_tp_growing", STATE)]),
    candidate("life cycle: sock_ops", &[("life_ops", Hook::SockOps)]),
    candidate(
        "living: cgroup_skb, each packet",
        &[("each_in", Hook::SocketIn), ("each_out", Hook::SocketOut)],
    ),
    candidate(
        "first bytes: cgroup_skb, storage",
        &[("tls_skb_in", Hook::SocketIn), ("tls_skb_out", Hook::SocketOut)],
    ),
    candidate(
        "both: storage",
        &[("life_tp", STATE), ("tls_skb_in", Hook::SocketIn), ("tls_skb_out", Hook::SocketOut)],
    ),
    candidate(
        "both: growing hash, payload only",
        &[("life_tp_growing", STATE), ("tls_hash_in", Hook::SocketIn), ("tls_hash_out", Hook::SocketOut)],
    ),
    candidate(
        "first bytes: tcx, flow hash",
        &[("tls_tc_in", Hook::DeviceIn), ("tls_tc_out", Hook::DeviceOut)],
    ),
    candidate("UDP: cgroup_skb, hash", &[("udp_hash_in", Hook::SocketIn), ("udp_hash_out", Hook::SocketOut)]),
    candidate(
        "UDP: cgroup_skb, storage",
        &[("udp_sto_in", Hook::SocketIn), ("udp_sto_out", Hook::SocketOut)],
    ),
    candidate(
        "exchanges: send and receive",
        &[
            ("turn_send", Hook::Tracepoint("sock_send_length")),
            ("turn_receive", Hook::Tracepoint("sock_recv_length")),
        ],
    ),
    candidate("drops: kfree_skb", &[("drops", Hook::Tracepoint("kfree_skb"))]),
    candidate("path: tcx, SYN only", &[("path_in", Hook::DeviceIn), ("path_out", Hook::DeviceOut)]),
];
