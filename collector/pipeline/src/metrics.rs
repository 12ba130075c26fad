//! What `/metrics` says of requests and of what went between services; and of the collector itself.
//!
//! | file         | subject                                                                  |
//! |--------------|--------------------------------------------------------------------------|
//! | `series.rs`  | one series for each set of labels, up to a bound; durations with exemplars  |
//! | `totals.rs`  | spans, calls and flows → series                                           |
//! | `show.rs`    | series → families, by the names that OpenTelemetry's connectors use         |
//! | `own.rs`     | the collector's own counters                                              |
//!
//! A span counts for its service (rate, errors, duration) once it is durable, and a request between two services once all
//! spans that may tell of it had time to come ([`weir_stitch::graph`]). Counters begin at nothing when the process does,
//! as Prometheus expects. Whoever stores rows waits for room here: the queue is short.

mod own;
mod series;
mod show;
mod totals;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weir_model::{FlowRow, ProbeHealthRow, Row, SpanRow};
use weir_stitch::graph;

pub(crate) use series::{BOUNDS, Labels, Latency};
pub(crate) use show::Family;
pub use show::Metrics as Shown;
use totals::Totals;

use crate::stage;

/// Between two looks for requests that are whole by now.
const EVERY: Duration = Duration::from_millis(500);
/// Batches that wait to be counted: of spans they take memory that nobody else accounts for.
const WAITING: usize = 2;

/// How much is counted apart.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sets of labels that each family has at most; what is beyond is counted together, as OpenTelemetry has it, under
    /// `otel_metric_overflow="true"`.
    pub series: usize,
    /// Requests and connections that wait for what others tell of them.
    pub graph: graph::Limits,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { series: 2_000, graph: graph::Limits::default() }
    }
}

/// Rows that are durable, to be counted.
#[derive(Debug)]
pub(crate) enum Counted {
    Spans(Vec<SpanRow>),
    Flows(RecordBatch),
    Health(RecordBatch),
}

/// Where rows are counted, and asked for.
#[derive(Debug)]
pub(crate) struct Metrics {
    totals: Mutex<Totals>,
    queue: mpsc::Sender<Counted>,
    /// Taken by whoever counts.
    waiting: Mutex<Option<mpsc::Receiver<Counted>>>,
}

impl Metrics {
    pub(crate) fn new(limits: Limits) -> Metrics {
        let (queue, waiting) = mpsc::channel(WAITING);
        Metrics { totals: Mutex::new(Totals::new(limits)), queue, waiting: Mutex::new(Some(waiting)) }
    }

    /// Takes rows that are durable; waits while there is no room. After the stop nobody counts any more.
    pub(crate) async fn count(&self, rows: Counted) {
        let _ = self.queue.send(rows).await;
    }

    /// Rows that wait to be counted, in batches.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Reads what was counted.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Totals) -> T) -> T {
        read(&self.totals.lock())
    }

    fn add(&self, rows: Counted) {
        let now = stage::now();
        // Read before the lock is taken: a scrape waits for that.
        match rows {
            Counted::Spans(spans) => self.totals.lock().add_spans(&spans, now),
            Counted::Flows(batch) => {
                for piece in stage::in_pieces(&totals::columns_of_flows(&batch)) {
                    let flows = FlowRow::from_batch(&piece).unwrap_or_default();
                    self.totals.lock().add_flows(&flows, now);
                }
            }
            Counted::Health(batch) => {
                let rows = ProbeHealthRow::from_batch(&batch).unwrap_or_default();
                self.totals.lock().add_health(&rows);
            }
        }
        // What is more than may wait doesn't wait for the next look.
        self.totals.lock().settle(now);
    }
}

/// Counts what is stored, until `stop`; then all that still waits.
pub(crate) async fn run(metrics: Arc<Metrics>, stop: CancellationToken) {
    let Some(mut waiting) = metrics.waiting.lock().take() else { return };
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            rows = waiting.recv() => match rows {
                Some(rows) => metrics.add(rows),
                None => break,
            },
            _ = tick.tick() => metrics.totals.lock().settle(stage::now()),
            () = stop.cancelled() => break,
        }
    }
    waiting.close();
    while let Some(rows) = waiting.recv().await {
        metrics.add(rows);
    }
    metrics.totals.lock().settle(i64::MAX);
}
