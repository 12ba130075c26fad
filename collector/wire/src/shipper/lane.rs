//! One table's queue, and the task that keeps its stream: send, read acknowledgements, start again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, PutResult};
use futures::stream::{self, Stream};
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::task::AbortHandle;
use tonic::transport::Channel;
use tracing::{debug, warn};
use weir_model::{BatchMeta, Table, schema::SCHEMA_VERSION};

use super::Shared;
use crate::ack::Ack;
use crate::busy::retry_after;
use crate::encode::{Encoded, opening};

/// First pause after a broken connection; doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A batch that is not acknowledged yet.
struct Pending {
    sequence: u64,
    batch: Encoded,
    /// Its room in the queue, given back with it.
    _room: OwnedSemaphorePermit,
    /// Whom to tell when it is settled.
    settled: Option<Settled>,
}

/// Called once a batch is durable, or refused: then resending it is of no use either.
pub(super) type Settled = Box<dyn FnOnce() + Send>;

/// The batches of one table by one run of a sender.
pub(super) struct Lane {
    table: &'static Table,
    boot_id: String,
    shared: Arc<Shared>,
    pending: Mutex<Queue>,
    /// Something new is in the queue.
    queued: Notify,
    /// The last sequence that is settled: durable or refused.
    settled: watch::Sender<u64>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Queue {
    last_sequence: u64,
    batches: VecDeque<Pending>,
}

impl Lane {
    pub(super) fn start(
        table: &'static Table,
        boot_id: &str,
        shared: Arc<Shared>,
        channel: Channel,
    ) -> Arc<Lane> {
        let lane = Arc::new(Lane {
            table,
            boot_id: boot_id.to_owned(),
            shared,
            pending: Mutex::default(),
            queued: Notify::new(),
            settled: watch::Sender::new(0),
            task: Mutex::default(),
        });
        let task = tokio::spawn(lane.clone().run(channel));
        *lane.task.lock() = Some(task.abort_handle());
        lane
    }

    pub(super) fn is_for(&self, table: &Table, boot_id: &str) -> bool {
        self.table.name == table.name && self.boot_id == boot_id
    }

    pub(super) fn stop(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }

    /// Gives the batch its sequence and queues it.
    pub(super) fn push(&self, mut batch: Encoded, room: OwnedSemaphorePermit) {
        self.count_queued(&batch);
        let mut queue = self.pending.lock();
        queue.last_sequence += 1;
        let sequence = queue.last_sequence;
        batch.stamp(&BatchMeta {
            schema_version: SCHEMA_VERSION,
            table: self.table.name.to_owned(),
            node: self.shared.config.node.clone(),
            boot_id: self.boot_id.clone(),
            sequence,
        });
        queue.batches.push_back(Pending { sequence, batch, _room: room, settled: None });
        drop(queue);
        self.queued.notify_one();
    }

    /// Queues a batch that has its metadata. Its sequence follows the one pushed before, or is the first.
    pub(super) fn push_stamped(
        &self,
        sequence: u64,
        batch: Encoded,
        room: OwnedSemaphorePermit,
        settled: Settled,
    ) {
        self.count_queued(&batch);
        let mut queue = self.pending.lock();
        queue.last_sequence = sequence;
        queue.batches.push_back(Pending { sequence, batch, _room: room, settled: Some(settled) });
        drop(queue);
        self.queued.notify_one();
    }

    fn count_queued(&self, batch: &Encoded) {
        let mut stats = self.shared.stats.lock();
        stats.queued_batches += 1;
        stats.queued_rows += batch.rows as u64;
    }

    /// Waits until everything queued so far is settled.
    pub(super) async fn flushed(&self) {
        let target = self.pending.lock().last_sequence;
        let mut settled = self.settled.subscribe();
        // The sender lives in self: this can only end by reaching the target.
        let _ = settled.wait_for(|sequence| *sequence >= target).await;
    }

    async fn run(self: Arc<Self>, channel: Channel) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.wait_for_work().await;
            let before = *self.settled.borrow();
            let Ended { why, asked } = self.stream_once(&channel).await;
            if *self.settled.borrow() > before {
                pause = FIRST_PAUSE;
            }
            let this = asked.unwrap_or(pause).min(LAST_PAUSE);
            self.note_broken(&why, this);
            tokio::time::sleep(this).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn note_broken(&self, ended: &str, pause: Duration) {
        let mut stats = self.shared.stats.lock();
        stats.reconnects += 1;
        if stats.last_error.as_deref() == Some(ended) {
            debug!(table = self.table.name, %ended, ?pause, "collector still away");
            return;
        }
        stats.last_error = Some(ended.to_owned());
        drop(stats);
        warn!(table = self.table.name, %ended, ?pause, "stream to the collector ended; resending from the last acknowledged batch");
    }

    async fn wait_for_work(&self) {
        loop {
            let queued = self.queued.notified();
            if !self.pending.lock().batches.is_empty() {
                return;
            }
            queued.await;
        }
    }

    /// One stream from its opening to its end; says why it ended.
    async fn stream_once(self: &Arc<Self>, channel: &Channel) -> Ended {
        let mut client = FlightServiceClient::new(channel.clone());
        let mut acks = match client.do_put(self.clone().outgoing()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ended::by(&status),
        };
        loop {
            match acks.message().await {
                Ok(Some(ack)) => {
                    if let Err(reason) = self.settle(&ack) {
                        return Ended { why: reason, asked: None };
                    }
                }
                Ok(None) => {
                    return Ended { why: "the collector ended the stream".to_owned(), asked: None };
                }
                Err(status) => return Ended::by(&status),
            }
        }
    }

    /// The opening message, then every batch from the oldest unacknowledged on, for as long as the stream lives.
    fn outgoing(self: Arc<Self>) -> impl Stream<Item = FlightData> + Send + 'static {
        let first = VecDeque::from([opening(self.table)]);
        stream::unfold((self, 0, first), |(lane, mut sent, mut messages)| async move {
            loop {
                if let Some(message) = messages.pop_front() {
                    return Some((message, (lane, sent, messages)));
                }
                let queued = lane.queued.notified();
                match lane.after(sent) {
                    Some((sequence, batch)) => {
                        sent = sequence;
                        messages.extend(batch);
                    }
                    None => queued.await,
                }
            }
        })
    }

    /// The first batch in the queue whose sequence is above `sent`. Sequences rise, but may skip what a spool dropped.
    fn after(&self, sent: u64) -> Option<(u64, Vec<FlightData>)> {
        let queue = self.pending.lock();
        let next = queue.batches.get(queue.batches.partition_point(|batch| batch.sequence <= sent))?;
        let mut stats = self.shared.stats.lock();
        stats.sent_batches += 1;
        stats.sent_rows += next.batch.rows as u64;
        Some((next.sequence, next.batch.messages.clone()))
    }

    fn settle(&self, result: &PutResult) -> Result<(), String> {
        let ack = Ack::decode(&result.app_metadata).map_err(|err| {
            format!("the collector answered with something that is no acknowledgement: {err}")
        })?;
        let mut queue = self.pending.lock();
        let Some(done) = queue.batches.pop_front_if(|oldest| oldest.sequence == ack.sequence) else {
            return Err(format!("the collector acknowledged batch {} out of order", ack.sequence));
        };
        drop(queue);
        let mut stats = self.shared.stats.lock();
        let rows = done.batch.rows as u64;
        if let Some(refusal) = ack.refused {
            stats.refused_batches += 1;
            stats.refused_rows += rows;
            stats.last_error = Some(format!("{} batch {} refused: {refusal}", self.table.name, ack.sequence));
            warn!(table = self.table.name, sequence = ack.sequence, rows, %refusal, "the collector refused a batch: its rows are lost");
        } else {
            stats.acked_batches += 1;
            stats.acked_rows += rows;
        }
        drop(stats);
        if let Some(tell) = done.settled {
            tell();
        }
        self.settled.send_replace(ack.sequence);
        Ok(())
    }
}

/// Why a stream ended, and when its collector asked us to come again.
struct Ended {
    why: String,
    asked: Option<Duration>,
}

impl Ended {
    fn by(status: &tonic::Status) -> Ended {
        let why = format!("{:?}: {}", status.code(), status.message());
        Ended { why, asked: retry_after(status) }
    }
}
