//! Listeners: bound before anything starts, served until the stop signal, named for `/api/v1/status`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use weir_api::Api;

/// How long open requests may go on after the stop signal.
const DRAIN: Duration = Duration::from_secs(5);
/// Questions of one connection that are worked on at the same time; more wait.
const QUESTIONS: usize = 32;

/// Where everything is to listen, and once it does, where that is. Loopback until you say otherwise.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Addresses {
    /// Web page, API and Jaeger's HTTP API.
    #[arg(long, env = "WEIR_HTTP", default_value = "127.0.0.1:8480", value_name = "ADDR:PORT")]
    pub(crate) http: SocketAddr,
    /// Probes' batches (Arrow Flight).
    #[arg(long, env = "WEIR_FLIGHT", default_value = "127.0.0.1:8481", value_name = "ADDR:PORT")]
    pub(crate) flight: SocketAddr,
    /// OTLP over gRPC.
    #[arg(long, env = "WEIR_OTLP_GRPC", default_value = "127.0.0.1:4317", value_name = "ADDR:PORT")]
    pub(crate) otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    #[arg(long, env = "WEIR_OTLP_HTTP", default_value = "127.0.0.1:4318", value_name = "ADDR:PORT")]
    pub(crate) otlp_http: SocketAddr,
    /// NetFlow (v5, v7, v9) and IPFIX of routers and other exporters, over UDP; off without it. Their port is 2055, IPFIX's 4739.
    #[arg(long, env = "WEIR_NETFLOW", value_name = "ADDR:PORT")]
    pub(crate) netflow: Option<SocketAddr>,
    /// sFlow (v5) of switches, over UDP; off without it. Its port is 6343.
    #[arg(long, env = "WEIR_SFLOW", value_name = "ADDR:PORT")]
    pub(crate) sflow: Option<SocketAddr>,
    /// Audit events of a Kubernetes API server (its webhook, over HTTP); off without it.
    #[arg(long, env = "WEIR_K8S_AUDIT", value_name = "ADDR:PORT")]
    pub(crate) k8s_audit: Option<SocketAddr>,
    /// The web page and API once more, where a Jaeger frontend expects its backend.
    #[arg(long, env = "WEIR_JAEGER", default_value = "127.0.0.1:16686", value_name = "ADDR:PORT")]
    pub(crate) jaeger: SocketAddr,
    /// Jaeger's APIs over gRPC, for those who read traces.
    #[arg(long, env = "WEIR_JAEGER_GRPC", default_value = "127.0.0.1:16685", value_name = "ADDR:PORT")]
    pub(crate) jaeger_grpc: SocketAddr,
    /// What a Jaeger asks (gRPC) that has Weir as its remote storage; spans that it stores are taken, too.
    #[arg(long, env = "WEIR_JAEGER_STORAGE", default_value = "127.0.0.1:17271", value_name = "ADDR:PORT")]
    pub(crate) jaeger_storage: SocketAddr,
    /// Questions in SQL over Arrow Flight SQL, for ADBC and JDBC.
    #[arg(long, env = "WEIR_FLIGHT_SQL", default_value = "127.0.0.1:8483", value_name = "ADDR:PORT")]
    pub(crate) flight_sql: SocketAddr,
    /// Questions in SQL over PostgreSQL's wire protocol, for psql, Grafana and DBeaver.
    #[arg(long, env = "WEIR_POSTGRES", default_value = "127.0.0.1:5433", value_name = "ADDR:PORT")]
    pub(crate) postgres: SocketAddr,
}

impl Addresses {
    /// What listens where, for people: name, flag, address.
    pub(crate) fn described(&self) -> [(&'static str, &'static str, SocketAddr); 9] {
        [
            ("web page and API", "--http", self.http),
            ("Jaeger's HTTP API", "--jaeger", self.jaeger),
            ("Jaeger's gRPC APIs", "--jaeger-grpc", self.jaeger_grpc),
            ("Jaeger's remote storage", "--jaeger-storage", self.jaeger_storage),
            ("Flight SQL", "--flight-sql", self.flight_sql),
            ("PostgreSQL's protocol", "--postgres", self.postgres),
            ("probes (Flight)", "--flight", self.flight),
            ("OTLP over gRPC", "--otlp-grpc", self.otlp_grpc),
            ("OTLP over HTTP", "--otlp-http", self.otlp_http),
        ]
    }

    /// Name and address of each.
    pub(crate) fn named(&self) -> Vec<(&'static str, SocketAddr)> {
        [
            ("http", self.http),
            ("jaeger", self.jaeger),
            ("jaeger_grpc", self.jaeger_grpc),
            ("jaeger_storage", self.jaeger_storage),
            ("flight_sql", self.flight_sql),
            ("postgres", self.postgres),
            ("flight", self.flight),
            ("otlp_grpc", self.otlp_grpc),
            ("otlp_http", self.otlp_http),
        ]
        .into_iter()
        .chain(self.asked_for())
        .collect()
    }

    fn asked_for(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let all = [("netflow", self.netflow), ("sflow", self.sflow), ("k8s_audit", self.k8s_audit)];
        all.into_iter().filter_map(|(name, address)| Some((name, address?)))
    }

    /// Writes the file that says "ready", complete or not at all.
    pub(crate) fn write_ready_file(&self, path: &Path, probe: &super::probe::Running) -> anyhow::Result<()> {
        let mut ready = serde_json::Map::new();
        for (name, address) in self.named() {
            ready.insert(name.to_owned(), address.to_string().into());
        }
        ready.insert("probe".to_owned(), probe.word().into());
        ready.insert("pid".to_owned(), std::process::id().into());
        write_ready(path, &ready.into())
    }
}

/// Writes a file that says "ready", complete or not at all.
pub(crate) fn write_ready(path: &Path, ready: &serde_json::Value) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, serde_json::to_vec(ready)?).with_context(|| format!("write {}", part.display()))?;
    fs::rename(&part, path).with_context(|| format!("write {}", path.display()))
}

/// Binds one listener, or says which flag moves it.
pub(crate) async fn bind(what: &str, flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listen on {address} for the {what} (is another Weir running? {flag} 127.0.0.1:0 takes any free port)")
    })
}

/// Serves until `stop`, then lets open requests finish for a moment: a live tail must not hold the process up.
pub(crate) fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(async move {
        // Handlers may ask who is at the other end.
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        // An answer that comes in pieces would wait for the client's word on each one, which takes its time.
        let listener = listener.tap_io(|stream| {
            if let Err(err) = stream.set_nodelay(true) {
                tracing::debug!(%err, "a connection answers in its own time");
            }
        });
        let finished = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::select! {
            result = async { finished.await } => result,
            () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    })
}

/// The same for gRPC.
pub(crate) fn serve_grpc(
    listener: TcpListener,
    routes: Routes,
    stop: CancellationToken,
) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(async move {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = Server::builder().concurrency_limit_per_connection(QUESTIONS).add_routes(routes);
        let finished = server.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        tokio::select! {
            result = finished => result.map_err(std::io::Error::other),
            () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    })
}

/// The same for PostgreSQL's clients.
pub(crate) fn serve_postgres(
    listener: TcpListener,
    api: Arc<Api>,
    stop: CancellationToken,
) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(async move {
        let finished = weir_api::postgres(api, listener, stop.clone().cancelled_owned());
        tokio::select! {
            result = finished => result,
            () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
        }
    })
}
