//! A batch, with the names of its ends → the spans that follow from it → the store, both in one durable step.
//!
//! The spans get metadata derived from the batch's own, so a batch that is sent again makes spans that the store
//! already has. Spans of exchanges follow from many batches: those are told on, once they are durable (`traces.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use tracing::warn;
use weir_model::batch::ModelError;
use weir_model::{BatchMeta, ExchangeRow, FlowRow, ProbeHealthRow, Row, SpanRow, TlsHandshakeRow};
use weir_store::{Lag, Part, Store, StoreError};
use weir_wire::{IngestError, Refusal, RefusalReason, Sink};

use crate::counters::{Counters, Counts};
use crate::enrich::Enricher;
use crate::export::Exporter;
use crate::metrics::{Counted, Metrics};
use crate::traces::Assembly;
use crate::verdicts::Verdicts;

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
    assembly: Assembly,
    metrics: Arc<Metrics>,
    exporter: Option<Arc<Exporter>>,
    verdicts: Verdicts,
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
        assembly: Assembly,
        metrics: Metrics,
        exporter: Option<Exporter>,
    ) -> Stage {
        Stage {
            store,
            enricher,
            assembly,
            metrics: Arc::new(metrics),
            exporter: exporter.map(Arc::new),
            verdicts: Verdicts::default(),
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
        self.counters.stored(R::table().name, rows.len() as u64, 0, 0);
        Ok(())
    }

    /// Applications' own spans; durable when it returns, and then told to all that follows from them.
    ///
    /// # Errors
    /// The store's, when nothing was stored.
    pub(crate) async fn append_told(&self, spans: Vec<SpanRow>) -> Result<(), StoreError> {
        self.export(&spans).await;
        self.append_own(&spans).await?;
        self.assembly.add_contexts(&spans, now());
        self.metrics.count(Counted::Spans(spans)).await;
        Ok(())
    }

    /// Spans of exchanges; durable when it returns.
    ///
    /// # Errors
    /// The store's, when nothing was stored.
    pub(crate) async fn append_stitched(&self, spans: &[SpanRow]) -> Result<(), StoreError> {
        self.export(spans).await;
        self.append(spans).await?;
        self.counters.stitched(spans.len() as u64);
        self.metrics.count(Counted::Spans(spans.to_vec())).await;
        Ok(())
    }

    /// Rows of flows that the collector itself received: as a probe's, with all that follows from them.
    ///
    /// # Errors
    /// As a sender would hear of it; nothing was stored.
    pub(crate) async fn take_own(&self, rows: &[FlowRow]) -> Result<(), IngestError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let meta = BatchMeta::of::<FlowRow>(&self.node, &self.boot_id, sequence);
        self.take(Part { meta, batch: FlowRow::to_batch(rows), ipc: None }).await
    }

    async fn append<R: Row>(&self, rows: &[R]) -> Result<(), StoreError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let meta = BatchMeta::of::<R>(&self.node, &self.boot_id, sequence);
        self.store.append(vec![(meta, R::to_batch(rows))]).await
    }

    pub(crate) fn verdicts(&self) -> &Verdicts {
        &self.verdicts
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

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn exporter(&self) -> Option<&Arc<Exporter>> {
        self.exporter.as_ref()
    }

    /// Queues spans for export. Before the store has them: what ends the process in between makes them come once more, and not
    /// go missing.
    async fn export(&self, spans: &[SpanRow]) {
        if let Some(exporter) = &self.exporter {
            exporter.offer(spans).await;
        }
    }

    pub(crate) fn lag(&self) -> Lag {
        self.store.lag()
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
        let (node, table) = (part.meta.node.clone(), part.meta.table.clone());
        let part = self.enricher.enrich(part, &self.counters).await;
        let part = self.verdicts.put_into(part, now());
        let malformed = |err| self.refuse(&node, RefusalReason::Malformed, &err);
        let Stitched { parts, exchanges, handshakes, spans } = with_spans(part).await.map_err(malformed)?;
        self.export(&spans).await;
        let counted = counted(parts.first());
        let stitched = parts.iter().skip(1).map(|spans| spans.batch.num_rows() as u64).sum();
        match self.store.append_parts(parts).await {
            Ok(duplicates) => {
                self.counters.stored(&table, rows, stitched, duplicates as u64);
                // What came before was taken before.
                if duplicates == 0 {
                    self.assembly.add(exchanges, &handshakes, now());
                    if let Some(rows) = counted {
                        self.metrics.count(rows).await;
                    }
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
    /// The same spans as in `parts`, as rows.
    spans: Vec<SpanRow>,
}

/// Rows of a batch that `/metrics` counts; the spans that follow from it are no requests.
fn counted(part: Option<&Part>) -> Option<Counted> {
    let Part { meta, batch, .. } = part?;
    if meta.table == FlowRow::table().name {
        return Some(Counted::Flows(batch.clone()));
    }
    (meta.table == ProbeHealthRow::table().name).then(|| Counted::Health(batch.clone()))
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
    let handshakes = if is_handshakes {
        spans.iter().filter(|span| is_client_s(span)).cloned().collect()
    } else {
        Vec::new()
    };
    Ok(Stitched { parts: vec![part, stitched], handshakes, spans, ..Stitched::default() })
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
