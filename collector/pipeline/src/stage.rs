//! A batch of flows or handshakes → the spans that follow from it → the store, both in one durable step.
//!
//! The spans get metadata derived from the batch's own, so a batch that is sent again makes spans that the store
//! already has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use weir_model::batch::ModelError;
use weir_model::{BatchMeta, FlowRow, Row, SpanRow, TlsHandshakeRow};
use weir_store::{Store, StoreError};
use weir_wire::{IngestError, Refusal, RefusalReason, Sink};

use crate::counters::{Counters, Counts};

/// The collector's one stage.
#[derive(Debug)]
pub(crate) struct Stage {
    store: Store,
    node: String,
    boot_id: String,
    /// Batches of our own rows (OTLP spans, counters), all tables together: gaps within a table mean nothing.
    sequence: AtomicU64,
    counters: Counters,
}

impl Stage {
    pub(crate) fn new(store: Store, node: &str) -> Stage {
        Stage {
            store,
            node: node.to_owned(),
            boot_id: weir_kit::host::boot_id(),
            sequence: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    /// Rows that the collector itself received or made; durable when it returns.
    ///
    /// # Errors
    /// The store's, when nothing was stored.
    pub(crate) async fn append_own<R: Row>(&self, rows: &[R]) -> Result<(), StoreError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let meta = BatchMeta::of::<R>(&self.node, &self.boot_id, sequence);
        self.store.append(vec![(meta, R::to_batch(rows))]).await?;
        self.counters.stored(rows.len() as u64, 0);
        Ok(())
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counters.counts()
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Now, UTC nanoseconds.
    pub(crate) fn now(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
    }
}

impl Sink for Stage {
    async fn ingest(&self, meta: BatchMeta, batch: RecordBatch) -> Result<(), IngestError> {
        let rows = batch.num_rows() as u64;
        let spans = stitched(&meta, &batch)
            .map_err(|err| Refusal::new(RefusalReason::Malformed, format!("{}: {err}", meta.table)))?;
        let stitched_rows = spans.as_ref().map_or(0, |(_, spans)| spans.num_rows() as u64);
        let mut parts = vec![(meta, batch)];
        parts.extend(spans);
        match self.store.append(parts).await {
            Ok(()) => {
                self.counters.stored(rows, stitched_rows);
                Ok(())
            }
            // Whatever it is, the sender still has the batch: it comes back.
            Err(err) => Err(IngestError::Unavailable(err.to_string())),
        }
    }

    fn refused(&self, meta: &BatchMeta, refusal: &Refusal) {
        self.counters.refused(&meta.node, refusal.reason.as_str(), 1);
    }
}

/// The spans that follow from a batch, with metadata that is the same each time that the batch comes.
fn stitched(meta: &BatchMeta, batch: &RecordBatch) -> Result<Option<(BatchMeta, RecordBatch)>, ModelError> {
    let spans = match meta.table.as_str() {
        "flows" => weir_stitch::spans_of_flows(&FlowRow::from_batch(batch)?),
        "tls_handshakes" => weir_stitch::spans_of_handshakes(&TlsHandshakeRow::from_batch(batch)?),
        _ => return Ok(None),
    };
    if spans.is_empty() {
        return Ok(None);
    }
    let meta = BatchMeta {
        table: SpanRow::table().name.to_owned(),
        boot_id: format!("stitch-{}-{}", meta.table, meta.boot_id),
        ..meta.clone()
    };
    Ok(Some((meta, SpanRow::to_batch(&spans))))
}
