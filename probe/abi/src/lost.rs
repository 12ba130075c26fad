//! Every way to lose something in the kernel, one per-CPU counter each.

/// Index into the map `WEIR_LOST`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The ring had no room for a connection's last record: its flow row is missing.
    RingFullConn = 0,
    /// The ring had no room for handshake bytes: the handshake's row is missing or partial.
    RingFullChunk = 1,
    /// The ring had no room for news of a UDP flow: its first row comes late, at the interval's end.
    RingFullUdp = 2,
    /// No room for a connection's state: it is missing.
    StorageFull = 3,
    /// `WEIR_UDP` is full: packets of new UDP flows were not counted.
    UdpMapFull = 4,
    /// A connection was established that nobody saw starting (its opening was under way when we attached).
    OpenUnseen = 5,
    /// A handshake had more bytes than we copy in one direction.
    HelloTooLong = 6,
    /// A packet's headers could not be read.
    HeaderUnreadable = 7,
    /// A living connection changed under our eyes each time we read it; the next interval catches up.
    ReadTorn = 8,
    /// The ring had no room for a datagram: its DNS question or answer is missing.
    RingFullDatagram = 9,
    /// A datagram was longer than what is copied of one.
    DatagramTooLong = 10,
    /// A segment of a DNS stream was beyond what is copied of one.
    DnsStreamTooLong = 11,
    /// The ring ran short of room: exchanges are the first to go without.
    ExchangeShed = 12,
    /// The ring ran shorter: handshake bytes are the next.
    ChunkShed = 13,
    /// No memory for the state of a connection's exchanges: they are missing.
    TurnStorageFull = 14,
    /// An answer went on after it was reported for its silence.
    AnswerAfterSilence = 15,
    /// Where a connection turned to TLS, the first segment of a hello came after another of its, which was not copied.
    HelloOvertaken = 16,
    /// A UDP flow had more datagrams of QUIC or DTLS handshakes than we copy.
    HandshakeDatagrams = 17,
    /// A connection's end was passed over by the kernel: its last flow row is missing.
    CloseUnseen = 18,
    /// A certificate was longer than what is copied of one.
    CertificateTooLong = 19,
    /// A certificate could not be read in its program's memory.
    CertificateUnreadable = 20,
    /// `WEIR_DROPS` is full: packets of further 5-tuples were dropped uncounted.
    DropMapFull = 21,
    /// `WEIR_PATH` is full: packets of new flows at chosen interfaces were not counted.
    PathMapFull = 22,
    /// `WEIR_PATH_PAST` is full: a flow lost its place to the next of its 5-tuple, and with it what was not told yet.
    PathPastFull = 23,
    /// A packet's headers at a chosen interface could not be read.
    PathUnreadable = 24,
    /// A packet at a chosen interface was of a protocol that flows are not told of.
    PathOther = 25,
}

impl Lost {
    /// How many there are.
    pub const COUNT: usize = 26;

    /// All of them, by index, with the name and sentence that `probe_health` shows.
    pub const ALL: [(Lost, &'static str, &'static str); Lost::COUNT] = [
        (
            Lost::RingFullConn,
            "ring_full_connections",
            "connections missing: the ring buffer was full, raise ring_bytes",
        ),
        (
            Lost::RingFullChunk,
            "ring_full_handshakes",
            "handshake bytes missing: the ring buffer was full, raise ring_bytes",
        ),
        (
            Lost::RingFullUdp,
            "ring_full_udp",
            "UDP flows reported late: the ring buffer was full, raise ring_bytes",
        ),
        (
            Lost::StorageFull,
            "storage_full",
            "connections missing: more at once than there is room for, raise connections",
        ),
        (
            Lost::UdpMapFull,
            "udp_map_full",
            "UDP packets not counted: too many flows at once, raise udp_flows",
        ),
        (
            Lost::OpenUnseen,
            "open_unseen",
            "connections missing: their opening was under way when the probe attached",
        ),
        (
            Lost::HelloTooLong,
            "hello_too_long",
            "handshakes cut: more bytes than the probe copies in one direction",
        ),
        (Lost::HeaderUnreadable, "header_unreadable", "packets not counted: their headers could not be read"),
        (
            Lost::ReadTorn,
            "read_torn",
            "connections reported an interval late: they changed while they were read",
        ),
        (
            Lost::RingFullDatagram,
            "ring_full_datagrams",
            "DNS questions or answers missing: the ring buffer was full, raise ring_bytes",
        ),
        (
            Lost::DatagramTooLong,
            "datagram_too_long",
            "DNS answers cut: longer than what the probe copies of one",
        ),
        (
            Lost::DnsStreamTooLong,
            "dns_stream_too_long",
            "segments of DNS over TCP left out: more than the probe copies of one connection (a zone transfer?)",
        ),
        (
            Lost::ExchangeShed,
            "exchanges_shed",
            "exchanges left out: the ring buffer was half full, raise ring_bytes",
        ),
        (
            Lost::ChunkShed,
            "handshakes_shed",
            "handshake bytes left out: the ring buffer was nearly full, raise ring_bytes",
        ),
        (
            Lost::TurnStorageFull,
            "exchange_storage_full",
            "exchanges missing: more connections at once than there is room for, raise connections",
        ),
        (
            Lost::AnswerAfterSilence,
            "answers_after_silence",
            "exchanges cut short: their answer paused for more than two seconds and then went on",
        ),
        (
            Lost::HelloOvertaken,
            "hellos_overtaken",
            "handshakes missing: a connection turned to TLS (STARTTLS), and its segments came in another order",
        ),
        (
            Lost::HandshakeDatagrams,
            "handshake_datagrams",
            "QUIC or DTLS handshakes cut: more datagrams than the probe copies of one flow",
        ),
        (
            Lost::CloseUnseen,
            "close_unseen",
            "last rows of connections missing: the kernel called no program when they closed",
        ),
        (
            Lost::CertificateTooLong,
            "certificate_too_long",
            "certificates of TLS 1.3 missing: longer than what the probe copies of one",
        ),
        (
            Lost::CertificateUnreadable,
            "certificate_unreadable",
            "certificates of TLS 1.3 missing: their program's memory could not be read",
        ),
        (
            Lost::DropMapFull,
            "drop_map_full",
            "dropped packets not counted: too many different ones between two looks, raise drop_entries",
        ),
        (
            Lost::PathMapFull,
            "path_map_full",
            "packets at interfaces not counted: too many flows at once, raise path_flows",
        ),
        (
            Lost::PathPastFull,
            "path_past_full",
            "last rows of flows at interfaces missing: too many ports were used again at once, raise path_flows",
        ),
        (
            Lost::PathUnreadable,
            "path_unreadable",
            "packets at interfaces not counted: their headers could not be read",
        ),
        (
            Lost::PathOther,
            "path_other_protocols",
            "packets at interfaces not told: neither TCP, UDP nor SCTP (ICMP, ESP, …)",
        ),
    ];

    /// Whether it is left out on purpose, to keep room for what matters more.
    pub const fn is_shed(self) -> bool {
        matches!(self, Lost::ExchangeShed | Lost::ChunkShed | Lost::PathOther)
    }
}

const _: () = {
    let mut index = 0;
    while index < Lost::COUNT {
        assert!(Lost::ALL[index].0 as usize == index);
        index += 1;
    }
};
