//! Requests over all services: rows of `exchanges` that are durable → kept until their trace is known → spans.
//!
//! What is kept is in memory only. After a restart the last minutes' rows are read back, so that what was under way has its
//! spans, too; those that are in the store already are not told again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weir_model::kinds::{Kind, Str, Text};
use weir_model::tables::{EXCHANGES, SPANS};
use weir_model::{ExchangeRow, Row, SmolStr, SpanRow};
use weir_stitch::traces::{Counts, Limits, Traces};
use weir_store::Store;

use crate::readback;
use crate::stage::{Stage, in_pieces};

/// Between two looks for traces that are known by now.
const EVERY: Duration = Duration::from_millis(500);

/// Spans that are stored at a time.
const AT_A_TIME: usize = 8_192;

/// Ids of spans that are read back at most, the newest first: half a minute's work.
const MOST_IDS: usize = 1_000_000;

/// Turns that were told of, and wait for their trace.
#[derive(Debug)]
pub(crate) struct Assembly {
    traces: Mutex<Traces>,
    /// Spans that an earlier run has stored, of turns that were read back.
    stored: Mutex<HashSet<SmolStr>>,
    /// Turns that may wait: a little more than are kept, since they are looked at only now and then.
    most: u64,
    /// There are too many: they are to be looked at now.
    full: Notify,
    /// They were looked at.
    settled: Notify,
    /// Nobody looks any more.
    is_over: AtomicBool,
}

impl Assembly {
    /// With what the store has of turns that an earlier run may not have finished.
    pub(crate) async fn open(limits: Limits, store: &Store, now_ns: i64) -> Assembly {
        let since = now_ns.saturating_sub(limits.cause_ns + limits.memory_ns);
        let is_recent = move |row: &ExchangeRow| row.end_time.unwrap_or(row.time) >= since;
        let most = limits.turns as u64 + limits.turns as u64 / 4;
        let mut rows = readback::rows(store, &EXCHANGES, &[], since, limits.turns * 4, move |batch| {
            let rows = ExchangeRow::from_batch(batch).unwrap_or_default();
            rows.into_iter().filter(is_recent).collect()
        })
        .await;
        rows.sort_by_key(|row| row.end_time.unwrap_or(row.time));
        let mut stored = HashSet::new();
        let mut traces = Traces::new(limits);
        if !rows.is_empty() {
            let earliest = rows.iter().map(|row| row.time).min().unwrap_or(since);
            let columns = &["span_id", "source"];
            let ids = readback::rows(store, &SPANS, columns, earliest, MOST_IDS, stitched_ids);
            stored = ids.await.into_iter().collect();
            info!(exchanges = rows.len(), "read back, for traces that were under way");
        }
        for row in rows {
            let came_ns = row.end_time.unwrap_or(row.time).min(now_ns);
            traces.add(row, came_ns);
        }
        Assembly {
            traces: Mutex::new(traces),
            stored: Mutex::new(stored),
            most,
            full: Notify::new(),
            settled: Notify::new(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Waits until more exchanges can be taken. Who sends them waits meanwhile, since they aren't durable yet.
    pub(crate) async fn room(&self) {
        loop {
            let settled = self.settled.notified();
            if self.counts().waiting < self.most || self.is_over.load(Ordering::Acquire) {
                return;
            }
            self.full.notify_one();
            settled.await;
        }
    }

    /// Takes exchanges that are durable.
    pub(crate) async fn add(self: &Arc<Self>, batch: RecordBatch, now_ns: i64) {
        let assembly = self.clone();
        let add = move || {
            for piece in in_pieces(&batch) {
                // Of another type they can't be: they were stored.
                let rows = ExchangeRow::from_batch(&piece).unwrap_or_default();
                let mut traces = assembly.traces.lock();
                for row in rows {
                    traces.add(row, now_ns);
                }
            }
        };
        tokio::task::spawn_blocking(add).await.expect("taking rows does not panic");
    }

    /// Takes spans of clients' handshakes, which are durable.
    pub(crate) fn add_handshakes(&self, spans: &[SpanRow], now_ns: i64) {
        if spans.is_empty() {
            return;
        }
        let mut traces = self.traces.lock();
        for span in spans {
            traces.add_handshake(span, now_ns);
        }
    }

    /// Takes applications' own spans.
    pub(crate) fn add_contexts(&self, spans: &[SpanRow], now_ns: i64) {
        let mut traces = self.traces.lock();
        for span in spans {
            traces.add_context(span, now_ns);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.traces.lock().counts()
    }

    pub(crate) fn follow_clocks(&self, corrections: BTreeMap<SmolStr, i64>) {
        self.traces.lock().follow_clocks(corrections);
    }

    fn settle(&self, now_ns: i64, is_last: bool) -> Vec<SpanRow> {
        let mut spans = {
            let mut traces = self.traces.lock();
            if is_last { traces.finish(now_ns) } else { traces.settle(now_ns) }
        };
        let mut stored = self.stored.lock();
        if !stored.is_empty() {
            spans.retain(|span| !span.span_id.as_ref().is_some_and(|id| stored.remove(id)));
        }
        spans
    }
}

/// Ids of the spans that we made.
fn stitched_ids(batch: &arrow::array::RecordBatch) -> Vec<SmolStr> {
    let column = |name| batch.column_by_name(name);
    let (Some(ids), Some(sources)) =
        (column("span_id").and_then(Str::values), column("source").and_then(Text::values))
    else {
        return Vec::new();
    };
    let is_ours = |source: &Option<SmolStr>| source.as_deref() == Some("stitched");
    ids.into_iter().zip(sources).filter_map(|(id, source)| id.filter(|_| is_ours(&source))).collect()
}

/// Stores the spans of traces as they become known, until `stop`; then of all that are left.
pub(crate) async fn run(stage: Arc<Stage>, stop: CancellationToken) {
    let mut spans: Vec<SpanRow> = Vec::new();
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
            () = stage.assembly().full.notified() => false,
        };
        stage.assembly().follow_clocks(stage.clock_corrections());
        spans.extend(stage.assembly().settle(stage.now(), is_last));
        while !spans.is_empty() {
            let some = spans.len().min(AT_A_TIME);
            match stage.append_stitched(&spans[..some]).await {
                Ok(()) => drop(spans.drain(..some)),
                Err(err) => {
                    warn!(%err, spans = spans.len(), "spans of exchanges could not be stored; tried again");
                    break;
                }
            }
        }
        stage.assembly().is_over.store(is_last, Ordering::Release);
        stage.assembly().settled.notify_waiters();
        if is_last {
            return;
        }
    }
}
