//! Rows into the journal, and out of its spool to the collector, by weir-wire's shipper.

use std::time::Duration;

use arrow::error::ArrowError;
use tracing::{error, warn};
use weir_model::tables::DropRow;
use weir_model::{DnsRow, ExchangeRow, FlowRow, ProbeHealthRow, ProcessRow, Row, TlsHandshakeRow};
use weir_wire::{Encoded, MAX_BATCH_ROWS, Shipper};

use crate::journal::{Entry, Journal, Queued, Spool};

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

            /// Makes room for the next ones, with as much memory as these had needed.
            pub(crate) fn clear(&mut self) {
                $(
                    if self.$field.len() < self.$field.capacity() / 4 {
                        self.$field = Vec::new();
                    } else {
                        self.$field.clear();
                    }
                )+
            }

            /// Puts them into an entry of the journal, a batch each of at most [`MAX_BATCH_ROWS`].
            ///
            /// # Errors
            /// When Arrow can't encode them; a table's own rows always can be.
            pub(crate) fn write(&self, journal: &mut Journal, entry: &mut Entry) -> Result<(), ArrowError> {
                $(
                    for rows in self.$field.chunks(MAX_BATCH_ROWS) {
                        let batch = Encoded::of(&$row::to_batch(rows))?;
                        journal.batch(entry, $row::table(), batch);
                    }
                )+
                Ok(())
            }
        }
    };
}

// Handshakes and drops first: a connection's flow then never shows without them.
rows! {
    handshakes: TlsHandshakeRow,
    dns: DnsRow,
    exchanges: ExchangeRow,
    processes: ProcessRow,
    drops: DropRow,
    flows: FlowRow,
    health: ProbeHealthRow,
}

/// Sends what comes out of the spool until `written` says that nothing more goes in; then waits a little for the last
/// acknowledgements.
pub(crate) async fn ship<T>(shipper: &Shipper, spool: &Spool, written: impl Future<Output = T>) -> T {
    let sending = async {
        loop {
            let queued = spool.next().await;
            let (ticket, spool) = (queued.ticket(), spool.clone());
            let Queued { table, boot_id, sequence, batch, .. } = queued;
            let sent =
                shipper.send_stamped(table, &boot_id, sequence, batch, move || spool.settled(&ticket)).await;
            if let Err(error) = sent {
                error!(%error, "rows stay in the spool");
                return std::future::pending::<()>().await;
            }
        }
    };
    let ending = async {
        let result = written.await;
        if tokio::time::timeout(LAST_ACKS, spool.empty()).await.is_err() {
            warn!(rows = spool.waiting_rows(), "last rows not acknowledged: the collector is away");
        }
        result
    };
    tokio::select! {
        () = sending => unreachable!("it only ends with the process"),
        result = ending => result,
    }
}
