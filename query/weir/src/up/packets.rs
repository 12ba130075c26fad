//! Joins the API's captures to the collector's: neither knows the other.

use futures::StreamExt;
use futures::future::BoxFuture;
use weir_api::{PacketSource, PacketStream};
use weir_collector::capture::{Asker, Captures};
use weir_model::capture::{CaptureRefusal, CaptureRequest, ConnectedProbe};

/// The collector's captures as the API wants them.
#[derive(Debug)]
pub(super) struct Packets(pub(super) Captures);

impl PacketSource for Packets {
    fn probes(&self) -> Vec<ConnectedProbe> {
        self.0.probes()
    }

    fn capture(
        &self,
        request: CaptureRequest,
        client_ip: Option<String>,
    ) -> BoxFuture<'_, Result<PacketStream, CaptureRefusal>> {
        Box::pin(async move { Ok(self.0.begin(request, Asker { client_ip }).await?.boxed()) })
    }
}
