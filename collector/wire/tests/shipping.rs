//! What a sender is promised: acknowledged means stored, unacknowledged means sent again, refused means counted.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use weir_model::{BatchMeta, FlowRow, Row, SpanRow};
use weir_wire::{
    IngestError, Limits, Refusal, RefusalReason, ShipError, ShipStats, Shipper, ShipperConfig, Sink,
    flight_service_until,
};

/// Keeps what it gets; refuses or puts off what it is told to.
#[derive(Debug, Default)]
struct Keeper {
    kept: Mutex<Vec<(BatchMeta, RecordBatch)>>,
    /// So many batches are put off before one is taken.
    busy_for: AtomicU64,
    refuse_sequence: AtomicU64,
    /// So many batches find no room before one does.
    no_room_for: AtomicU64,
}

impl Sink for Keeper {
    async fn ingest(&self, meta: BatchMeta, batch: RecordBatch) -> Result<(), IngestError> {
        if meta.sequence == self.refuse_sequence.load(Ordering::SeqCst) {
            return Err(Refusal::new(RefusalReason::BadColumn, "told to").into());
        }
        if self.busy_for.load(Ordering::SeqCst) > 0 {
            self.busy_for.fetch_sub(1, Ordering::SeqCst);
            return Err(IngestError::Unavailable("disk is full".to_owned()));
        }
        self.kept.lock().push((meta, batch));
        Ok(())
    }

    async fn room(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, IngestError> {
        if bytes > 0 && self.no_room_for.load(Ordering::SeqCst) > 0 {
            self.no_room_for.fetch_sub(1, Ordering::SeqCst);
            let retry = Duration::from_millis(1);
            return Err(IngestError::Busy { message: "no memory left".to_owned(), retry });
        }
        Ok(None)
    }
}

impl Keeper {
    fn sequences(&self, table: &str) -> Vec<u64> {
        self.of(table).into_iter().map(|(meta, _)| meta.sequence).collect()
    }

    /// `client_bytes` (the row's id in these tests), batch by batch.
    fn ids(&self) -> Vec<i64> {
        self.flows().into_iter().map(|row| row.client_bytes).collect()
    }

    fn flows(&self) -> Vec<FlowRow> {
        self.of("flows").iter().flat_map(|(_, batch)| FlowRow::from_batch(batch).unwrap()).collect()
    }

    /// By sequence: several batches of a stream are taken at the same time, only their answers are in order.
    fn of(&self, table: &str) -> Vec<(BatchMeta, RecordBatch)> {
        let mut kept = self.kept.lock().clone();
        kept.retain(|(meta, _)| meta.table == table);
        kept.sort_by_key(|(meta, _)| meta.sequence);
        kept
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(keeper: &Arc<Keeper>, address: &str, limits: Limits) -> Server {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let service = flight_service_until(keeper.clone(), limits, stop.clone());
        let until = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), until).await.unwrap();
        });
        Server { address, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn shipper(address: SocketAddr, queue_bytes: usize) -> Shipper {
    Shipper::start(ShipperConfig {
        endpoint: format!("http://{address}"),
        node: "node".into(),
        boot_id: "boot".into(),
        queue_bytes,
    })
}

fn flows(ids: std::ops::Range<i64>) -> Vec<FlowRow> {
    ids.map(|id| FlowRow {
        time: id,
        client_bytes: id,
        client_ip: Some(format!("10.0.{}.{}", id / 256 % 256, id % 256).into()),
        ..FlowRow::default()
    })
    .collect()
}

async fn until(shipper: &Shipper, is_so: impl Fn(&ShipStats) -> bool) -> ShipStats {
    loop {
        let stats = shipper.stats();
        if is_so(&stats) {
            return stats;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn rows_arrive_once_in_batches_that_are_numbered_by_table() {
    let keeper = Arc::new(Keeper::default());
    let server = Server::start(&keeper, "127.0.0.1:0", Limits::default()).await;
    let shipper = shipper(server.address, 64 << 20);
    shipper.send(&flows(0..20_000)).await.unwrap();
    shipper.send(&[SpanRow { time: 1, ..SpanRow::default() }]).await.unwrap();
    shipper.send(&flows(20_000..20_010)).await.unwrap();
    shipper.flush().await.unwrap();
    assert_eq!(keeper.ids(), (0..20_010).collect::<Vec<_>>());
    assert_eq!(keeper.sequences("flows"), [1, 2, 3, 4]);
    assert_eq!(keeper.sequences("spans"), [1]);
    let stats = shipper.stats();
    assert_eq!((stats.acked_batches, stats.acked_rows, stats.queue_bytes), (5, 20_011, 0));
    server.stop().await;
}

/// Dictionaries differ from batch to batch; none may be read with another's.
#[tokio::test]
async fn every_batch_carries_its_own_dictionaries() {
    let keeper = Arc::new(Keeper::default());
    let server = Server::start(&keeper, "127.0.0.1:0", Limits::default()).await;
    let shipper = shipper(server.address, 64 << 20);
    let all: Vec<FlowRow> = flows(0..300);
    for rows in all.chunks(7) {
        shipper.send(rows).await.unwrap();
    }
    shipper.flush().await.unwrap();
    assert!(keeper.flows() == all, "rows changed on their way");
    server.stop().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_when_the_collector_is_back() {
    let keeper = Arc::new(Keeper::default());
    let server = Server::start(&keeper, "127.0.0.1:0", Limits::default()).await;
    let address = server.address;
    let shipper = shipper(address, 64 << 20);
    shipper.send(&flows(0..10)).await.unwrap();
    shipper.flush().await.unwrap();
    server.stop().await;
    shipper.send(&flows(10..20)).await.unwrap();
    until(&shipper, |stats| stats.reconnects >= 2).await;
    shipper.send(&flows(20..30)).await.unwrap();
    let server = Server::start(&keeper, &address.to_string(), Limits::default()).await;
    shipper.flush().await.unwrap();
    assert_eq!(keeper.ids(), (0..30).collect::<Vec<_>>());
    assert_eq!(keeper.sequences("flows"), [1, 2, 3]);
    server.stop().await;
}

#[tokio::test]
async fn a_collector_that_can_t_store_now_gets_the_batch_again() {
    let keeper = Arc::new(Keeper::default());
    keeper.busy_for.store(3, Ordering::SeqCst);
    let server = Server::start(&keeper, "127.0.0.1:0", Limits::default()).await;
    let shipper = shipper(server.address, 64 << 20);
    shipper.send(&flows(0..5)).await.unwrap();
    shipper.flush().await.unwrap();
    assert_eq!(keeper.ids(), [0, 1, 2, 3, 4]);
    let stats = shipper.stats();
    assert!(stats.reconnects >= 3 && stats.last_error.is_some_and(|err| err.contains("disk is full")));
    server.stop().await;
}

/// Nothing of it was unpacked, and it is no loss: the sender has it, and is told when to come again.
#[tokio::test]
async fn a_collector_without_room_gets_the_batch_again() {
    let keeper = Arc::new(Keeper::default());
    keeper.no_room_for.store(20, Ordering::SeqCst);
    let server = Server::start(&keeper, "127.0.0.1:0", Limits::default()).await;
    let shipper = shipper(server.address, 64 << 20);
    for start in [0, 10, 20] {
        shipper.send(&flows(start..start + 10)).await.unwrap();
    }
    shipper.flush().await.unwrap();
    assert_eq!(keeper.ids(), (0..30).collect::<Vec<_>>());
    let stats = shipper.stats();
    assert!(stats.reconnects >= 20, "{stats:?}");
    assert!(stats.last_error.is_some_and(|err| err.contains("no memory left")));
    assert_eq!((stats.refused_rows, stats.acked_rows), (0, 30));
    server.stop().await;
}

#[tokio::test]
async fn a_refused_batch_is_counted_as_lost_and_the_others_go_on() {
    let keeper = Arc::new(Keeper::default());
    keeper.refuse_sequence.store(2, Ordering::SeqCst);
    let server = Server::start(&keeper, "127.0.0.1:0", Limits::default()).await;
    let shipper = shipper(server.address, 64 << 20);
    for start in [0, 10, 20] {
        shipper.send(&flows(start..start + 10)).await.unwrap();
    }
    shipper.flush().await.unwrap();
    assert_eq!(keeper.sequences("flows"), [1, 3]);
    let stats = shipper.stats();
    assert_eq!((stats.refused_batches, stats.refused_rows, stats.acked_rows), (1, 10, 20));
    assert_eq!(stats.reconnects, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_beyond_the_limits_is_refused_and_the_stream_lives() {
    let keeper = Arc::new(Keeper::default());
    let limits = Limits { max_rows: 100, ..Limits::default() };
    let server = Server::start(&keeper, "127.0.0.1:0", limits).await;
    let shipper = shipper(server.address, 64 << 20);
    shipper.send(&flows(0..101)).await.unwrap();
    shipper.send(&flows(0..100)).await.unwrap();
    shipper.flush().await.unwrap();
    assert_eq!(keeper.sequences("flows"), [2]);
    let stats = shipper.stats();
    assert_eq!((stats.refused_rows, stats.acked_rows, stats.reconnects), (101, 100, 0));
    server.stop().await;
}

/// Memory has a ceiling while the collector is away, and what does not fit is the caller's to count.
#[tokio::test]
async fn a_full_queue_says_so_and_keeps_what_it_has() {
    let keeper = Arc::new(Keeper::default());
    let server = Server::start(&keeper, "127.0.0.1:0", Limits::default()).await;
    let address = server.address;
    server.stop().await;
    let shipper = shipper(address, 100_000);
    let mut taken = 0;
    loop {
        match shipper.try_send(&flows(taken..taken + 100)) {
            Ok(()) => taken += 100,
            Err(ShipError::Full { .. }) => break,
            Err(err) => panic!("{err}"),
        }
    }
    let stats = shipper.stats();
    assert!(stats.queue_bytes <= 100_000, "{stats:?}");
    assert_eq!((stats.dropped_rows, stats.queued_rows), (100, taken as u64));
    let server = Server::start(&keeper, &address.to_string(), Limits::default()).await;
    shipper.flush().await.unwrap();
    assert_eq!(keeper.ids(), (0..taken).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_said_at_once() {
    let shipper = Shipper::start(ShipperConfig {
        endpoint: "not a url".into(),
        node: "node".into(),
        boot_id: "boot".into(),
        queue_bytes: 1,
    });
    assert!(matches!(shipper.send(&flows(0..1)).await, Err(ShipError::Endpoint { .. })));
}
