//! The client: rows go into a bounded queue and stay there until the collector says that they are durable.
//!
//! One stream a table (and run of the sender). Sequences count a table's batches from 1 without holes; after a broken connection everything
//! unacknowledged is sent again, in order, and the collector stores once what it gets twice. What the collector
//! refuses is counted as lost and does not hold up the rest. Dropping a [`Shipper`] stops it at once:
//! [`Shipper::flush`] first.

mod lane;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::{Channel, Endpoint};
use weir_model::{Row, Table};

use crate::encode::{Encoded, MAX_BATCH_ROWS};
use lane::Lane;

/// Below this many rows encoding takes less than handing it to another thread.
const INLINE_ROWS: usize = 64;

/// Whom to send to, and as whom.
#[derive(Clone, Debug)]
pub struct ShipperConfig {
    /// The collector, such as `http://127.0.0.1:8481`.
    pub endpoint: String,
    /// This node's name.
    pub node: String,
    /// A new one each time that the sender starts.
    pub boot_id: String,
    /// Most bytes (encoded) that wait for their acknowledgement.
    pub queue_bytes: usize,
}

/// Why rows were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The queue is full: the caller counts its rows as lost, or waits with [`Shipper::send`].
    #[error("the queue of {queue_bytes} bytes is full: the collector is away or slow")]
    Full {
        /// The queue's size.
        queue_bytes: usize,
    },
    /// Nothing will ever be sent.
    #[error("collector endpoint {endpoint:?} is not a URL (try http://127.0.0.1:8481)")]
    Endpoint {
        /// As configured.
        endpoint: String,
    },
    /// The rows can't be Arrow; a table's own rows always can.
    #[error("encode {table} rows")]
    Encode {
        /// Their table.
        table: &'static str,
        /// What Arrow said.
        #[source]
        source: arrow::error::ArrowError,
    },
}

/// Counts since the start; all tables together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShipStats {
    /// Batches taken into the queue.
    pub queued_batches: u64,
    /// Rows taken into the queue.
    pub queued_rows: u64,
    /// Batches put on the wire, each resend counted.
    pub sent_batches: u64,
    /// Rows put on the wire, each resend counted.
    pub sent_rows: u64,
    /// Batches that are durable.
    pub acked_batches: u64,
    /// Rows that are durable.
    pub acked_rows: u64,
    /// Batches that the collector refused.
    pub refused_batches: u64,
    /// Rows that the collector refused: lost.
    pub refused_rows: u64,
    /// Rows that [`Shipper::try_send`] found no room for: lost.
    pub dropped_rows: u64,
    /// Bytes in the queue now.
    pub queue_bytes: usize,
    /// Connections that broke or could not be made.
    pub reconnects: u64,
    /// Why the last one did, or why the last batch was refused.
    pub last_error: Option<String>,
}

/// What lanes and handles share.
#[derive(Debug)]
struct Shared {
    config: ShipperConfig,
    channel: Option<Channel>,
    room: Arc<Semaphore>,
    stats: Mutex<ShipStats>,
}

/// Sends rows until they are durable.
pub struct Shipper {
    shared: Arc<Shared>,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

impl Shipper {
    /// Starts; connects when there is something to send. Must be called within a tokio runtime.
    pub fn start(config: ShipperConfig) -> Shipper {
        let channel = Endpoint::from_shared(config.endpoint.clone()).ok().map(|endpoint| {
            endpoint
                .connect_timeout(Duration::from_secs(5))
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(10))
                .keep_alive_while_idle(true)
                .tcp_nodelay(true)
                .connect_lazy()
        });
        let room = Arc::new(Semaphore::new(permits(config.queue_bytes)));
        let shared = Shared { config, channel, room, stats: Mutex::default() };
        Shipper { shared: Arc::new(shared), lanes: Mutex::default() }
    }

    /// Queues rows, in batches of at most [`MAX_BATCH_ROWS`]; waits while the queue is full.
    ///
    /// # Errors
    /// [`ShipError::Endpoint`], [`ShipError::Encode`]: the rows are not queued.
    pub async fn send<R: Row>(&self, rows: &[R]) -> Result<(), ShipError> {
        let lane = self.lane::<R>()?;
        for chunk in rows.chunks(MAX_BATCH_ROWS) {
            let encoded = encode(chunk).await?;
            let room = self.shared.room.clone();
            if let Ok(permit) = room.acquire_many_owned(self.share(&encoded)).await {
                lane.push(encoded, permit);
            }
        }
        Ok(())
    }

    /// Queues all rows or none, at once; encodes on the calling thread.
    ///
    /// # Errors
    /// [`ShipError::Full`]: none was queued, and they are counted as dropped.
    pub fn try_send<R: Row>(&self, rows: &[R]) -> Result<(), ShipError> {
        let lane = self.lane::<R>()?;
        let batches: Vec<Encoded> = rows.chunks(MAX_BATCH_ROWS).map(encode_here).collect::<Result<_, _>>()?;
        let mut taken: Vec<OwnedSemaphorePermit> = Vec::with_capacity(batches.len());
        for batch in &batches {
            let Ok(permit) = self.shared.room.clone().try_acquire_many_owned(self.share(batch)) else {
                self.shared.stats.lock().dropped_rows += rows.len() as u64;
                return Err(ShipError::Full { queue_bytes: self.shared.config.queue_bytes });
            };
            taken.push(permit);
        }
        for (batch, permit) in batches.into_iter().zip(taken) {
            lane.push(batch, permit);
        }
        Ok(())
    }

    /// Queues a batch that has its metadata already, as a sender does that keeps batches on disk; waits while the queue
    /// is full. Sequences of a table and boot id must rise. `settled` is called once it is durable or refused.
    ///
    /// # Errors
    /// [`ShipError::Endpoint`]: it is not queued.
    pub async fn send_stamped(
        &self,
        table: &'static Table,
        boot_id: &str,
        sequence: u64,
        batch: Encoded,
        settled: impl FnOnce() + Send + 'static,
    ) -> Result<(), ShipError> {
        let lane = self.lane_of(table, boot_id)?;
        if let Ok(permit) = self.shared.room.clone().acquire_many_owned(self.share(&batch)).await {
            lane.push_stamped(sequence, batch, permit, Box::new(settled));
        }
        Ok(())
    }

    /// Waits until everything that was queued before is acknowledged (or refused).
    ///
    /// # Errors
    /// [`ShipError::Endpoint`] when it never can be.
    pub async fn flush(&self) -> Result<(), ShipError> {
        let lanes = self.lanes.lock().clone();
        for lane in lanes {
            lane.flushed().await;
        }
        Ok(())
    }

    /// Counts since the start.
    pub fn stats(&self) -> ShipStats {
        let mut stats = self.shared.stats.lock().clone();
        stats.queue_bytes =
            permits(self.shared.config.queue_bytes).saturating_sub(self.shared.room.available_permits());
        stats
    }

    fn lane<R: Row>(&self) -> Result<Arc<Lane>, ShipError> {
        self.lane_of(R::table(), &self.shared.config.boot_id)
    }

    fn lane_of(&self, table: &'static Table, boot_id: &str) -> Result<Arc<Lane>, ShipError> {
        let mut lanes = self.lanes.lock();
        if let Some(lane) = lanes.iter().find(|lane| lane.is_for(table, boot_id)) {
            return Ok(lane.clone());
        }
        let channel = self
            .shared
            .channel
            .clone()
            .ok_or_else(|| ShipError::Endpoint { endpoint: self.shared.config.endpoint.clone() })?;
        let lane = Lane::start(table, boot_id, self.shared.clone(), channel);
        lanes.push(lane.clone());
        Ok(lane)
    }

    /// How much of the queue a batch takes; one that is larger than the queue takes all of it.
    fn share(&self, batch: &Encoded) -> u32 {
        batch.bytes().clamp(1, permits(self.shared.config.queue_bytes)) as u32
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        for lane in self.lanes.lock().iter() {
            lane.stop();
        }
    }
}

/// A semaphore counts to `u32::MAX` at once and no further than its own maximum.
fn permits(queue_bytes: usize) -> usize {
    queue_bytes.clamp(1, (u32::MAX as usize).min(Semaphore::MAX_PERMITS))
}

async fn encode<R: Row>(rows: &[R]) -> Result<Encoded, ShipError> {
    if rows.len() <= INLINE_ROWS {
        return encode_here(rows);
    }
    let batch = R::to_batch(rows);
    let encoded = tokio::task::spawn_blocking(move || Encoded::of(&batch)).await;
    encoded
        .expect("encoding does not panic")
        .map_err(|source| ShipError::Encode { table: R::table().name, source })
}

fn encode_here<R: Row>(rows: &[R]) -> Result<Encoded, ShipError> {
    Encoded::of(&R::to_batch(rows)).map_err(|source| ShipError::Encode { table: R::table().name, source })
}
