//! The kernel fields that the programs read. Rust emits no CO-RE relocations, so user space resolves each path
//! in the running kernel's BTF and sets `WEIR_OFFSETS` before load; the verifier then sees constants.

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident = $path:literal;)+) => {
        /// Index into `WEIR_OFFSETS`.
        #[repr(usize)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field { $($(#[doc = $doc])+ $name,)+ }

        /// `struct.member.member` of each [`Field`], by index.
        pub const FIELD_NAMES: [&str; Field::COUNT] = [$($path,)+];

        impl Field {
            /// How many there are.
            pub const COUNT: usize = [$($path,)+].len();
        }
    };
}

fields! {
    /// `u16`: `AF_INET` or `AF_INET6`.
    Family = "sock.__sk_common.skc_family";
    /// `u8`: TCP state.
    State = "sock.__sk_common.skc_state";
    /// `be32`.
    RemoteIp4 = "sock.__sk_common.skc_daddr";
    /// `be32`.
    LocalIp4 = "sock.__sk_common.skc_rcv_saddr";
    /// 16 bytes.
    RemoteIp6 = "sock.__sk_common.skc_v6_daddr";
    /// 16 bytes.
    LocalIp6 = "sock.__sk_common.skc_v6_rcv_saddr";
    /// `be16`.
    RemotePort = "sock.__sk_common.skc_dport";
    /// `be16`; unlike `skc_num` it is still there when a failed socket has given its port back.
    LocalPort = "inet_sock.inet_sport";
    /// `struct net *`.
    Net = "sock.__sk_common.skc_net.net";
    /// `u32`: the network namespace's inode.
    NetInode = "net.ns.inum";
    /// `u64`: unique on this node until reboot; 0 until somebody asks.
    Cookie = "sock.__sk_common.skc_cookie";
    /// `unsigned long`; bit 1 is `SOCK_DONE`: the peer's FIN was received.
    SockFlags = "sock.__sk_common.skc_flags";
    /// `int`: errno that ended the socket.
    Error = "sock.sk_err";
    /// `u64`: sequence space acknowledged; the client's SYN and each side's FIN are in it.
    BytesAcked = "tcp_sock.bytes_acked";
    /// `u64`: sequence space received; the peer's FIN is in it, its SYN is not.
    BytesReceived = "tcp_sock.bytes_received";
    /// `u64`: payload handed down, retransmissions included.
    BytesSent = "tcp_sock.bytes_sent";
    /// `u64`: payload handed down again.
    BytesRetrans = "tcp_sock.bytes_retrans";
    /// `u32`: first sequence number not acknowledged.
    SndUna = "tcp_sock.snd_una";
    /// `u32`: next sequence number to send.
    SndNxt = "tcp_sock.snd_nxt";
    /// `u32`: end of what the application wrote, FIN included.
    WriteSeq = "tcp_sock.write_seq";
    /// `u32`: next sequence number expected.
    RcvNxt = "tcp_sock.rcv_nxt";
    /// `u32`.
    SegsOut = "tcp_sock.segs_out";
    /// `u32`.
    SegsIn = "tcp_sock.segs_in";
    /// `u32`: segments sent again, SYN included.
    TotalRetrans = "tcp_sock.total_retrans";
    /// `u32`: smoothed round-trip time, µs << 3.
    Srtt = "tcp_sock.srtt_us";
    /// `struct minmax`; the value of its first sample lies 4 bytes in.
    RttMin = "tcp_sock.rtt_min";
    /// `u32`: segments taken for lost so far, ones sent again included.
    LostSegs = "tcp_sock.lost";
    /// `u32`: segments received before one that was sent earlier.
    OutOfOrder = "tcp_sock.rcv_ooopack";
    /// `u32`: when what is timed now began, in the kernel's ticks (jiffies).
    ChronoStart = "tcp_sock.chrono_start";
    /// `u32[3]`, in ticks: busy, limited by the peer's window, by the send buffer.
    ChronoStat = "tcp_sock.chrono_stat";
    /// Two bits: what is timed now, 1 to 3 as in `chrono_stat`; 0: nothing.
    ChronoType = "tcp_sock.chrono_type";
    /// `struct task_struct *`.
    Leader = "task_struct.group_leader";
    /// `char[16]`.
    Comm = "task_struct.comm";
    /// `u32`.
    TaskFlags = "task_struct.flags";
    /// `pid_t`.
    Tgid = "task_struct.tgid";
    /// `struct css_set *`.
    Cgroups = "task_struct.cgroups";
    /// `struct cgroup *`.
    DefaultCgroup = "css_set.dfl_cgrp";
    /// `struct kernfs_node *`.
    CgroupNode = "cgroup.kn";
    /// `u64`.
    NodeId = "kernfs_node.id";
    /// `struct sock *`.
    SocketSock = "socket.sk";
    /// `u16`: `IPPROTO_*`.
    Protocol = "sock.sk_protocol";
    /// `u32`: next sequence number that the application reads.
    CopiedSeq = "tcp_sock.copied_seq";
    /// `pid_t`: the thread's own id.
    ThreadId = "task_struct.pid";
    /// `unsigned long`: where the thread's own storage lies, on x86-64 only.
    FsBase = "task_struct.thread.fsbase";
    /// `u16`: local port in host order.
    SockNum = "sock.__sk_common.skc_num";
    /// `unsigned char *`: where the packet's buffer begins.
    SkbHead = "sk_buff.head";
    /// `u16`, from `head` on.
    SkbNetwork = "sk_buff.network_header";
    /// `u32`, from `head` on: where what lies in the buffer ends.
    SkbTail = "sk_buff.tail";
    /// `u32`, from `head` on: where `struct skb_shared_info` lies.
    SkbEnd = "sk_buff.end";
    /// `u32`.
    SkbLen = "sk_buff.len";
    /// `be16`: Ethernet's number for the network protocol.
    SkbProtocol = "sk_buff.protocol";
    /// `int`: the device it came in by; 0: it was made here.
    SkbInput = "sk_buff.skb_iif";
    /// `struct sock *`.
    SkbSock = "sk_buff.sk";
    /// `struct net_device *`; of a datagram that a socket took, something else.
    SkbDevice = "sk_buff.dev";
    /// `unsigned long`: `struct dst_entry *`, its lowest bit a flag.
    SkbRoute = "sk_buff._skb_refdst";
    /// `u16`.
    SharedSegments = "skb_shared_info.gso_segs";
    /// `struct net *`.
    DeviceNet = "net_device.nd_net.net";
    /// A function: what is done with a packet that came in by this route.
    RouteInput = "dst_entry.input";
    /// `int`: errno of an ICMP error that came while a system call held the socket.
    SoftError = "sock.sk_err_soft";
    /// `struct sk_buff_head`: errors that the socket's owner may ask for.
    ErrorQueue = "sock.sk_error_queue";
    /// `struct sk_buff *`: the last of them; the queue itself where there is none.
    ErrorQueueLast = "sock.sk_error_queue.prev";
    /// `char[48]`: here `struct sock_exterr_skb`.
    SkbControl = "sk_buff.cb";
    /// `u32`, from `cb` on.
    QueuedErrno = "sock_exterr_skb.ee.ee_errno";
    /// `u8`, from `cb` on: `SO_EE_ORIGIN_*`.
    QueuedOrigin = "sock_exterr_skb.ee.ee_origin";
}
