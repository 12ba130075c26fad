//! The Kubernetes API server's audit webhook (audit.k8s.io/v1) → rows of `k8s_audit`. Off unless an address is given.
//!
//! The API server sends lists of events (`--audit-webhook-config-file`) and takes an answer in the 200s for "taken": it is given
//! when the rows are durable. A list that could not be stored comes again, as a whole; `audit_id` and `stage` name an event.

mod event;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::limit::ConcurrencyLimitLayer;
use tracing::{error, warn};

use crate::stage::Stage;

/// Bytes of a list: the API server sends 400 events at most, of up to 100 KB each where they have whole objects.
const MOST_BYTES: usize = 64 << 20;
/// Lists that are read at the same time; more wait.
const AT_ONCE: usize = 4;

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, stage: Arc<Stage>, stop: CancellationToken) {
    let router = Router::new()
        .route("/", post(take))
        .route("/{*any}", post(take))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(ConcurrencyLimitLayer::new(AT_ONCE))
        .with_state(stage);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(err) = served {
        error!(%err, "the port for Kubernetes' audit events is closed; restart Weir");
    }
}

async fn take(
    State(stage): State<Arc<Stage>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    // Nothing is authenticated yet: only browsers send it, and a page of any site could reach this port.
    if headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "requests from a web page are refused\n".to_owned()));
    }
    let read = tokio::task::spawn_blocking(move || event::rows(&body)).await;
    let read = read.map_err(|err| (StatusCode::INTERNAL_SERVER_ERROR, err.to_string()))?;
    let (rows, refused) = read.map_err(|why| {
        stage.counters().refused(stage.node(), "audit_malformed", 1);
        warn!(why, "a list of audit events is not read");
        (StatusCode::BAD_REQUEST, format!("not an EventList of audit.k8s.io/v1: {why}\n"))
    })?;
    if !rows.is_empty() {
        let stored = stage.append_own(&rows).await;
        stored.map_err(|err| (StatusCode::SERVICE_UNAVAILABLE, format!("{err}\n")))?;
    }
    if refused > 0 {
        stage.counters().refused(stage.node(), "audit_without_time", refused);
    }
    Ok(StatusCode::OK)
}
