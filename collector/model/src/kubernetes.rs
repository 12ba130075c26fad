//! How Weir's view of Kubernetes is: made by the collector, shown by the API.

use serde::Serialize;

/// The watch as a whole, and each of its kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KubernetesState {
    /// `off` (not asked for, and not in a cluster), `starting`, `current`, or `stale` (what is told is what was last seen).
    pub state: &'static str,
    /// Since when, UTC nanoseconds.
    pub since: i64,
    /// For people: what is wrong, and what to do; empty while all is well.
    pub message: String,
    /// Each kind that is watched.
    pub kinds: Vec<KindState>,
}

/// One kind's watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindState {
    /// Such as `Pod`.
    pub kind: &'static str,
    /// Its API group; empty for the core's.
    pub group: &'static str,
    /// As of the whole.
    pub state: &'static str,
    /// Since when, UTC nanoseconds.
    pub since: i64,
    /// Objects of it now.
    pub objects: u64,
    /// The last error, if the watch has not gone on since.
    pub error: Option<String>,
}

impl KubernetesState {
    /// Nothing is watched.
    pub fn off() -> KubernetesState {
        let message = "no Kubernetes is watched: say --kubernetes, or run in a cluster".to_owned();
        KubernetesState { state: "off", since: 0, message, kinds: Vec::new() }
    }
}
