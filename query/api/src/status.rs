//! How this process is: `/api/v1/status` for the page, `/healthz` and `/readyz` for Kubernetes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
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
                // Rows of this time and earlier were deleted for their age, or for want of room.
                "deleted_until": table.retired.map(times::text),
                "rows_damaged": table.rows_damaged,
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
