//! Probes' and imports' batches over Arrow Flight, and the probes' lines: the transport around [`Stage`]'s sink.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::error;
use weir_wire::control::Switchboard;
use weir_wire::{Limits, flight_service_with};

use crate::stage::Stage;

/// Silence after which the other side is asked, and after that taken for gone.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// What a sender may have sent that nobody has read, a stream and a connection: it takes memory that no limit knows of.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Serves until `stop`; batches that were read by then are made durable and acknowledged.
pub(crate) async fn serve(
    listener: TcpListener,
    stage: Arc<Stage>,
    switchboard: Switchboard,
    limits: Limits,
    stop: CancellationToken,
) {
    let service = flight_service_with(stage, switchboard, limits, stop.clone());
    let served = Server::builder()
        // A probe whose node went away without a word is found out.
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await;
    if let Err(err) = served {
        error!(%err, "the port that probes send to is closed; restart Weir");
    }
}
