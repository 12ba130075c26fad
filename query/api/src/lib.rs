//! The HTTP API: SQL, flows, tables, export, status, and Jaeger's own APIs (over gRPC, too), over one engine.
//!
//! | file         | subject                                                                    |
//! |--------------|----------------------------------------------------------------------------|
//! | `guard.rs`   | who may ask: this origin, this host; body limits and headers                  |
//! | `turn.rs`    | who asks, and whose turn it is                                                |
//! | `sql/`       | `POST /api/v1/sql`: JSON, NDJSON, CSV, Arrow IPC or Parquet                   |
//! | `flight_sql/`| Arrow Flight SQL (gRPC): statements, parameters, the catalogue                |
//! | `postgres/`  | PostgreSQL's wire protocol: psql, Grafana, DBeaver                            |
//! | `flows.rs`   | `GET /api/v1/flows`: filters → SQL, joined with what the handshakes say        |
//! | `filter.rs`  | `column op value`, checked against the schema                                 |
//! | `tables.rs`  | `GET /api/v1/tables`: the schema as the model has it, and all functions       |
//! | `export/`    | `GET /api/v1/export`: OCSF, JSON Lines, CSV, streamed                         |
//! | `capture.rs` | `POST /api/v1/capture`: packets on demand, as pcapng                          |
//! | `status.rs`  | `/api/v1/status`, `/healthz`, `/readyz`                                       |
//! | `metrics.rs` | `/metrics`, as OpenMetrics or as Prometheus' text                            |
//! | `openapi.rs` | the document of all of it                                                     |
//! | `jaeger/`    | what Jaeger's frontends and Grafana ask                                       |
//! | `encode.rs`  | Arrow values as JSON and CSV                                                  |
//! | `error.rs`   | one mapping from error to status, code, position and hint                     |
//!
//! Never here: what a table means, files, the web page.

mod capture;
mod encode;
mod error;
mod export;
mod filter;
mod flight_sql;
mod flows;
mod guard;
mod info;
pub mod jaeger;
mod metrics;
mod openapi;
mod postgres;
mod sql;
mod status;
mod tables;
mod times;
mod turn;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};
use weir_query::Engine;
use weir_store::Store;

pub use capture::{PacketSource, PacketStream};
pub use flight_sql::flight_sql;
pub use info::{ApiInfo, KubernetesSource, ProbeState};
pub use postgres::postgres;
pub use tables::markdown as tables_markdown;

/// What the API answers from.
#[derive(Clone, Debug)]
pub struct Api {
    /// Asks.
    pub engine: Arc<Engine>,
    /// For what is no question: counts of rows and files.
    pub store: Store,
    /// What this process is.
    pub info: ApiInfo,
    known: Arc<jaeger::Known>,
    archive: Arc<jaeger::Archive>,
}

impl Api {
    /// An API over `engine` and its `store`.
    pub fn new(engine: Arc<Engine>, store: Store, info: ApiInfo) -> Arc<Api> {
        Arc::new(Api { engine, store, info, known: Arc::default(), archive: Arc::default() })
    }
}

/// Everything below `/api/`, and `/healthz`, `/readyz`, `/metrics`.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/api/v1/sql", post(sql::answer))
        .route("/api/v1/flows", get(flows::answer))
        .route("/api/v1/tables", get(tables::answer))
        .route("/api/v1/export", get(export::answer))
        .route("/api/v1/capture", post(capture::answer))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/openapi.json", get(openapi::answer))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(metrics::answer))
        .route("/api/v1/{*rest}", any(error::no_route))
        .method_not_allowed_fallback(error::no_method)
        .with_state(api.clone())
        .merge(jaeger::router(api))
        .layer(axum::middleware::from_fn(guard::check))
}
