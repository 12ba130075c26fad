//! Who asks, and whose turn it is: each request that asks the engine goes through here, before its handler.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::Extensions;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;
use tonic::transport::server::TcpConnectInfo;
use weir_query::Caller;

use crate::Api;
use crate::error::ApiError;

/// The API as this request's caller may ask it, once it is its turn. All questions of one request are one turn, which ends
/// when the request and its answers are dropped.
pub(crate) struct InTurn(pub(crate) Arc<Api>);

impl InTurn {
    /// The same for a handler that reads a body first: whoever sends slowly holds no turn.
    pub(crate) async fn of(api: &Arc<Api>, extensions: &Extensions) -> Result<Arc<Api>, ApiError> {
        let engine = api.engine.asked_by(caller(extensions)).await?;
        Ok(Arc::new(Api { engine: Arc::new(engine), ..Api::clone(api) }))
    }
}

impl FromRequestParts<Arc<Api>> for InTurn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<InTurn, ApiError> {
        InTurn::of(api, &parts.extensions).await.map(InTurn)
    }
}

/// The same for Jaeger's gRPC methods: a request's turn lasts until its answer is known, whose messages are all there then.
/// Health, reflection and what is stored wait for nobody.
pub(crate) async fn hold(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/jaeger.") {
        return next.run(request).await;
    }
    match api.engine.asked_by(caller(request.extensions())).await {
        Ok(_turn) => next.run(request).await,
        Err(busy) => Status::resource_exhausted(busy.message).into_http(),
    }
}

/// Who is at the other end. Where callers authenticate one day, this is what reads who they are.
fn caller(known: &Extensions) -> Caller {
    let http = known.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| *address);
    let grpc = || known.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    http.or_else(grpc).map_or_else(Caller::anonymous, caller_at)
}

/// The same for a connection of which no more is known.
pub(crate) fn caller_at(address: SocketAddr) -> Caller {
    Caller::at(address.ip())
}
