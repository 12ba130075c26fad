//! What this process is: for `/api/v1/status` and the banner of the page.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use serde::Serialize;

use weir_model::kubernetes::KubernetesState;

use crate::capture::{NoPackets, PacketSource};

/// Who knows how the view of Kubernetes is.
pub trait KubernetesSource: std::fmt::Debug + Send + Sync {
    /// Now.
    fn state(&self) -> KubernetesState;
}

#[derive(Debug)]
struct NoKubernetes;

impl KubernetesSource for NoKubernetes {
    fn state(&self) -> KubernetesState {
        KubernetesState::off()
    }
}

/// How the probe in this process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeState {
    /// `running` or `off`.
    pub state: &'static str,
    /// For people: what it sees, or what is missing and what to do.
    pub detail: String,
}

/// Version, node, listeners, probe.
#[derive(Clone, Debug)]
pub struct ApiInfo {
    /// Weir's version.
    pub version: &'static str,
    /// This node's name.
    pub node: String,
    /// When the process started, UTC nanoseconds.
    pub started: i64,
    /// Name and address of each listener.
    pub listeners: Vec<(&'static str, SocketAddr)>,
    /// The probe's state, kept true by whoever runs it.
    pub probe: Arc<RwLock<ProbeState>>,
    /// Who gives packets.
    pub packets: Arc<dyn PacketSource>,
    /// Who knows how the view of Kubernetes is.
    pub kubernetes: Arc<dyn KubernetesSource>,
    /// What else `/metrics` shows.
    pub metrics: Option<Arc<dyn Collector>>,
}

impl ApiInfo {
    /// A process that starts now.
    pub fn new(
        version: &'static str,
        node: &str,
        listeners: Vec<(&'static str, SocketAddr)>,
        probe: Arc<RwLock<ProbeState>>,
    ) -> ApiInfo {
        ApiInfo {
            version,
            node: node.to_owned(),
            started: crate::times::now(),
            listeners,
            probe,
            packets: Arc::new(NoPackets),
            kubernetes: Arc::new(NoKubernetes),
            metrics: None,
        }
    }

    /// The same, with what a collector counts.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<dyn Collector>) -> ApiInfo {
        ApiInfo { metrics: Some(metrics), ..self }
    }

    /// The same, with a Kubernetes that is watched.
    #[must_use]
    pub fn with_kubernetes(self, kubernetes: Arc<dyn KubernetesSource>) -> ApiInfo {
        ApiInfo { kubernetes, ..self }
    }

    /// The same, with probes that can be asked for packets.
    #[must_use]
    pub fn with_packets(self, packets: Arc<dyn PacketSource>) -> ApiInfo {
        ApiInfo { packets, ..self }
    }
}
