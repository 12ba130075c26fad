//! A batch, with the names of its ends → the spans that follow from it → the store, both in one durable step.
//!
//! The spans get metadata derived from the batch's own, so a batch that is sent again makes spans that the store
//! already has. Spans of exchanges follow from many batches: those are told on, once they are durable (`traces.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use tracing::warn;
use weir_model::batch::ModelError;
use weir_model::{BatchMeta, ExchangeRow, FlowRow, Row, SmolStr, SpanRow, TlsHandshakeRow};
use weir_store::{Part, Store, StoreError};
use weir_wire::{IngestError, Refusal, RefusalReason, Sink};

use crate::counters::{Counters, Counts};
use crate::enrich::Enricher;
use crate::pair::Pairing;
use crate::traces::Assembly;

/// Rows up to which stitching takes less than handing it to another thread.
const INLINE_ROWS: usize = 64;

/// The collector's one stage.
#[derive(Debug)]
pub(crate) struct Stage {
    store: Store,
    node: String,
    boot_id: String,
    /// Batches of our own rows (OTLP spans, counters), all tables together: gaps within a table mean nothing.
    sequence: AtomicU64,
    counters: Counters,
    enricher: Arc<Enricher>,
    /// The store's stage before memory, where it has one.
    pairing: Option<Arc<Pairing>>,
    assembly: Assembly,
}

/// Now, UTC nanoseconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

impl Stage {
    pub(crate) fn new(
        store: Store,
        node: &str,
        enricher: Arc<Enricher>,
        pairing: Option<Arc<Pairing>>,
        assembly: Assembly,
    ) -> Stage {
        Stage {
            store,
            enricher,
            pairing,
            assembly,
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
        self.append(rows).await?;
        self.counters.stored(rows.len() as u64, 0, 0);
        Ok(())
    }

    /// Spans of exchanges; durable when it returns.
    ///
    /// # Errors
    /// The store's, when nothing was stored.
    pub(crate) async fn append_stitched(&self, spans: &[SpanRow]) -> Result<(), StoreError> {
        self.append(spans).await?;
        self.counters.stitched(spans.len() as u64);
        Ok(())
    }

    async fn append<R: Row>(&self, rows: &[R]) -> Result<(), StoreError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let meta = BatchMeta::of::<R>(&self.node, &self.boot_id, sequence);
        self.store.append(vec![(meta, R::to_batch(rows))]).await
    }

    /// How often what was told of connections was forgotten before its time.
    pub(crate) fn pairing_hurried(&self) -> u64 {
        self.pairing.as_ref().map_or(0, |pairing| pairing.hurried())
    }

    /// What to add to nodes' times so that all are by one clock, ns.
    pub(crate) fn clock_corrections(&self) -> BTreeMap<SmolStr, i64> {
        self.pairing.as_ref().map(|pairing| pairing.clock_corrections()).unwrap_or_default()
    }

    pub(crate) fn assembly(&self) -> &Assembly {
        &self.assembly
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn enricher(&self) -> &Arc<Enricher> {
        &self.enricher
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
    #[expect(clippy::unused_self, reason = "whose clock it is, is the stage's to know")]
    pub(crate) fn now(&self) -> i64 {
        now()
    }
}

impl Sink for Stage {
    async fn ingest(&self, meta: BatchMeta, batch: RecordBatch) -> Result<(), IngestError> {
        self.take(Part { meta, batch, ipc: None }).await
    }

    async fn ingest_encoded(
        &self,
        meta: BatchMeta,
        batch: RecordBatch,
        ipc: Bytes,
    ) -> Result<(), IngestError> {
        self.take(Part { meta, batch, ipc: Some(ipc) }).await
    }

    fn refused(&self, meta: &BatchMeta, refusal: &Refusal) {
        self.counters.refused(&meta.node, refusal.reason.as_str(), 1);
    }
}

impl Stage {
    async fn take(&self, part: Part) -> Result<(), IngestError> {
        let rows = part.batch.num_rows() as u64;
        let node = part.meta.node.clone();
        let part = self.enricher.enrich(part, &self.counters).await;
        let malformed = |err| self.refuse(&node, RefusalReason::Malformed, &err);
        let Stitched { parts, exchanges, handshakes } = with_spans(part).await.map_err(malformed)?;
        let stitched = parts.iter().skip(1).map(|spans| spans.batch.num_rows() as u64).sum();
        match self.store.append_parts(parts).await {
            Ok(duplicates) => {
                self.counters.stored(rows, stitched, duplicates as u64);
                // What came before was taken before.
                if duplicates == 0 {
                    self.assembly.add(exchanges, &handshakes, now());
                }
                Ok(())
            }
            Err(err @ StoreError::Batch { .. }) => Err(self.refuse(&node, RefusalReason::BadColumn, &err)),
            // Whatever else it is, the sender still has the batch: it comes back.
            Err(err) => Err(IngestError::Unavailable(err.to_string())),
        }
    }

    fn refuse(&self, node: &str, reason: RefusalReason, err: &dyn std::error::Error) -> IngestError {
        let refusal = Refusal::new(reason, err.to_string());
        warn!(node, %refusal, "batch refused");
        self.counters.refused(node, reason.as_str(), 1);
        refusal.into()
    }
}

/// A batch, and what follows from it.
#[derive(Default)]
struct Stitched {
    /// The batch, and the spans that follow from it alone.
    parts: Vec<Part>,
    /// What follows from many batches: exchanges, and the spans of clients' handshakes.
    exchanges: Vec<ExchangeRow>,
    handshakes: Vec<SpanRow>,
}

/// Large batches are stitched where nobody waits for the thread.
async fn with_spans(part: Part) -> Result<Stitched, ModelError> {
    if part.batch.num_rows() <= INLINE_ROWS {
        return stitch(part);
    }
    tokio::task::spawn_blocking(move || stitch(part)).await.expect("stitching does not panic")
}

/// The spans get metadata that is the same each time that the batch comes.
fn stitch(part: Part) -> Result<Stitched, ModelError> {
    if part.meta.table == ExchangeRow::table().name {
        let exchanges = ExchangeRow::from_batch(&part.batch)?;
        return Ok(Stitched { parts: vec![part], exchanges, ..Stitched::default() });
    }
    let is_handshakes = part.meta.table == TlsHandshakeRow::table().name;
    let spans = if is_handshakes {
        weir_stitch::spans_of_handshakes(&TlsHandshakeRow::from_batch(&part.batch)?)
    } else if part.meta.table == FlowRow::table().name {
        weir_stitch::spans_of_flows(&FlowRow::from_batch(&ended(&part.batch))?)
    } else {
        Vec::new()
    };
    if spans.is_empty() {
        return Ok(Stitched { parts: vec![part], ..Stitched::default() });
    }
    let meta = BatchMeta {
        table: SpanRow::table().name.to_owned(),
        boot_id: format!("stitch-{}-{}", part.meta.table, part.meta.boot_id),
        ..part.meta.clone()
    };
    let stitched = Part { meta, batch: SpanRow::to_batch(&spans), ipc: None };
    // What the server's end saw of a handshake is no part of what its client waited for.
    let is_client_s = |span: &SpanRow| {
        !span.attributes.iter().any(|(key, value)| key == "weir.observer" && value == "server")
    };
    let handshakes = if is_handshakes { spans.into_iter().filter(is_client_s).collect() } else { Vec::new() };
    Ok(Stitched { parts: vec![part, stitched], handshakes, ..Stitched::default() })
}

/// The flows of connections that ended: only they become spans, and most rows of a long connection don't. All rows
/// where the states can't be told apart that way.
fn ended(batch: &RecordBatch) -> RecordBatch {
    let filtered = || {
        let states = batch.column_by_name("state")?.as_dictionary_opt::<Int32Type>()?;
        let names = states.values().as_string_opt::<i32>()?;
        let is_end: Vec<bool> = names.iter().map(|name| matches!(name, Some("closed" | "only"))).collect();
        let rows: BooleanArray =
            states.keys().iter().map(|key| Some(key.is_some_and(|key| is_end[key as usize]))).collect();
        if rows.true_count() == rows.len() { None } else { filter_record_batch(batch, &rows).ok() }
    };
    filtered().unwrap_or_else(|| batch.clone())
}
