//! Jaeger's APIs over gRPC: for those who read traces (`jaeger.api_v3`, `jaeger.api_v2`), and for a Jaeger that has Weir
//! as its remote storage (`jaeger.storage.v2`, and OpenTelemetry's `TraceService`).
//!
//! | file          | subject                                                            |
//! |---------------|--------------------------------------------------------------------|
//! | `proto.rs`    | messages and servers, made from `query/api/proto` by `make proto`       |
//! | `asked.rs`    | what the messages ask → what the engine is asked                      |
//! | `chunks.rs`   | a trace → messages that clients don't refuse for their size            |
//! | `api_v2.rs`   | Jaeger's first API, with spans in its own form                        |
//! | `api_v3.rs`   | its successor, with spans in OpenTelemetry's                          |
//! | `storage.rs`  | what Jaeger asks its storage                                         |
//! | `forward.rs`  | spans that Jaeger stores → Weir's own receiver                        |
//!
//! Both have health checks and reflection, with descriptors, so that `grpcurl` can tell what there is to ask.

mod api_v2;
mod api_v3;
mod asked;
mod chunks;
mod forward;
pub mod proto;
mod storage;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::{Code, Response, Status};
use tonic_health::ServingStatus;

use super::failure::Failure;
use crate::{Api, turn};
use proto::api_v2::query_service_server::QueryServiceServer as ApiV2;
use proto::api_v3::query_service_server::QueryServiceServer as ApiV3;
use proto::storage_v2::capabilities_server::CapabilitiesServer;
use proto::storage_v2::dependency_reader_server::DependencyReaderServer;
use proto::storage_v2::trace_reader_server::TraceReaderServer;

const API_V2: &str = "jaeger.api_v2.QueryService";
const API_V3: &str = "jaeger.api_v3.QueryService";
const READER: &str = "jaeger.storage.v2.TraceReader";
const DEPENDENCIES: &str = "jaeger.storage.v2.DependencyReader";
const CAPABILITIES: &str = "jaeger.storage.v2.Capabilities";
/// Jaeger asks for its health under this name, though it has no methods.
const WRITER: &str = "jaeger.storage.v2.TraceWriter";
const HEALTH: &str = "grpc.health.v1.Health";

/// Messages that come one after another.
type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// A server that takes what clients compress.
macro_rules! lenient {
    ($server:expr) => {
        $server.accept_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Zstd)
    };
}

/// For those who read traces: where `jaeger-query` has port 16685.
pub async fn query(api: &Arc<Api>) -> Routes {
    let routes = common(&[API_V2, API_V3], &[]).await;
    let routes = routes
        .add_service(lenient!(ApiV2::new(api_v2::Query(api.clone()))))
        .add_service(lenient!(ApiV3::new(api_v3::Query(api.clone()))));
    in_turn(routes, api)
}

/// For a Jaeger that has Weir as its remote storage: where `jaeger-remote-storage` has port 17271. What it stores is
/// forwarded to `receiver`, Weir's own for OTLP over gRPC.
pub async fn storage(api: &Arc<Api>, receiver: SocketAddr) -> Routes {
    let routes = common(&[READER, DEPENDENCIES, CAPABILITIES, forward::NAME], &[WRITER]).await;
    let routes = routes
        .add_service(lenient!(TraceReaderServer::new(storage::Reader(api.clone()))))
        .add_service(lenient!(DependencyReaderServer::new(storage::Reader(api.clone()))))
        .add_service(lenient!(CapabilitiesServer::new(storage::Reader(api.clone()))))
        .add_service(forward::Forward::to(receiver));
    in_turn(routes, api)
}

/// What asks the engine waits for its caller's turn.
fn in_turn(routes: Routes, api: &Arc<Api>) -> Routes {
    routes.into_axum_router().layer(axum::middleware::from_fn_with_state(api.clone(), turn::hold)).into()
}

/// Health and reflection of `services`; `healthy` are names without methods.
async fn common(services: &[&str], healthy: &[&str]) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in services.iter().chain(healthy) {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        services.iter().chain(&[HEALTH]).fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let readable = "descriptors are part of the program";
    Routes::new(health)
        .add_service(reflection().build_v1().expect(readable))
        .add_service(reflection().build_v1alpha().expect(readable))
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        let code = match failure.status.as_u16() {
            400 => Code::InvalidArgument,
            404 => Code::NotFound,
            501 => Code::Unimplemented,
            _ => Code::Internal,
        };
        Status::new(code, failure.message)
    }
}

/// Messages that are ready.
fn ready<T: Send + 'static>(messages: Vec<T>) -> Response<Messages<T>> {
    Response::new(stream::iter(messages.into_iter().map(Ok)).boxed())
}
