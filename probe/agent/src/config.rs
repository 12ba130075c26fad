//! What an operator can set.

use std::path::PathBuf;
use std::time::Duration;

use crate::load::KERNEL_TYPES;

/// Where kernel programs are kept.
pub(crate) const PIN_DIR: &str = "/sys/fs/bpf/weir";

/// How much is recorded; each level has what the ones before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Level {
    /// Connections with TCP's counters, TLS handshakes, UDP flows.
    Flows,
    /// Request and response turns too.
    Exchanges,
    /// Forwarded traffic on chosen interfaces too.
    Packets,
}

/// The probe's settings; each has a default that fits most nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Collector to send to.
    #[arg(long, env = "WEIR_PROBE_COLLECTOR", default_value = "http://127.0.0.1:8481")]
    pub collector: String,
    /// This node's name; the host's name (or `NODE_NAME`) if not given.
    #[arg(long, env = "WEIR_PROBE_NODE", default_value_t = weir_kit::host::node_name())]
    pub node: String,
    /// How much is recorded: more costs the node more.
    #[arg(long, env = "WEIR_PROBE_LEVEL", value_enum, default_value = "exchanges")]
    pub level: Level,
    /// Length of the intervals that flows are cut on, in seconds.
    #[arg(long, env = "WEIR_PROBE_INTERVAL", default_value = "10", value_parser = seconds)]
    pub interval: Duration,
    /// Bytes of the ring buffer between kernel and probe; a power of two, at least 4096. Resident memory has it twice.
    #[arg(long, env = "WEIR_PROBE_RING_BYTES", default_value_t = 4 << 20, value_parser = ring_bytes)]
    pub ring_bytes: u32,
    /// Exchanges a second that get a row of their own; of more, every second one, fourth one… does. Flows count them all.
    #[arg(long, env = "WEIR_PROBE_EXCHANGE_ROWS", default_value_t = 2_000)]
    pub exchange_rows: u32,
    /// TCP connections that the kernel keeps the state of at once: 16 bytes each, and 256 more (exchanges: 470) while it is
    /// open. Those beyond are missing, and counted. Each look for new ones takes 8 ns for each of these, used or not.
    #[arg(long, env = "WEIR_PROBE_CONNECTIONS", default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Read certificates of TLS 1.3, which the wire has encrypted, where programs' TLS libraries do (OpenSSL, Go, …).
    #[arg(long, env = "WEIR_PROBE_LIBRARY_PROBES", default_value = "on", action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new(), value_name = "on|off")]
    pub library_probes: bool,
    /// Seconds without a packet after which a UDP flow is over.
    #[arg(long, env = "WEIR_PROBE_UDP_IDLE", default_value = "30", value_parser = seconds)]
    pub udp_idle: Duration,
    /// UDP flows that the kernel counts at once; from half of them on, idle ones end with the interval.
    #[arg(long, env = "WEIR_PROBE_UDP_FLOWS", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    pub udp_flows: u32,
    /// Different dropped packets (5-tuple, reason and place) that the kernel counts between two looks, which are at most a
    /// quarter of a second apart.
    #[arg(long, env = "WEIR_PROBE_DROP_ENTRIES", default_value_t = 8_192, value_parser = clap::value_parser!(u32).range(1..))]
    pub drop_entries: u32,
    /// Network interfaces whose packets are counted at the level `packets`: names, in which `*` is anything. All by default,
    /// but `lo`.
    #[arg(
        long,
        env = "WEIR_PROBE_INTERFACES",
        value_delimiter = ',',
        default_value = "*",
        value_name = "NAMES"
    )]
    pub interfaces: Vec<String>,
    /// Flows at those interfaces that the kernel counts at once, each at each interface: 350 bytes. Those beyond are missing,
    /// and counted; from half of them on, idle ones end early.
    #[arg(long, env = "WEIR_PROBE_PATH_FLOWS", default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1..))]
    pub path_flows: u32,
    /// Bytes of encoded rows that are on their way to the collector at once.
    #[arg(long, env = "WEIR_PROBE_QUEUE_BYTES", default_value_t = 8 << 20)]
    pub queue_bytes: usize,
    /// Where rows wait until the collector has them, and what a restarted probe goes on from.
    #[arg(long, env = "WEIR_PROBE_STATE_DIR", default_value = "/var/lib/weir-probe")]
    pub state_dir: Option<PathBuf>,
    /// Bytes of rows that wait there while the collector is away; beyond them the oldest are given up, and counted.
    #[arg(long, env = "WEIR_PROBE_SPOOL_BYTES", default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range((1 << 20)..))]
    pub spool_bytes: u64,
    /// A directory on a BPF file system: kernel programs kept there go on while a probe that crashed is started again.
    #[arg(long, env = "WEIR_PROBE_PIN_DIR", default_value = PIN_DIR)]
    pub pin_dir: PathBuf,
    /// Keep the kernel programs at work when the probe is stopped, so that its next start has missed nothing;
    /// `weir-probe --detach` takes them off.
    #[arg(long, env = "WEIR_PROBE_KEEP_ATTACHED")]
    pub keep_attached: bool,
    /// Let `weir capture --payload` have what packets carry; otherwise this node gives their headers only.
    #[arg(long, env = "WEIR_PROBE_ALLOW_PAYLOAD_CAPTURE")]
    pub allow_payload_capture: bool,
    /// Kernel types (BTF), where this kernel has them elsewhere.
    #[arg(long, env = "WEIR_PROBE_KERNEL_TYPES", default_value = KERNEL_TYPES)]
    pub kernel_types: PathBuf,
    /// Kernel programs to load instead of the built-in ones: for trying a rebuilt object.
    #[arg(long, hide = true)]
    pub object: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            collector: "http://127.0.0.1:8481".to_owned(),
            node: weir_kit::host::node_name(),
            level: Level::Exchanges,
            interval: Duration::from_secs(10),
            ring_bytes: 4 << 20,
            exchange_rows: 2_000,
            connections: 131_072,
            library_probes: true,
            udp_idle: Duration::from_secs(30),
            udp_flows: 65_536,
            drop_entries: 8_192,
            interfaces: vec!["*".to_owned()],
            path_flows: 131_072,
            queue_bytes: 8 << 20,
            state_dir: None,
            spool_bytes: 256 << 20,
            pin_dir: PIN_DIR.into(),
            keep_attached: false,
            allow_payload_capture: false,
            kernel_types: KERNEL_TYPES.into(),
            object: None,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("give 1 to 3600 seconds".to_owned()),
    }
}

fn ring_bytes(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && bytes >= 4096 => Ok(bytes),
        _ => Err("a ring has a power of two of bytes, at least 4096 (try 4194304)".to_owned()),
    }
}
