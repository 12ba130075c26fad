//! How this process is: `/api/v1/status` for the page, `/healthz` and `/readyz` for Kubernetes, `/metrics` for Prometheus.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use weir_model::kubernetes::KubernetesState;

use crate::error::ApiError;
use crate::{Api, encode, times};

/// How far back the page's health strip looks.
const HEALTH_RANGE_NS: i64 = 3600 * 1_000_000_000;

pub(crate) async fn status(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let from = times::now() - HEALTH_RANGE_NS;
    let health = api
        .engine
        .collect(
            &format!(
                "SELECT node, counter, kind, sum(value) AS value, max(message) AS message FROM probe_health
                 WHERE time >= to_timestamp_nanos({from}) GROUP BY node, counter, kind ORDER BY value DESC"
            ),
            200,
        )
        .await?;
    let health: Vec<_> = health.batches.iter().flat_map(|batch| encode::objects(batch, false)).collect();
    let tables: Vec<_> = api
        .store
        .stats()
        .iter()
        .map(|table| {
            json!({
                "name": table.table,
                "rows_memory": table.rows_memory,
                "rows_sealed": table.rows_sealed,
                "files": table.files,
                "bytes": table.bytes,
            })
        })
        .collect();
    let listeners: Vec<_> = api
        .info
        .listeners
        .iter()
        .map(|(name, address)| json!({ "name": name, "address": address.to_string() }))
        .collect();
    Ok(Json(json!({
        "version": api.info.version,
        "node": api.info.node,
        "started": times::text(api.info.started),
        "probe": *api.info.probe.read(),
        "probes": api.info.packets.probes(),
        "kubernetes": kubernetes(&api.info.kubernetes.state()),
        "listeners": listeners,
        "tables": tables,
        "health": health,
    })))
}

/// Whether there is a watch of Kubernetes, whether it is current, and since when; `since` and `error` where there is one.
fn kubernetes(state: &KubernetesState) -> Value {
    let kinds = state.kinds.iter().map(|kind| {
        let mut told =
            json!({ "kind": kind.kind, "group": kind.group, "state": kind.state, "objects": kind.objects });
        told["since"] = times::text(kind.since).into();
        if let Some(error) = &kind.error {
            told["error"] = error.as_str().into();
        }
        told
    });
    let mut told =
        json!({ "state": state.state, "message": state.message, "kinds": kinds.collect::<Vec<_>>() });
    if state.since != 0 {
        told["since"] = times::text(state.since).into();
    }
    told
}

/// Alive: it answers.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Able to serve: a question to the store has an answer.
pub(crate) async fn readyz(State(api): State<Arc<Api>>) -> Result<&'static str, ApiError> {
    api.engine.collect("SELECT 1", 1).await?;
    Ok("ready\n")
}

/// Prometheus text format.
pub(crate) async fn metrics(State(api): State<Arc<Api>>) -> impl IntoResponse {
    let mut page = String::new();
    let stats = api.store.stats();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&weir_store::TableStats) -> u64| {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
        for table in &stats {
            let _ = writeln!(page, "{name}{{table=\"{}\"}} {}", table.table, value(table));
        }
    };
    gauge("weir_store_memory_rows", "Rows in memory, not sealed yet.", &|table| table.rows_memory);
    gauge("weir_store_sealed_rows", "Rows in Parquet files.", &|table| table.rows_sealed);
    gauge("weir_store_files", "Parquet files.", &|table| table.files);
    gauge("weir_store_sealed_bytes", "Bytes of the Parquet files.", &|table| table.bytes);
    let _ = writeln!(
        page,
        "# HELP weir_query_running Questions that are worked on now.\n# TYPE weir_query_running gauge\nweir_query_running {}",
        api.engine.running()
    );
    let _ = writeln!(
        page,
        "# HELP weir_probe_running Whether the probe in this process runs.\n# TYPE weir_probe_running gauge\nweir_probe_running {}",
        u8::from(api.info.probe.read().state == "running")
    );
    let _ = writeln!(
        page,
        "# HELP weir_kubernetes_current Whether the view of Kubernetes is current.\n# TYPE weir_kubernetes_current gauge\nweir_kubernetes_current {}",
        u8::from(api.info.kubernetes.state().state == "current")
    );
    let _ = writeln!(
        page,
        "# HELP weir_build_info Version.\n# TYPE weir_build_info gauge\nweir_build_info{{version=\"{}\"}} 1",
        api.info.version
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page)
}
