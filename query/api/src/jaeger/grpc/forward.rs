//! Spans that Jaeger stores → Weir's own receiver for OTLP, message by message as they come: its limits, its answers, and
//! its way of asking to come again are the same wherever spans come in.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use axum::http::{Request, Response};
use futures::future::BoxFuture;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::{Service, ServiceExt};

pub(super) const NAME: &str = "opentelemetry.proto.collector.trace.v1.TraceService";

/// A way to the receiver.
#[derive(Clone, Debug)]
pub(super) struct Forward(Channel);

impl Forward {
    /// Connects with the first request.
    pub(super) fn to(receiver: SocketAddr) -> Forward {
        let uri =
            Uri::builder().scheme("http").authority(reachable(receiver).to_string()).path_and_query("/");
        Forward(Endpoint::from(uri.build().expect("an address is an authority")).connect_lazy())
    }
}

/// A receiver that listens on every address is asked on this host's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl NamedService for Forward {
    const NAME: &'static str = NAME;
}

impl Service<Request<Body>> for Forward {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut receiver = self.0.clone();
        Box::pin(async move {
            let answer = async { receiver.ready().await?.call(request).await };
            Ok(answer.await.unwrap_or_else(|err| {
                // The sender keeps its spans and comes again.
                Status::unavailable(format!("Weir's receiver for OTLP does not answer: {err}")).into_http()
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_on_every_address_is_asked_on_this_host_s_own() {
        for (bound, asked) in [
            ("0.0.0.0:4317", "127.0.0.1:4317"),
            ("[::]:4317", "[::1]:4317"),
            ("10.0.0.1:4317", "10.0.0.1:4317"),
        ] {
            assert_eq!(reachable(bound.parse().expect("an address")).to_string(), asked);
        }
    }
}
