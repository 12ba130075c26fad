//! `weir up`: probe, collector, store, queries and the web page in one process. It only wires: each part is a crate
//! of its own, and the in-process probe ships over loopback by the same way as one on another node.

mod banner;
mod export;
mod identity;
pub(crate) mod listen;
mod metrics;
mod packets;
pub(crate) mod place;
mod probe;
pub(crate) mod retention;
mod seen;
mod spread;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tracing::info;
use weir_api::{Api, ApiInfo};
use weir_collector::{Collector, CollectorConfig, IdentityConfig, Pairing, Shares, TraceLimits};
use weir_query::{Engine, Limits};
use weir_store::{Store, StoreConfig};

use crate::flags;
use crate::jaeger_ui::JaegerUi;

/// Starts the probe, the collector, the store, the queries and the web page in one process.
///
/// Everything listens on loopback only, until you say otherwise. Without root or BTF the probe stays off, and Weir still
/// takes imports and OTLP. Stop it with Ctrl-C: what was received is kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: place::Args,
    /// Seconds that rows stay in memory before they go into files, at most: only then other Weirs of the same --store have
    /// them. Fewer make more and smaller files.
    #[arg(long, env = "WEIR_SEAL_AGE", value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    seal_age: u32,
    /// How much memory the process may take, at least 256MiB; a load that needs more waits at those who send it.
    #[arg(long, env = "WEIR_MEMORY_LIMIT", value_name = "SIZE", default_value = "1GiB", value_parser = flags::memory)]
    pub(crate) memory_limit: usize,
    #[command(flatten)]
    retention: retention::Args,
    #[command(flatten)]
    listen: listen::Addresses,
    /// A build of jaeger-ui (the folder that has its index.html), to be the page on Jaeger's port; without it, Weir's own is.
    #[arg(long, env = "WEIR_JAEGER_UI_DIR", value_name = "DIR")]
    jaeger_ui_dir: Option<PathBuf>,
    /// Let `weir capture --payload` have what packets carry; otherwise captures have their headers only.
    #[arg(long, env = "WEIR_ALLOW_PAYLOAD_CAPTURE")]
    allow_payload_capture: bool,
    #[command(flatten)]
    identity: identity::Args,
    /// How sure (0 to 1) it must be that an exchange was made for another to be in its trace; below, a trace of its own begins.
    #[arg(long, env = "WEIR_TRACE_CONFIDENCE", value_name = "SHARE", default_value_t = TraceLimits::default().min_confidence, value_parser = flags::share)]
    trace_confidence: f64,
    #[command(flatten)]
    export: export::Args,
    #[command(flatten)]
    spread: spread::Args,
    #[command(flatten)]
    metrics: metrics::Args,
    /// How much the probe records: more costs the machine more.
    #[arg(long, env = "WEIR_PROBE_LEVEL", value_enum, default_value = "exchanges")]
    probe_level: weir_probe::Level,
    /// Network interfaces whose packets the probe counts at the level `packets`; `*` is anything, but not `lo`.
    #[arg(
        long,
        env = "WEIR_PROBE_INTERFACES",
        value_delimiter = ',',
        default_value = "*",
        value_name = "NAMES"
    )]
    probe_interfaces: Vec<String>,
    /// Don't start the probe; serve imports, OTLP and what is stored.
    #[arg(long, env = "WEIR_NO_PROBE")]
    no_probe: bool,
    /// Write the bound addresses as JSON into this file once everything is ready.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let stop = weir_kit::stop::on_signal().context("install the signal handlers")?;
    let node = weir_kit::host::node_name();
    let dir = args.place.dir()?;
    let shared = args.place.shared()?;
    let shares = Shares::of(args.memory_limit);
    let pairing = Arc::new(Pairing::with_room(shares.pairing));
    std::fs::create_dir_all(&dir).with_context(|| format!("make the data folder {}", dir.display()))?;
    let kept = StoreConfig {
        retention: args.retention.of(&dir, shared.as_ref())?,
        shared: shared.clone(),
        seal_age: Duration::from_secs(u64::from(args.seal_age)),
        ..shares.store(dir.clone())
    };
    let shares_store = shared.is_some();
    let place = shared.map_or_else(|| dir.display().to_string(), |shared| shared.to_string());
    let store = Store::open_with(kept, Some(pairing.clone()))
        .await
        .with_context(|| format!("open the store in {place}"))?;

    let jaeger_ui = args.jaeger_ui_dir.as_deref().map(JaegerUi::open).transpose()?;
    // Ports before parts: a port that is taken is said before anything has started.
    let http = listen::bind("web page and API", "--http", args.listen.http).await?;
    let jaeger = listen::bind("Jaeger's HTTP API", "--jaeger", args.listen.jaeger).await?;
    let jaeger_grpc = listen::bind("Jaeger's gRPC APIs", "--jaeger-grpc", args.listen.jaeger_grpc).await?;
    let jaeger_storage =
        listen::bind("Jaeger's remote storage", "--jaeger-storage", args.listen.jaeger_storage).await?;
    let flight_sql = listen::bind("Flight SQL", "--flight-sql", args.listen.flight_sql).await?;
    let postgres = listen::bind("PostgreSQL's protocol", "--postgres", args.listen.postgres).await?;
    let config = CollectorConfig {
        flight_listen: args.listen.flight,
        otlp_grpc_listen: args.listen.otlp_grpc,
        otlp_http_listen: args.listen.otlp_http,
        netflow_listen: args.listen.netflow,
        sflow_listen: args.listen.sflow,
        audit_listen: args.listen.k8s_audit,
        node: node.clone(),
        allow_payload_capture: args.allow_payload_capture,
        identity: IdentityConfig { limits: shares.identity(), ..args.identity.config() },
        traces: TraceLimits { min_confidence: args.trace_confidence, ..shares.traces() },
        intake_bytes: shares.intake,
        limits: shares.batch(),
        pairing: Some(pairing),
        metrics: args.metrics.limits(shares.requests()),
        export: args.export.config(&dir),
        ..CollectorConfig::default()
    };
    let collector = Collector::start(config, store.clone()).await.context("start the collector")?;
    let asked_for = |wanted: &str| {
        let bound = collector.asked_for().iter().find(|(name, _)| *name == wanted);
        bound.map(|(_, address)| *address)
    };
    let listeners = listen::Addresses {
        http: http.local_addr()?,
        jaeger: jaeger.local_addr()?,
        jaeger_grpc: jaeger_grpc.local_addr()?,
        jaeger_storage: jaeger_storage.local_addr()?,
        flight_sql: flight_sql.local_addr()?,
        postgres: postgres.local_addr()?,
        flight: collector.flight_addr(),
        otlp_grpc: collector.otlp_grpc_addr(),
        otlp_http: collector.otlp_http_addr(),
        netflow: asked_for("netflow"),
        sflow: asked_for("sflow"),
        k8s_audit: asked_for("k8s_audit"),
    };

    let questions = Limits { memory_bytes: shares.queries, ..Limits::default() };
    let engine = Arc::new(args.spread.with(Engine::new(store.clone(), questions)?, shares_store)?);
    let probe = probe::start(&args, &node, listeners.flight, &dir, &stop).await;
    let info = ApiInfo::new(weir_kit::VERSION, &node, listeners.named(), probe.state())
        .with_packets(Arc::new(packets::Packets(collector.captures().clone())))
        .with_kubernetes(Arc::new(identity::View(collector.kubernetes())))
        .with_metrics(Arc::new(collector.metrics()));
    let api = Api::new(engine.clone(), store.clone(), info);
    let router = weir_api::router(api.clone());
    let jaeger_router = match jaeger_ui {
        Some(ui) => router.clone().fallback(move |uri| ui.clone().answer(uri)),
        None => router.clone().fallback(crate::ui::page),
    };
    let router = router.fallback(crate::ui::page);
    let queries = weir_api::jaeger::grpc::query(&api).await;
    let storage = weir_api::jaeger::grpc::storage(&api, listeners.otlp_grpc).await;
    let servers = [
        listen::serve(http, router, stop.clone()),
        listen::serve(jaeger, jaeger_router, stop.clone()),
        listen::serve_grpc(jaeger_grpc, queries, stop.clone()),
        listen::serve_grpc(jaeger_storage, storage, stop.clone()),
        listen::serve_grpc(flight_sql, weir_api::flight_sql(&api), stop.clone()),
        listen::serve_postgres(postgres, api, stop.clone()),
    ];

    if let Some(path) = &args.ready_file {
        listeners.write_ready_file(path, &probe)?;
    }
    banner::print(&listeners, &place, &probe);
    let seen = tokio::spawn(seen::tell(engine, stop.clone()));

    stop.cancelled().await;
    seen.await.context("tell what is seen")?;
    // Downstream last: the probe's final batches still find a collector, the collector's a store.
    probe.stopped().await;
    collector.stop().await;
    for server in servers {
        server.await.context("web server")??;
    }
    store.close().await.context("close the store")?;
    info!("stopped");
    Ok(())
}

pub(crate) fn default_data_dir() -> anyhow::Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/weir"));
    }
    if let Some(state) = std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(state).join("weir"));
    }
    match std::env::var_os("HOME").filter(|dir| !dir.is_empty()) {
        Some(home) => Ok(PathBuf::from(home).join(".local/state/weir")),
        None => bail!("no home directory to keep rows in: say --data-dir DIR"),
    }
}
