//! Rows to the collector, by weir-wire's shipper.

use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;
use weir_model::{FlowRow, ProbeHealthRow, TlsHandshakeRow};
use weir_wire::{ShipError, Shipper};

/// How long a stopping probe waits for the last acknowledgements.
const LAST_ACKS: Duration = Duration::from_secs(5);

/// Makes [`Rows`] out of one list: a field a table, in the order that they are sent.
macro_rules! rows {
    ($($field:ident: $row:ident),+ $(,)?) => {
        /// Rows that were made together.
        #[derive(Debug, Default)]
        pub(crate) struct Rows {
            $(pub(crate) $field: Vec<$row>,)+
        }

        impl Rows {
            /// How many there are.
            pub(crate) fn len(&self) -> usize {
                0 $(+ self.$field.len())+
            }

            async fn send(&self, shipper: &Shipper) -> Result<(), ShipError> {
                $(
                    if !self.$field.is_empty() {
                        shipper.send(&self.$field).await?;
                    }
                )+
                Ok(())
            }
        }
    };
}

// Handshakes first: a connection's flow then never shows without them.
rows! {
    handshakes: TlsHandshakeRow,
    flows: FlowRow,
    health: ProbeHealthRow,
}

/// Sends what comes until the channel closes, then waits for the last acknowledgements. What the collector is too slow
/// for waits in the channel, and there the watching thread counts what finds no room.
pub(crate) async fn ship(shipper: Shipper, mut rows: mpsc::Receiver<Rows>) {
    while let Some(rows) = rows.recv().await {
        if let Err(error) = rows.send(&shipper).await {
            warn!(%error, rows = rows.len(), "rows refused");
        }
    }
    match tokio::time::timeout(LAST_ACKS, shipper.flush()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "last rows not acknowledged"),
        Err(_) => warn!("last rows not acknowledged: the collector is away"),
    }
}
