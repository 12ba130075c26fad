//! The probe in this process: started if this machine lets it see, and its state kept true for the banner, the page and
//! the ready file. Without it everything else works, so no failure here ends `weir up`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use weir_api::ProbeState;
use weir_probe::{Config, Probe, ProbeError};

const RUNNING: &str = "running";
const OFF: &str = "off";

/// The probe, or why there is none.
pub(crate) struct Running {
    state: Arc<RwLock<ProbeState>>,
    task: Option<JoinHandle<()>>,
}

/// Loads and attaches the probe, shipping to `flight` over loopback by the same way as one on another node.
pub(crate) async fn start(
    args: &super::Args,
    node: &str,
    flight: SocketAddr,
    data_dir: &Path,
    stop: &CancellationToken,
) -> Running {
    if args.no_probe {
        return Running::off("switched off by --no-probe".to_owned());
    }
    let config = Config {
        collector: format!("http://{flight}"),
        node: node.to_owned(),
        state_dir: Some(data_dir.join("probe")),
        allow_payload_capture: args.allow_payload_capture,
        level: args.probe_level,
        interfaces: args.probe_interfaces.clone(),
        ..Config::default()
    };
    match Probe::start(config).await {
        Ok(probe) => Running::on(probe, stop.clone()),
        Err(missing @ ProbeError::Missing(_)) => Running::off(missing.to_string()),
        Err(failed) => {
            let err = anyhow::Error::from(failed);
            error!(
                err = format!("{err:#}"),
                "the probe does not run; `weir doctor` says what this machine lacks"
            );
            Running::off(format!("{err:#}"))
        }
    }
}

impl Running {
    fn off(detail: String) -> Running {
        Running { state: Arc::new(RwLock::new(ProbeState { state: OFF, detail })), task: None }
    }

    fn on(probe: Probe, stop: CancellationToken) -> Running {
        let detail =
            "every connection and TLS handshake of this machine, in all network namespaces".to_owned();
        let state = Arc::new(RwLock::new(ProbeState { state: RUNNING, detail }));
        let shown = state.clone();
        let task = tokio::spawn(async move {
            let detail = match probe.run(stop.clone()).await {
                Ok(()) if stop.is_cancelled() => "stopped".to_owned(),
                Ok(()) => "ended by itself: restart weir up".to_owned(),
                Err(failed) => format!("{:#}", anyhow::Error::from(failed)),
            };
            if !stop.is_cancelled() {
                warn!(detail, "the probe ended; the rest goes on without it");
            }
            *shown.write() = ProbeState { state: OFF, detail };
        });
        Running { state, task: Some(task) }
    }

    /// Its state now and from now on.
    pub(crate) fn state(&self) -> Arc<RwLock<ProbeState>> {
        self.state.clone()
    }

    /// `running` or `off`.
    pub(crate) fn word(&self) -> &'static str {
        self.state.read().state
    }

    /// For people: what it sees, or what is missing and what to do.
    pub(crate) fn sentence(&self) -> String {
        let state = self.state.read();
        if state.state == RUNNING {
            return format!("sees {}", state.detail);
        }
        format!(
            "off: {}\n                   imports and OTLP work; `weir doctor` has the whole list",
            state.detail
        )
    }

    /// Returns once its last rows were acknowledged, or given up.
    pub(crate) async fn stopped(self) {
        if let Some(task) = self.task
            && let Err(err) = task.await
        {
            warn!(%err, "the probe ended badly");
        }
    }
}
