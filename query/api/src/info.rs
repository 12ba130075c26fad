//! What this process is: for `/api/v1/status` and the banner of the page.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;

use crate::capture::{NoPackets, PacketSource};

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
}

impl ApiInfo {
    /// A process that starts now.
    pub fn new(
        version: &'static str,
        node: &str,
        listeners: Vec<(&'static str, SocketAddr)>,
        probe: Arc<RwLock<ProbeState>>,
    ) -> ApiInfo {
        let packets = Arc::new(NoPackets);
        ApiInfo { version, node: node.to_owned(), started: crate::times::now(), listeners, probe, packets }
    }

    /// The same, with probes that can be asked for packets.
    #[must_use]
    pub fn with_packets(self, packets: Arc<dyn PacketSource>) -> ApiInfo {
        ApiInfo { packets, ..self }
    }
}
