//! What the probe can see, piece by piece: a piece that this kernel lacks something for is switched off alone, and says
//! so; only without the connections themselves is there no probe.
//!
//! A piece that is added here gets loaded, attached, reported in `probe_health` and shown by `weir doctor`. Never here:
//! what the programs record.

use aya::programs::CgroupSkbAttachType;
use weir_abi::{Field, names};

use crate::config::Level;

/// Where a program is hung in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hook {
    /// A tracepoint with typed arguments.
    Tracepoint(&'static str),
    /// Packets where they meet their socket, of the whole machine.
    Packets(CgroupSkbAttachType),
    /// An iterator over a kernel's list, or over the values of a map; run when we read it.
    Iterator {
        /// What the kernel calls it.
        target: &'static str,
        /// The map whose values it visits.
        over: Option<&'static str>,
    },
    /// Functions of programs and libraries, put there as they are found.
    Library,
    /// Packets at interfaces, put there as they are found.
    Interfaces,
}

/// A piece of what the probe sees.
#[derive(Debug)]
pub(crate) struct Feature {
    /// As `weir doctor` and `probe_health` name it.
    pub(crate) name: &'static str,
    /// What a row lacks without it.
    pub(crate) without: &'static str,
    /// Whether there is no probe without it.
    pub(crate) needed: bool,
    /// The lowest level that has it.
    pub(crate) level: Level,
    /// Its programs, in the order that they are attached.
    pub(crate) programs: &'static [(&'static str, Hook)],
    /// Kernel fields that only it reads; all others must be there.
    pub(crate) fields: &'static [Field],
}

/// The program of the iterator over living connections.
pub(crate) const SWEEP: &str = "weir_sweep";
/// The program of the iterator over sockets that are older than the probe.
pub(crate) const BACKFILL: &str = "weir_backfill";

/// The program of the iterator over turns whose answer has fallen silent.
pub(crate) const SILENT: &str = "weir_silent";
/// The piece that has exchanges.
pub(crate) const EXCHANGES: &str = "exchanges";
/// The program that reads certificates where libraries do.
pub(crate) const CERTIFICATE: &str = "weir_certificate";
/// The piece that has certificates of TLS 1.3; it can be switched off.
pub(crate) const LIBRARIES: &str = "certificates from TLS libraries";
/// The piece that tells goroutines apart; user space looks for Go programs only where it works.
pub(crate) const GOROUTINES: &str = "goroutines";
/// The piece that says which segments were lost or overtaken, and what held senders back.
pub(crate) const LOSSES: &str = "TCP losses and limits";

/// The piece that looks at packets on chosen interfaces.
pub(crate) const PATH: &str = "packets at interfaces";
/// What rows lack without it.
pub(crate) const WITHOUT_PATH: &str =
    "no rows of the path: NAT, tunnels, SCTP and what is only forwarded are missing";

/// All pieces, in the order that they are attached: the state hook first, since the packet hooks only look at sockets
/// that it knows.
pub(crate) static FEATURES: &[Feature] = &[
    Feature {
        name: "TCP connections",
        without: "there is nothing to report",
        needed: true,
        level: Level::Flows,
        programs: &[
            ("weir_tcp_state", Hook::Tracepoint("inet_sock_set_state")),
            (SWEEP, Hook::Iterator { target: "bpf_map_elem", over: Some(names::CONNS) }),
        ],
        fields: &[],
    },
    Feature {
        name: LOSSES,
        without: "flows don't say how many segments were lost or overtaken, nor how long senders were held back",
        needed: false,
        level: Level::Flows,
        programs: &[],
        fields: &[
            Field::LostSegs,
            Field::OutOfOrder,
            Field::ChronoStart,
            Field::ChronoStat,
            Field::ChronoType,
        ],
    },
    Feature {
        name: "handshakes and UDP",
        without: "no UDP flows, no tls_handshakes (TLS, QUIC, DTLS), no dns, encryption is unknown, who accepts is known late",
        needed: false,
        level: Level::Flows,
        programs: &[
            ("weir_packet_out", Hook::Packets(CgroupSkbAttachType::Egress)),
            ("weir_packet_in", Hook::Packets(CgroupSkbAttachType::Ingress)),
        ],
        fields: &[],
    },
    Feature {
        name: "older connections",
        without: "connections that were open before the probe are missing",
        needed: false,
        level: Level::Flows,
        programs: &[(BACKFILL, Hook::Iterator { target: "task_file", over: None })],
        fields: &[Field::SocketSock],
    },
    Feature {
        name: EXCHANGES,
        without: "no exchanges, and flows don't say how long they took",
        needed: false,
        level: Level::Exchanges,
        programs: &[
            ("weir_sent", Hook::Tracepoint("sock_send_length")),
            ("weir_received", Hook::Tracepoint("sock_recv_length")),
            (SILENT, Hook::Iterator { target: "bpf_map_elem", over: Some(names::TURNS) }),
        ],
        fields: &[Field::Protocol, Field::CopiedSeq, Field::ThreadId],
    },
    Feature {
        name: GOROUTINES,
        without: "what a Go program calls is laid to its threads, which is less sure",
        needed: false,
        level: Level::Exchanges,
        programs: &[],
        fields: &[Field::FsBase],
    },
    Feature {
        name: LIBRARIES,
        without: "certificates of TLS 1.3 are missing",
        needed: false,
        // Which connection a thread is at is told by the receive calls.
        level: Level::Exchanges,
        programs: &[(CERTIFICATE, Hook::Library)],
        fields: &[Field::ThreadId],
    },
    Feature {
        name: "drops",
        without: "no drops, and denied connections are only seen where their client runs",
        needed: false,
        level: Level::Flows,
        programs: &[("weir_drop", Hook::Tracepoint("kfree_skb"))],
        fields: &[
            Field::SkbHead,
            Field::SkbNetwork,
            Field::SkbTail,
            Field::SkbEnd,
            Field::SkbLen,
            Field::SkbProtocol,
            Field::SkbInput,
            Field::SkbSock,
            Field::SkbDevice,
            Field::SkbRoute,
            Field::SharedSegments,
            Field::DeviceNet,
            Field::RouteInput,
        ],
    },
    Feature {
        name: "socket errors",
        without: "ICMP errors that reach UDP sockets are missing",
        needed: false,
        level: Level::Flows,
        programs: &[("weir_error", Hook::Tracepoint("inet_sk_error_report"))],
        fields: &[Field::Protocol, Field::SockNum],
    },
    Feature {
        name: "denied connects",
        without: "connections that a filter refuses at once may look timed out",
        needed: false,
        level: Level::Flows,
        programs: &[],
        fields: &[
            Field::SoftError,
            Field::ErrorQueue,
            Field::ErrorQueueLast,
            Field::SkbControl,
            Field::QueuedErrno,
            Field::QueuedOrigin,
        ],
    },
    Feature {
        name: PATH,
        without: WITHOUT_PATH,
        needed: false,
        level: Level::Packets,
        programs: &[
            ("weir_path_in", Hook::Interfaces),
            ("weir_path_out", Hook::Interfaces),
            ("weir_ip_in", Hook::Interfaces),
            ("weir_ip_out", Hook::Interfaces),
        ],
        fields: &[],
    },
];

/// Says that a piece turned out not to work.
pub(crate) fn switch_off(features: &mut [FeatureStatus], name: &str, reason: String) {
    let known = FEATURES.iter().find(|feature| feature.name == name);
    let status = features.iter_mut().find(|status| status.name == name);
    if let (Some(feature), Some(status)) = (known, status) {
        status.state = FeatureState::Off { reason, without: feature.without };
    }
}

/// How a piece is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureStatus {
    /// Its name.
    pub name: &'static str,
    /// Whether it works.
    pub state: FeatureState,
}

/// Whether a piece works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureState {
    /// It does.
    On,
    /// The configured level leaves it out.
    NotAsked,
    /// A flag of its own switched it off.
    SwitchedOff,
    /// This kernel lacks something for it.
    Off {
        /// What the kernel said.
        reason: String,
        /// What is missing in the rows.
        without: &'static str,
    },
}

impl FeatureStatus {
    /// Whether it works.
    pub fn is_on(&self) -> bool {
        self.state == FeatureState::On
    }

    /// Whether it should work and doesn't.
    pub fn is_off(&self) -> bool {
        matches!(self.state, FeatureState::Off { .. })
    }
}

impl std::fmt::Display for FeatureStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.state {
            FeatureState::On => write!(f, "{}: on", self.name),
            FeatureState::NotAsked => write!(f, "{}: left out by the level", self.name),
            FeatureState::SwitchedOff => write!(f, "{}: switched off", self.name),
            FeatureState::Off { reason, without } => write!(f, "{}: off, so {without} ({reason})", self.name),
        }
    }
}
