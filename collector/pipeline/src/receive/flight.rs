//! Probes' and imports' batches over Arrow Flight: the transport around [`Stage`]'s sink.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::error;
use weir_wire::{Limits, flight_service_until};

use crate::stage::Stage;

/// Serves until `stop`; batches that were read by then are made durable and acknowledged.
pub(crate) async fn serve(listener: TcpListener, stage: Arc<Stage>, limits: Limits, stop: CancellationToken) {
    let service = flight_service_until(stage, limits, stop.clone());
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await;
    if let Err(err) = served {
        error!(%err, "the port that probes send to is closed; restart Weir");
    }
}
