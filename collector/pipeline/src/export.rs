//! Spans and metrics on to another OpenTelemetry receiver, over OTLP/gRPC.
//!
//! | file         | subject                                                                   |
//! |--------------|---------------------------------------------------------------------------|
//! | `queue.rs`   | what waits, on disk: bounded, in order, gone when it was acknowledged        |
//! | `receiver.rs`| the connection: TLS, headers, and which answers mean "come again"           |
//! | `send.rs`    | the queue → the receiver, with patience                                    |
//! | `measure.rs` | what `/metrics` shows → OTLP metrics                                       |
//!
//! Spans are queued before the store acknowledges them, so that each is sent at least once, whatever ends the process; sent
//! twice where it ended between the answer and the note of it. What finds no room, and what the receiver refuses for good, is
//! counted as lost, by reason.
//!
//! The messages are OTLP's own, generated, and sent by the client that is generated with them. The crate `opentelemetry-otlp`
//! exports an SDK's spans of one resource, whose values can't be maps or bytes: other programs' spans would lose part of what
//! they say.

mod measure;
mod queue;
mod receiver;
mod send;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Notify;
use tracing::warn;
use weir_model::SpanRow;
use weir_otlp::proto::collector::trace::v1::ExportTraceServiceRequest;

pub use receiver::ReceiverConfig;
pub(crate) use send::run;

use queue::{Kind, Queue};
use receiver::Receiver;

/// Where to, and what.
#[derive(Clone, Debug)]
pub struct ExportConfig {
    /// The receiver.
    pub receiver: ReceiverConfig,
    /// Which spans.
    pub spans: ExportedSpans,
    /// How often metrics are sent; never, where it is zero.
    pub metrics_every: Duration,
    /// Where what waits is kept.
    pub dir: PathBuf,
    /// How much may wait, bytes.
    pub queue_bytes: u64,
}

/// Which spans are sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportedSpans {
    /// Those that Weir made, and those that it received.
    #[default]
    All,
    /// Only those that Weir made: applications send theirs to the same receiver themselves.
    Stitched,
}

/// Why nothing can be exported; all of it is found before anything is started.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The receiver's address.
    #[error("--export-otlp {url}: {wrong} (it looks like http://collector:4317 or https://…)")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// A header.
    #[error("--export-otlp-header {header:?}: {wrong} (it looks like name=value)")]
    Header {
        /// What was given; without its value, which may be a secret.
        header: String,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A file with a certificate or key.
    #[error("{flag} {}: {wrong}", path.display())]
    File {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        wrong: String,
    },
    /// A flag that says nothing without another.
    #[error("{0}")]
    Flags(&'static str),
    /// The folder for what waits.
    #[error("keep what is to be exported in {}", path.display())]
    Queue {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Bytes of a request up to which receivers take it: gRPC's usual limit is 4 MiB.
const MOST_REQUEST_BYTES: usize = 3 << 20;
/// Spans of a request.
const MOST_SPANS: usize = 2_048;

/// Takes what is to be exported.
#[derive(Debug)]
pub(crate) struct Exporter {
    receiver: Receiver,
    spans: ExportedSpans,
    metrics_every: Duration,
    queue: Mutex<Queue>,
    grown: Notify,
    counts: Counts,
}

/// What became of it.
#[derive(Debug, Default)]
struct Counts {
    sent: [AtomicU64; 2],
    retries: AtomicU64,
    lost: Mutex<BTreeMap<(Kind, &'static str), u64>>,
    /// Spans lost since they were last asked for.
    unreported: Mutex<BTreeMap<&'static str, u64>>,
}

impl Exporter {
    /// Checks everything, and opens the queue with what an earlier run left.
    ///
    /// # Errors
    /// [`ExportError`], before anything is started.
    pub(crate) fn open(config: &ExportConfig) -> Result<Exporter, ExportError> {
        let receiver = Receiver::new(&config.receiver)?;
        let failed = |source| ExportError::Queue { path: config.dir.clone(), source };
        let (queue, damaged) = Queue::open(&config.dir, config.queue_bytes).map_err(failed)?;
        let exporter = Exporter {
            receiver,
            spans: config.spans,
            metrics_every: config.metrics_every,
            queue: Mutex::new(queue),
            grown: Notify::new(),
            counts: Counts::default(),
        };
        if damaged > 0 {
            warn!(damaged, dir = %config.dir.display(), "records of the export queue can't be read: they are lost");
            exporter.lose(Kind::Spans, "damaged", damaged);
        }
        Ok(exporter)
    }

    /// Takes spans; they are on disk when it returns, or counted as lost.
    pub(crate) async fn offer(self: &Arc<Self>, spans: &[SpanRow]) {
        let wanted: Vec<SpanRow> = match self.spans {
            ExportedSpans::All => spans.to_vec(),
            ExportedSpans::Stitched => {
                spans.iter().filter(|span| span.source.as_deref() == Some("stitched")).cloned().collect()
            }
        };
        if wanted.is_empty() {
            return;
        }
        let this = self.clone();
        let queued = tokio::task::spawn_blocking(move || {
            for some in wanted.chunks(MOST_SPANS) {
                this.push_spans(some);
            }
        });
        queued.await.expect("spans are encoded without a panic");
        self.grown.notify_one();
    }

    /// In requests that a receiver takes: halved until they are small enough.
    fn push_spans(&self, spans: &[SpanRow]) {
        let request = ExportTraceServiceRequest { resource_spans: weir_otlp::resource_spans(spans) };
        if request.encoded_len() > MOST_REQUEST_BYTES && spans.len() > 1 {
            let (first, second) = spans.split_at(spans.len() / 2);
            self.push_spans(first);
            self.push_spans(second);
            return;
        }
        self.push(Kind::Spans, spans.len() as u64, &request.encode_to_vec());
    }

    fn push(&self, kind: Kind, items: u64, payload: &[u8]) {
        let pushed = self.queue.lock().push(kind, items, payload);
        match pushed {
            Ok(given_up) => {
                for (kind, items) in given_up {
                    self.lose(kind, "queue_full", items);
                }
            }
            Err(err) => {
                warn!(%err, items, "the export queue can't be written: what was to be exported is lost");
                self.lose(kind, "queue_failed", items);
            }
        }
    }

    fn lose(&self, kind: Kind, reason: &'static str, items: u64) {
        if items == 0 {
            return;
        }
        *self.counts.lost.lock().entry((kind, reason)).or_default() += items;
        if kind == Kind::Spans {
            *self.counts.unreported.lock().entry(reason).or_default() += items;
        }
    }

    /// Spans that were lost since the last time, by reason.
    pub(crate) fn take_lost(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.counts.unreported.lock())
    }

    /// Spans and points of metrics that the receiver has.
    pub(crate) fn sent(&self) -> [(&'static str, u64); 2] {
        [Kind::Spans, Kind::Points]
            .map(|kind| (kind.word(), self.counts.sent[kind as usize].load(Ordering::Relaxed)))
    }

    /// What was lost, by what it was and why.
    pub(crate) fn lost(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.counts.lost.lock().iter().map(|((kind, reason), items)| (kind.word(), *reason, *items)).collect()
    }

    /// Requests that were sent again.
    pub(crate) fn retries(&self) -> u64 {
        self.counts.retries.load(Ordering::Relaxed)
    }

    /// Bytes that wait.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queue.lock().bytes()
    }
}
