//! The collector: receive → enrich → stitch → store, where both ends of a connection are paired.
//!
//! | file         | subject                                                                       |
//! |--------------|-------------------------------------------------------------------------------|
//! | `config.rs`  | where it listens, and its limits                                                |
//! | `receive/`   | the ways in: Flight (probes, imports), OTLP, NetFlow, IPFIX, sFlow, audit events, files  |
//! | `enrich/`    | addresses and pods' UIDs → who they were then: Kubernetes' watch, hosts file, map |
//! | `pair/`      | what several observers tell of one connection → counted once, one row an interval  |
//! | `capture/`   | the way back: packets on demand, asked of probes, as a pcapng stream             |
//! | `stage.rs`   | a batch of flows or handshakes → the spans that follow from it → the store       |
//! | `traces.rs`  | exchanges, once durable → kept until their trace is known → spans                 |
//! | `verdicts.rs`| what proxies refused → the verdict of the flow that it came by                      |
//! | `readback.rs`| the store's newest rows, for stages that go on where an earlier run ended         |
//! | `memory.rs`  | how the memory of a process is divided; room for what is under way                |
//! | `metrics/`   | spans and flows, once durable → rate, errors and duration of services, and who asked whom |
//! | `export/`    | spans and metrics → another OpenTelemetry receiver                                |
//! | `counters.rs`| what came in, what was refused, and the `probe_health` rows that say so           |
//!
//! **Invariant**: a sender gets its acknowledgement after the store made the batch durable, together with the spans that
//! follow from it; sent again, it changes nothing. Back-pressure is the sender's: nothing queues here without a bound.

pub mod capture;
mod config;
mod counters;
mod enrich;
mod export;
mod memory;
mod metrics;
mod pair;
mod readback;
pub mod receive;
mod stage;
mod traces;
mod verdicts;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weir_model::kubernetes::KubernetesState;
use weir_store::Store;
use weir_wire::control::Switchboard;

use receive::exported::Protocol;

pub use config::{CollectorConfig, IdentityConfig};
pub use counters::Counts;
pub use enrich::watch::Kubernetes;
pub use export::{ExportConfig, ExportError, ExportedSpans, ReceiverConfig};
pub use memory::Shares;
pub use metrics::{Limits as MetricsLimits, Shown as Metrics};
pub use pair::Pairing;
pub use weir_stitch::traces::Limits as TraceLimits;

/// Bytes of datagrams that wait to be read.
const RECEIVE_BYTES: usize = 8 << 20;

/// Why the collector could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours to take.
    #[error(
        "listen on {address} for {what} (is another Weir running? {flag} 127.0.0.1:0 takes any free port)"
    )]
    Bind {
        /// What would have listened there.
        what: &'static str,
        /// The flag that moves it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The operator's map of names says something that isn't one.
    #[error("identity map {}: {wrong}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        wrong: String,
    },
    /// What is to be exported can't be.
    #[error(transparent)]
    Export(#[from] export::ExportError),
    /// There is no such cluster to ask. One that only doesn't answer is no reason not to start.
    #[error(
        "the Kubernetes to watch can't be made out (--kubernetes=FILE takes a kubeconfig, --no-kubernetes none)"
    )]
    Kubernetes(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    addresses: [SocketAddr; 3],
    /// Of the ways in that are off unless they are asked for.
    asked_for: Vec<(&'static str, SocketAddr)>,
    stage: Arc<stage::Stage>,
    captures: capture::Captures,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Collector {
    /// Binds the listeners and serves until [`Collector::stop`].
    ///
    /// # Errors
    /// [`StartError::Bind`] names the address that could not be had; nothing is left running then.
    pub async fn start(config: CollectorConfig, store: Store) -> Result<Collector, StartError> {
        let flight = bind("probes (Flight)", "--flight", config.flight_listen).await?;
        let otlp_grpc = bind("OTLP over gRPC", "--otlp-grpc", config.otlp_grpc_listen).await?;
        let otlp_http = bind("OTLP over HTTP", "--otlp-http", config.otlp_http_listen).await?;
        let addresses = [flight.1, otlp_grpc.1, otlp_http.1];

        let netflow = bind_udp("NetFlow and IPFIX", "--netflow", config.netflow_listen).await?;
        let sflow = bind_udp("sFlow", "--sflow", config.sflow_listen).await?;
        let audit = match config.audit_listen {
            Some(address) => Some(bind("Kubernetes' audit webhook", "--k8s-audit", address).await?),
            None => None,
        };
        let asked_for = [
            netflow.as_ref().map(|(_, address)| ("netflow", *address)),
            sflow.as_ref().map(|(_, address)| ("sflow", *address)),
            audit.as_ref().map(|(_, address)| ("k8s_audit", *address)),
        ];

        let client = match &config.identity.kubernetes {
            Some(kubernetes) => Some(kubernetes.client().await.map_err(StartError::Kubernetes)?),
            None => None,
        };
        let status = client.is_some().then(|| Arc::new(enrich::status::Status::new(stage::now())));
        let enricher = Arc::new(enrich::Enricher::open(&config.identity, status.clone(), &store).await?);

        let exporter = config.export.as_ref().map(export::Exporter::open).transpose()?;
        let assembly = traces::Assembly::open(config.traces, &store, stage::now()).await;

        let stop = CancellationToken::new();
        let parts = stage::Parts {
            enricher,
            pairing: config.pairing,
            assembly,
            metrics: metrics::Metrics::new(config.metrics),
            exporter,
        };
        let stage = Arc::new(stage::Stage::new(store, &config.node, parts, config.intake_bytes));
        let switchboard = Switchboard::default();
        let captures =
            capture::Captures::new(switchboard.clone(), stage.clone(), config.allow_payload_capture);
        let served =
            receive::flight::serve(flight.0, stage.clone(), switchboard, config.limits, stop.clone());
        let mut tasks = vec![
            tokio::spawn(served),
            tokio::spawn(receive::otlp::serve(otlp_grpc.0, otlp_http.0, stage.clone(), stop.clone())),
            tokio::spawn(traces::run(stage.clone(), stop.clone())),
            tokio::spawn(metrics::run(stage.metrics().clone(), stop.clone())),
            tokio::spawn(counters::report(stage.clone(), config.health_every, stop.clone())),
        ];
        for (socket, protocol) in [(netflow, Protocol::Netflow), (sflow, Protocol::Sflow)] {
            if let Some((socket, _)) = socket {
                let served = receive::exported::serve(socket, protocol, stage.clone(), stop.clone());
                tasks.push(tokio::spawn(served));
            }
        }
        if let Some((listener, _)) = audit {
            tasks.push(tokio::spawn(receive::audit::serve(listener, stage.clone(), stop.clone())));
        }
        if let Some(exporter) = stage.exporter() {
            let metrics = Metrics(stage.clone());
            tasks.push(tokio::spawn(export::run(exporter.clone(), metrics, stop.clone())));
        }
        if let (Some(client), Some(status)) = (client, status) {
            tasks.push(tokio::spawn(enrich::watch::run(client, stage.clone(), status, stop.clone())));
        }
        let asked_for = asked_for.into_iter().flatten().collect();
        Ok(Collector { addresses, asked_for, stage, captures, stop, tasks })
    }

    /// Where probes send to.
    pub fn flight_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where OTLP over gRPC is taken.
    pub fn otlp_grpc_addr(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// Where OTLP over HTTP is taken.
    pub fn otlp_http_addr(&self) -> SocketAddr {
        self.addresses[2]
    }

    /// Name and address of each way in that is off unless it is asked for.
    pub fn asked_for(&self) -> &[(&'static str, SocketAddr)] {
        &self.asked_for
    }

    /// Who can be asked for packets, and asking.
    pub fn captures(&self) -> &capture::Captures {
        &self.captures
    }

    /// How the view of Kubernetes is; also later, from a clone of what is returned.
    pub fn kubernetes(&self) -> KubernetesView {
        KubernetesView(self.stage.enricher().clone())
    }

    /// What was counted of requests and of the collector itself, for scrapes; also later.
    pub fn metrics(&self) -> Metrics {
        Metrics(self.stage.clone())
    }

    /// What came in so far.
    pub fn counts(&self) -> Counts {
        self.stage.counts()
    }

    /// Takes nothing new, finishes what was read, and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(err) = task.await {
                warn!(%err, "a part of the collector ended badly");
            }
        }
    }
}

/// Tells how the view of Kubernetes is.
#[derive(Clone, Debug)]
pub struct KubernetesView(Arc<enrich::Enricher>);

impl KubernetesView {
    /// Now.
    pub fn state(&self) -> KubernetesState {
        self.0.kubernetes()
    }
}

async fn bind_udp(
    what: &'static str,
    flag: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<(UdpSocket, SocketAddr)>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| StartError::Bind { what, flag, address, source };
    let socket = UdpSocket::bind(address).await.map_err(failed)?;
    // Exporters send in bursts. What the system allows less of costs datagrams, which are counted.
    if let Err(err) = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &RECEIVE_BYTES)
    {
        warn!(%err, what, "the socket keeps its small buffer");
    }
    let bound = socket.local_addr().map_err(failed)?;
    Ok(Some((socket, bound)))
}

async fn bind(
    what: &'static str,
    flag: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { what, flag, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
