//! How this probe is, for whoever looks after it: `/healthz`, `/readyz`, `/metrics` on loopback, and nowhere else.
//!
//! The working thread leaves its numbers here once an interval, and its heartbeat each time that it looks at the ring.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::features::FeatureStatus;

/// A thread that did not look at the ring for so long is stuck.
const STUCK_NS: u64 = 30_000_000_000;

/// What the working thread last said.
#[derive(Debug, Default)]
pub struct Status {
    heartbeat_ns: AtomicU64,
    numbers: RwLock<Numbers>,
}

/// Numbers of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// Connections and UDP flows that live.
    pub(crate) living: usize,
    /// Rows that wait for the collector.
    pub(crate) waiting_rows: u64,
    /// Rows that the collector has.
    pub(crate) acked_rows: u64,
    /// Why the stream to the collector broke the last time; it may have come back since.
    pub(crate) last_error: Option<String>,
    /// What was lost since the start, by name.
    pub(crate) lost: BTreeMap<&'static str, u64>,
    /// What works.
    pub(crate) features: Vec<FeatureStatus>,
}

impl Status {
    /// The working thread is alive.
    pub(crate) fn beat(&self) {
        self.heartbeat_ns.store(clock::boot_ns(), Ordering::Relaxed);
    }

    /// Replaces the numbers.
    pub(crate) fn tell(&self, numbers: Numbers) {
        *self.numbers.write() = numbers;
    }

    fn is_stuck(&self) -> bool {
        clock::boot_ns().saturating_sub(self.heartbeat_ns.load(Ordering::Relaxed)) > STUCK_NS
    }
}

/// Answers on `listener` until `stop`.
///
/// # Errors
/// When the listener can't be used.
pub async fn serve(
    listener: std::net::TcpListener,
    status: Arc<Status>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(status);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// An address for [`serve`]: these pages are for this machine.
///
/// # Errors
/// For people: not an address, or not on loopback.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|error| format!("{error} (try 127.0.0.1:8482)"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("it answers on loopback only (try 127.0.0.1:8482)".to_owned())
    }
}

async fn healthz(State(status): State<Arc<Status>>) -> impl IntoResponse {
    if status.is_stuck() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the working thread is stuck: restart the probe\n");
    }
    (StatusCode::OK, "ok\n")
}

/// Ready: the kernel programs are at work. What is off, and a collector that is away, are said and are no reason to
/// restart the probe.
async fn readyz(State(status): State<Arc<Status>>) -> String {
    let numbers = status.numbers.read().clone();
    let mut text = "ready\n".to_owned();
    for feature in numbers.features.iter().filter(|feature| feature.is_off()) {
        let _ = writeln!(text, "{feature}");
    }
    if numbers.waiting_rows > 0 {
        let why = numbers.last_error.as_deref().unwrap_or("on their way");
        let _ = writeln!(text, "{} rows wait for the collector: {why}", numbers.waiting_rows);
    }
    text
}

/// Prometheus text format.
async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let numbers = status.numbers.read().clone();
    let mut page = String::new();
    let head = |page: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    head(&mut page, "weir_probe_connections", "gauge", "Connections and UDP flows that live.");
    let _ = writeln!(page, "weir_probe_connections {}", numbers.living);
    head(&mut page, "weir_probe_spool_rows", "gauge", "Rows that wait for the collector.");
    let _ = writeln!(page, "weir_probe_spool_rows {}", numbers.waiting_rows);
    head(&mut page, "weir_probe_acknowledged_rows_total", "counter", "Rows that the collector has.");
    let _ = writeln!(page, "weir_probe_acknowledged_rows_total {}", numbers.acked_rows);
    head(&mut page, "weir_probe_lost_total", "counter", "What was lost, by reason.");
    for (reason, count) in &numbers.lost {
        let _ = writeln!(page, "weir_probe_lost_total{{reason=\"{reason}\"}} {count}");
    }
    head(&mut page, "weir_probe_feature_on", "gauge", "Whether a feature works on this kernel.");
    for feature in &numbers.features {
        let on = u8::from(feature.is_on());
        let _ = writeln!(page, "weir_probe_feature_on{{feature=\"{}\"}} {on}", feature.name);
    }
    head(&mut page, "weir_build_info", "gauge", "Version.");
    let _ = writeln!(page, "weir_build_info{{version=\"{}\"}} 1", weir_kit::VERSION);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page)
}
