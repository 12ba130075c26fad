//! What Jaeger's frontends and Grafana ask: Jaeger's APIs over the `spans` table, by HTTP (v1 and v3) and by gRPC.
//!
//! | file                | subject                                                                     |
//! |---------------------|-----------------------------------------------------------------------------|
//! | `v1.rs`             | `/api/…`: every jaeger-ui opens traces here, older ones and Grafana ask only here |
//! | `v3.rs`             | `/api/v3/…`: where newer jaeger-ui search                                      |
//! | `envelope.rs`       | v1's one form of answers and errors                                           |
//! | `failure.rs`        | why there is no answer, before it is known in which form to say so              |
//! | `params.rs`         | query strings, and the error texts of Go's parsers                             |
//! | `go_duration.rs`    | durations as Go reads and writes them                                          |
//! | `go_time.rs`        | RFC 3339 as Go reads it                                                       |
//! | `trace_id.rs`       | trace ids in all the forms that people send                                    |
//! | `search.rs`         | a search → the ids of the newest traces that match; its time in parts (`search/windows.rs`) |
//! | `tags.rs`           | a tag → a condition on attributes, events and links                            |
//! | `spans.rs`          | ids → whole traces                                                            |
//! | `archive.rs`        | traces that somebody keeps                                                    |
//! | `adjust/`           | what Jaeger changes in a trace before it shows it                              |
//! | `model.rs`          | OTLP → Jaeger's own form of a trace                                            |
//! | `trace_v1.rs`       | that → v1's JSON of a trace                                                   |
//! | `summary.rs`        | a trace in a line of the search page                                          |
//! | `names.rs`          | services and operations; what each file has of them (`names/known.rs`)              |
//! | `dependencies.rs`   | who calls whom                                                                |
//! | `monitor.rs`        | the Monitor tab: rates, errors and latencies over time                        |
//! | `grpc.rs`           | the same over gRPC, and what a Jaeger asks that has Weir as its storage          |
//!
//! Where Jaeger's versions differ, v2.20.0's answers are given. Known differences, meant: a service name with `%` or `+`
//! is found; a link to the parent doesn't hide the parent; a span of no length is no fault; names come sorted.

mod adjust;
mod archive;
mod dependencies;
mod envelope;
mod failure;
mod go_duration;
mod go_time;
pub mod grpc;
mod model;
mod monitor;
mod names;
mod params;
mod search;
mod spans;
mod summary;
mod tags;
mod trace_id;
mod trace_v1;
mod v1;
mod v3;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};

use crate::Api;
pub(crate) use archive::Archive;
pub(crate) use names::Known;

/// The largest OTLP document that `transform` reads: people drop files on the page.
const MOST_DOCUMENT_BYTES: usize = 64 << 20;

/// Jaeger's HTTP API, v1 and v3.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/api/services", only(get(v1::services)))
        .route("/api/services/{service}/operations", only(get(v1::operation_names)))
        .route("/api/operations", only(get(v1::operations)))
        .route("/api/traces", only(get(v1::search)))
        .route("/api/traces/{id}", only(get(v1::trace)))
        .route("/api/archive/{id}", only(post(v1::archive)))
        .route("/api/transform", only(post(v1::transform)).layer(DefaultBodyLimit::max(MOST_DOCUMENT_BYTES)))
        .route("/api/dependencies", only(get(v1::dependencies)))
        .route("/api/deep-dependencies", only(get(v1::deep_dependencies)))
        .route("/api/quality-metrics", only(get(v1::quality_metrics)))
        .route("/api/metrics/minstep", only(get(monitor::min_step)))
        .route("/api/metrics/calls", only(get(monitor::calls)))
        .route("/api/metrics/errors", only(get(monitor::errors)))
        .route("/api/metrics/latencies", only(get(monitor::latencies)))
        .route("/api/v3/services", only(get(v3::services)))
        .route("/api/v3/operations", only(get(v3::operations)))
        .route("/api/v3/traces", only(get(v3::search)))
        .route("/api/v3/traces/{id}", only(get(v3::trace)))
        .route("/api/v3/trace-summaries", only(get(v3::summaries)))
        .route("/api", any(not_found))
        .route("/api/", any(not_found))
        .route("/api/{*unknown}", any(not_found))
        .layer(axum::middleware::map_response(trace_response))
        .with_state(api)
}

/// A known path asked in another way is an unknown path: Jaeger has no 405.
fn only(routes: MethodRouter<Arc<Api>>) -> MethodRouter<Arc<Api>> {
    routes.fallback(not_found)
}

/// In plain text, so that no page takes it for an answer, and before the web page answers with itself.
async fn not_found() -> Response {
    let media_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::NOT_FOUND, media_type, "404 page not found\n").into_response()
}

/// The header that Jaeger's every answer carries; empty, since questions are not traced.
async fn trace_response(mut response: Response) -> Response {
    response.headers_mut().insert(HeaderName::from_static("traceresponse"), HeaderValue::from_static(""));
    response
}
