//! Rows to the collector, by weir-wire's shipper.

use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;
use weir_model::{FlowRow, ProbeHealthRow, TlsHandshakeRow};
use weir_wire::{ShipError, Shipper};

/// How long a stopping probe waits for the last acknowledgements.
const LAST_ACKS: Duration = Duration::from_secs(5);

/// Rows that were made together.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) flows: Vec<FlowRow>,
    pub(crate) handshakes: Vec<TlsHandshakeRow>,
    pub(crate) health: Vec<ProbeHealthRow>,
}

impl Rows {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.flows.len() + self.handshakes.len() + self.health.len()
    }
}

/// Sends what comes until the channel closes, then waits for the last acknowledgements. What the collector is too slow
/// for waits in the channel, and there the watching thread counts what finds no room.
pub(crate) async fn ship(shipper: Shipper, mut rows: mpsc::Receiver<Rows>) {
    while let Some(rows) = rows.recv().await {
        // Handshakes first: a connection's flow then never shows without them.
        if let Err(error) = send(&shipper, &rows).await {
            warn!(%error, rows = rows.len(), "rows refused");
        }
    }
    match tokio::time::timeout(LAST_ACKS, shipper.flush()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "last rows not acknowledged"),
        Err(_) => warn!("last rows not acknowledged: the collector is away"),
    }
}

async fn send(shipper: &Shipper, rows: &Rows) -> Result<(), ShipError> {
    if !rows.handshakes.is_empty() {
        shipper.send(&rows.handshakes).await?;
    }
    if !rows.flows.is_empty() {
        shipper.send(&rows.flows).await?;
    }
    if !rows.health.is_empty() {
        shipper.send(&rows.health).await?;
    }
    Ok(())
}
