//! Where the collector listens, and its limits. Loopback until somebody says otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Kubernetes, Pairing, Shares};

/// The collector's settings.
#[derive(Clone, Debug)]
pub struct CollectorConfig {
    /// Where probes and imports send to (Arrow Flight).
    pub flight_listen: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc_listen: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http_listen: SocketAddr,
    /// NetFlow and IPFIX over UDP; not taken without it.
    pub netflow_listen: Option<SocketAddr>,
    /// sFlow over UDP; not taken without it.
    pub sflow_listen: Option<SocketAddr>,
    /// The API server's audit webhook; not taken without it.
    pub audit_listen: Option<SocketAddr>,
    /// This node's name, for rows that are the collector's own.
    pub node: String,
    /// Bytes of batches and requests that are under way at the same time; beyond it senders are asked to come again.
    pub intake_bytes: usize,
    /// What a single batch may be.
    pub limits: weir_wire::Limits,
    /// Whether captures may have payload; otherwise headers only.
    pub allow_payload_capture: bool,
    /// Who addresses are.
    pub identity: IdentityConfig,
    /// How long exchanges wait for others of their trace, and how many.
    pub traces: weir_stitch::traces::Limits,
    /// The store's stage before memory, if it was opened with one.
    pub pairing: Option<Arc<Pairing>>,
    /// How much `/metrics` counts apart.
    pub metrics: crate::MetricsLimits,
    /// Where spans and metrics are sent on to.
    pub export: Option<crate::ExportConfig>,
    /// How often the collector's own losses become rows of `probe_health`.
    pub health_every: Duration,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let shares = Shares::of(Shares::DEFAULT);
        CollectorConfig {
            flight_listen: loopback(8481),
            otlp_grpc_listen: loopback(4317),
            otlp_http_listen: loopback(4318),
            netflow_listen: None,
            sflow_listen: None,
            audit_listen: None,
            node: "localhost".to_owned(),
            intake_bytes: shares.intake,
            limits: shares.batch(),
            allow_payload_capture: false,
            identity: IdentityConfig::default(),
            traces: shares.traces(),
            pairing: None,
            metrics: crate::MetricsLimits::default(),
            export: None,
            health_every: Duration::from_secs(10),
        }
    }
}

/// Where names of ends come from. By default from nowhere.
#[derive(Clone, Debug, Default)]
pub struct IdentityConfig {
    /// The cluster to watch.
    pub kubernetes: Option<Kubernetes>,
    /// A hosts file; read at the start.
    pub hosts: Option<PathBuf>,
    /// The static map; read at the start. docs/identity.md has its form.
    pub map: Option<PathBuf>,
    /// How much of Kubernetes' history is kept in memory.
    pub limits: weir_identity::Limits,
}
