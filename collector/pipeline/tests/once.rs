//! (node, boot, table, sequence) names a batch once and for all: however often, in whatever order and over however many
//! broken streams batches come, each is stored once, with what follows from it; also after a restart.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::stream;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use tonic::transport::Endpoint;
use weir_collector::{Collector, CollectorConfig};
use weir_model::tables::{FLOWS, SPANS};
use weir_model::{BatchMeta, FlowRow, Row, SpanRow, Table};
use weir_store::{Store, StoreConfig};
use weir_wire::{Ack, Encoded, schema_message};

/// Who sends: a node by itself, the same after its restart, and another one whose boot id happens to be the same.
const SENDERS: [(&str, &str); 3] = [("node-a", "boot-1"), ("node-a", "boot-2"), ("node-b", "boot-1")];
/// Batches of each.
const BATCHES: u64 = 5;
const ROWS: u64 = 3;

/// One batch on the wire.
#[derive(Clone, Copy, Debug)]
struct Sent {
    sender: usize,
    sequence: u64,
}

/// A stream of some batches, in some order; it may break before its answers came.
#[derive(Clone, Debug)]
struct Stream {
    batches: Vec<Sent>,
    breaks: bool,
}

fn any_stream() -> impl Strategy<Value = Stream> {
    let batch = (0..SENDERS.len(), 1..=BATCHES).prop_map(|(sender, sequence)| Sent { sender, sequence });
    (prop::collection::vec(batch, 0..12), any::<bool>())
        .prop_map(|(batches, breaks)| Stream { batches, breaks })
}

/// A row's number is its batch's and its place there.
fn rows(Sent { sender, sequence }: Sent) -> Vec<FlowRow> {
    let row = |place: u64| {
        let number = (sender as u64 * 1_000 + sequence) * 10 + place;
        FlowRow {
            time: 1_795_000_000_000_000_000 + number as i64,
            end_time: Some(1_795_000_000_000_000_000 + number as i64 + 1_000),
            connection_id: Some(format!("{number:016x}").into()),
            state: Some("only".into()),
            protocol: Some("tcp".into()),
            observer: Some("client".into()),
            client_bytes: number as i64,
            ..FlowRow::default()
        }
    };
    (0..ROWS).map(row).collect()
}

fn messages(stream: &Stream) -> Vec<FlightData> {
    let opening = schema_message(&FLOWS.schema())
        .with_descriptor(FlightDescriptor::new_path(vec![FLOWS.name.to_owned()]));
    let batches = stream.batches.iter().flat_map(|sent| {
        let (node, boot_id) = SENDERS[sent.sender];
        let mut batch = Encoded::of(&FlowRow::to_batch(&rows(*sent))).unwrap();
        batch.stamp(&BatchMeta::of::<FlowRow>(node, boot_id, sent.sequence));
        batch.messages
    });
    std::iter::once(opening).chain(batches).collect()
}

/// Sends it; one that doesn't break is answered batch by batch, in its order.
async fn send(to: SocketAddr, stream: &Stream) {
    let channel = Endpoint::from_shared(format!("http://{to}")).unwrap().connect().await.unwrap();
    let mut client = FlightServiceClient::new(channel);
    let mut acks = client.do_put(stream::iter(messages(stream))).await.unwrap().into_inner();
    if stream.breaks {
        return;
    }
    for sent in &stream.batches {
        let ack = Ack::decode(&acks.message().await.unwrap().unwrap().app_metadata).unwrap();
        assert_eq!(ack, Ack { sequence: sent.sequence, refused: None });
    }
}

async fn start(folder: &Path) -> (Store, Collector) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = StoreConfig { dir: folder.to_owned(), seal_rows: 20, ..StoreConfig::default() };
    let store = Store::open(config).await.unwrap();
    let config = CollectorConfig {
        flight_listen: any,
        otlp_grpc_listen: any,
        otlp_http_listen: any,
        ..CollectorConfig::default()
    };
    (store.clone(), Collector::start(config, store).await.unwrap())
}

async fn stored<R: Row>(store: &Store, table: &'static Table) -> Vec<R> {
    let snapshot = store.snapshot(table);
    let mut batches = snapshot.memory.clone();
    for segment in snapshot.segments.iter() {
        let bytes = store.objects().get(&segment.path).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    batches.iter().flat_map(|batch| R::from_batch(batch).unwrap()).collect()
}

/// Every batch once, in streams of their own: as a probe does that has no answer for any of them.
fn again() -> Vec<Stream> {
    let of_sender = |sender| (1..=BATCHES).map(move |sequence| Sent { sender, sequence }).collect();
    (0..SENDERS.len()).map(|sender| Stream { batches: of_sender(sender), breaks: false }).collect()
}

async fn all_are_stored_once(before: Vec<Stream>, after: Vec<Stream>) {
    let folder = tempfile::tempdir().unwrap();
    let (store, collector) = start(folder.path()).await;
    let at_once = |streams: Vec<Stream>, to| async move {
        futures::future::join_all(streams.iter().map(|stream| send(to, stream))).await;
    };
    at_once(before, collector.flight_addr()).await;
    collector.stop().await;
    store.close().await.unwrap();
    let (store, collector) = start(folder.path()).await;
    at_once(after.into_iter().chain(again()).collect(), collector.flight_addr()).await;
    collector.stop().await;

    let mut numbers: Vec<i64> =
        stored::<FlowRow>(&store, &FLOWS).await.iter().map(|row| row.client_bytes).collect();
    numbers.sort_unstable();
    let all = again().into_iter().flat_map(|stream| stream.batches);
    let rows: Vec<FlowRow> = all.flat_map(rows).collect();
    assert_eq!(numbers, rows.iter().map(|row| row.client_bytes).collect::<Vec<_>>());
    let spans = stored::<SpanRow>(&store, &SPANS).await;
    assert_eq!(count(&spans), count(&weir_stitch::spans_of_flows(&rows)), "spans follow once, too");
    store.close().await.unwrap();
}

/// How often each span is there.
fn count(spans: &[SpanRow]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for span in spans {
        *counts.entry(span.span_id.as_deref().unwrap_or_default().to_owned()).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn duplicates_and_disorder_on_the_wire_change_nothing(
        before in prop::collection::vec(any_stream(), 0..5),
        after in prop::collection::vec(any_stream(), 0..5),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(all_are_stored_once(before, after));
    }
}
