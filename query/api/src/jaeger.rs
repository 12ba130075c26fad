//! What Jaeger's frontends and Grafana ask.

use std::sync::Arc;

use axum::Router;

use crate::Api;

/// Jaeger's HTTP API, v1 and v3.
pub fn router(api: Arc<Api>) -> Router {
    Router::new().with_state(api)
}
