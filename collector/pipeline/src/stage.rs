//! A batch, with the names of its ends → the spans that follow from it → the store, both in one durable step.
//!
//! The spans get metadata derived from the batch's own, so a batch that is sent again makes spans that the store
//! already has. Spans of exchanges follow from many batches: those are told on, once they are durable (`traces.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;
use weir_model::batch::ModelError;
use weir_model::{BatchMeta, ExchangeRow, FlowRow, ProbeHealthRow, Row, SmolStr, SpanRow, TlsHandshakeRow};
use weir_store::{Lag, Part, Store, StoreError};
use weir_wire::{IngestError, Refusal, RefusalReason, Sink};

use crate::counters::{Counters, Counts};
use crate::enrich::Enricher;
use crate::export::Exporter;
use crate::memory::{Budget, FOLLOWS, RETRY};
use crate::metrics::{Counted, Metrics};
use crate::pair::Pairing;
use crate::traces::Assembly;
use crate::verdicts::Verdicts;

/// Rows up to which stitching takes less than handing it to another thread.
const INLINE_ROWS: usize = 64;

/// Rows that are read out of a batch at a time: as structs they take several times what they take as columns.
const PIECE_ROWS: usize = 1_024;

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
    assembly: Arc<Assembly>,
    budget: Budget,
    metrics: Arc<Metrics>,
    exporter: Option<Arc<Exporter>>,
    verdicts: Verdicts,
}

/// What the stage hands rows to.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) enricher: Arc<Enricher>,
    pub(crate) pairing: Option<Arc<Pairing>>,
    pub(crate) assembly: Assembly,
    pub(crate) metrics: Metrics,
    pub(crate) exporter: Option<Exporter>,
}

/// Now, UTC nanoseconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

impl Stage {
    /// `intake_bytes`: of batches and requests that are under way.
    pub(crate) fn new(store: Store, node: &str, parts: Parts, intake_bytes: usize) -> Stage {
        let Parts { enricher, pairing, assembly, metrics, exporter } = parts;
        Stage {
            store,
            enricher,
            pairing,
            assembly: Arc::new(assembly),
            metrics: Arc::new(metrics),
            exporter: exporter.map(Arc::new),
            verdicts: Verdicts::default(),
            node: node.to_owned(),
            boot_id: weir_kit::host::boot_id(),
            sequence: AtomicU64::new(0),
            counters: Counters::default(),
            budget: Budget::new(intake_bytes),
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

    /// How often what was told of connections was forgotten before its time.
    pub(crate) fn pairing_hurried(&self) -> u64 {
        self.pairing.as_ref().map_or(0, |pairing| pairing.hurried())
    }

    /// What to add to nodes' times so that all are by one clock, ns.
    pub(crate) fn clock_corrections(&self) -> BTreeMap<SmolStr, i64> {
        self.pairing.as_ref().map(|pairing| pairing.clock_corrections()).unwrap_or_default()
    }

    pub(crate) fn assembly(&self) -> &Arc<Assembly> {
        &self.assembly
    }

    /// Room for what is under way, all ways in together.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
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

    /// The same, for the spans that follow from a batch.
    async fn export_parts(&self, parts: &[Part]) {
        if self.exporter.is_none() {
            return;
        }
        for part in parts.iter().skip(1) {
            self.export(&SpanRow::from_batch(&part.batch).unwrap_or_default()).await;
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

    async fn room(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, IngestError> {
        // One that is larger than all that there is has all of it for itself.
        let bytes = bytes.saturating_mul(FOLLOWS).min(self.budget.most());
        self.budget.room(bytes).await.map(Some).map_err(|err| {
            self.counters.put_off();
            IngestError::Busy { message: err.to_string(), retry: RETRY }
        })
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
        let Stitched { parts, handshakes } = with_spans(part).await.map_err(malformed)?;
        let exchanges = exchanges_of(&parts);
        if exchanges.is_some() {
            self.assembly.room().await;
        }
        self.export_parts(&parts).await;
        let counted = counted(parts.first());
        let stitched = parts.iter().skip(1).map(|spans| spans.batch.num_rows() as u64).sum();
        match self.store.append_parts(parts).await {
            Ok(duplicates) => {
                self.counters.stored(&table, rows, stitched, duplicates as u64);
                // What came before was taken before.
                if duplicates == 0 {
                    self.assembly.add_handshakes(&handshakes, now());
                    if let Some(batch) = exchanges {
                        self.assembly.add(batch, now()).await;
                    }
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
struct Stitched {
    /// The batch, and the spans that follow from it alone.
    parts: Vec<Part>,
    /// Spans of clients' handshakes: what follows from them follows from exchanges, too.
    handshakes: Vec<SpanRow>,
}

/// Rows of a batch that `/metrics` counts; the spans that follow from it are no requests.
fn counted(part: Option<&Part>) -> Option<Counted> {
    let Part { meta, batch, .. } = part?;
    if meta.table == FlowRow::table().name {
        return Some(Counted::Flows(batch.clone()));
    }
    (meta.table == ProbeHealthRow::table().name).then(|| Counted::Health(batch.clone()))
}

/// The batch, where it is one of exchanges.
fn exchanges_of(parts: &[Part]) -> Option<RecordBatch> {
    let part = parts.first().filter(|part| part.meta.table == ExchangeRow::table().name)?;
    Some(part.batch.clone())
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
    let is_handshakes = part.meta.table == TlsHandshakeRow::table().name;
    let mut handshakes = Vec::new();
    let spans = if is_handshakes {
        spans_of(&part.batch, |piece| {
            let spans = weir_stitch::spans_of_handshakes(&TlsHandshakeRow::from_batch(piece)?);
            handshakes.extend(spans.iter().filter(|span| is_clients(span)).cloned());
            Ok(spans)
        })?
    } else if part.meta.table == FlowRow::table().name {
        spans_of(&ended(&part.batch), |piece| Ok(weir_stitch::spans_of_flows(&FlowRow::from_batch(piece)?)))?
    } else {
        None
    };
    let Some(batch) = spans else { return Ok(Stitched { parts: vec![part], handshakes }) };
    let meta = BatchMeta {
        table: SpanRow::table().name.to_owned(),
        boot_id: format!("stitch-{}-{}", part.meta.table, part.meta.boot_id),
        ..part.meta.clone()
    };
    Ok(Stitched { parts: vec![part, Part { meta, batch, ipc: None }], handshakes })
}

/// What the server's end saw of a handshake is no part of what its client waited for.
fn is_clients(span: &SpanRow) -> bool {
    !span.attributes.iter().any(|(key, value)| key == "weir.observer" && value == "server")
}

/// The spans of a batch's rows, piece by piece; `None` where there are none.
fn spans_of(
    batch: &RecordBatch,
    mut stitch: impl FnMut(&RecordBatch) -> Result<Vec<SpanRow>, ModelError>,
) -> Result<Option<RecordBatch>, ModelError> {
    let mut pieces = Vec::new();
    for piece in in_pieces(batch) {
        let spans = stitch(&piece)?;
        if !spans.is_empty() {
            pieces.push(SpanRow::to_batch(&spans));
        }
    }
    Ok(match pieces.len() {
        0 | 1 => pieces.pop(),
        _ => Some(concat_batches(&SpanRow::table().schema(), &pieces).expect("of one table")),
    })
}

/// A batch's rows, a thousand or so at a time.
pub(crate) fn in_pieces(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(PIECE_ROWS).map(move |start| batch.slice(start, PIECE_ROWS.min(rows - start)))
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
