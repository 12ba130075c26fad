//! What who captures is promised: a probe is found again after any break, a capture ends with its asker, and nothing that the
//! other side sends does harm.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::StreamExt;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server as Transport};
use weir_model::BatchMeta;
use weir_wire::control::{
    Captures, Hello, LineConfig, MOST_PACKETS_OF_REPORT, MOST_REPORT_BYTES, Order, Packet, Report, Reports,
    Switchboard, keep_line,
};
use weir_wire::{IngestError, Limits, Sink, flight_service_with};

const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing is sent to it here.
struct NoRows;

impl Sink for NoRows {
    async fn ingest(&self, _: BatchMeta, _: RecordBatch) -> Result<(), IngestError> {
        Err(IngestError::Unavailable("no rows here".to_owned()))
    }
}

struct Collector {
    address: SocketAddr,
    switchboard: Switchboard,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    async fn start(address: &str) -> Collector {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (switchboard, stop) = (Switchboard::default(), CancellationToken::new());
        let service =
            flight_service_with(Arc::new(NoRows), switchboard.clone(), Limits::default(), stop.clone());
        let until = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            let served = Transport::builder().add_service(service);
            served.serve_with_incoming_shutdown(TcpListenerStream::new(listener), until).await.unwrap();
        });
        Collector { address, switchboard, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Waits until a node's probe is there, and asks it.
    async fn ask(&self, node: &str, filter: &str) -> Reports {
        let began = Instant::now();
        loop {
            let order = Order { filter: filter.to_owned(), ..Order::default() };
            match self.switchboard.capture(node, order) {
                Ok(reports) => return reports,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn client(&self) -> FlightServiceClient<tonic::transport::Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        FlightServiceClient::new(endpoint.connect().await.unwrap())
    }
}

/// Reports its order's filter back, and then nothing until nobody listens; says so then.
struct Echo {
    ended: mpsc::Sender<String>,
}

impl Captures for Echo {
    fn begin(&self, order: Order, reports: mpsc::Sender<Report>) {
        let ended = self.ended.clone();
        tokio::spawn(async move {
            let packet = Packet { wire_len: 3, bytes: b"abc".as_slice().into(), ..Packet::default() };
            let holders = vec![order.filter.clone()];
            let _ = reports.send(Report { packets: vec![packet], holders, ..Report::default() }).await;
            reports.closed().await;
            let _ = ended.send(order.filter).await;
        });
    }
}

/// A probe on a line to `address`, and the captures that end there.
fn probe(address: SocketAddr, node: &str) -> (CancellationToken, mpsc::Receiver<String>) {
    let (ended, endings) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let hello = Hello { node: node.to_owned(), ..Hello::default() };
    let config = LineConfig { endpoint: format!("http://{address}"), hello };
    tokio::spawn(keep_line(config, Arc::new(Echo { ended }), stop.clone()));
    (stop, endings)
}

async fn next(reports: &mut Reports) -> Option<Report> {
    tokio::time::timeout(PATIENCE, reports.next()).await.unwrap()
}

#[tokio::test]
async fn a_probe_is_asked_and_a_capture_ends_with_its_asker() {
    let collector = Collector::start("127.0.0.1:0").await;
    let (_stop, mut endings) = probe(collector.address, "a");
    let mut first = collector.ask("a", "first").await;
    let mut second = collector.ask("a", "second").await;
    let report = next(&mut first).await.unwrap();
    assert_eq!((report.holders[0].as_str(), &report.packets[0].bytes[..]), ("first", b"abc".as_slice()));
    assert_eq!(next(&mut second).await.unwrap().holders, ["second"]);
    drop(first);
    assert_eq!(tokio::time::timeout(PATIENCE, endings.recv()).await.unwrap().as_deref(), Some("first"));
    assert!(endings.try_recv().is_err(), "the other one goes on");
    assert!(collector.switchboard.capture("b", Order::default()).is_err(), "nobody is there by that name");
}

#[tokio::test]
async fn a_probe_finds_its_collector_again_and_captures_end_with_the_line() {
    let collector = Collector::start("127.0.0.1:0").await;
    let address = collector.address;
    let (_stop, mut endings) = probe(address, "a");
    let mut before = collector.ask("a", "before").await;
    next(&mut before).await.unwrap();
    collector.stop().await;
    assert_eq!(next(&mut before).await, None, "the asker is told");
    assert_eq!(tokio::time::timeout(PATIENCE, endings.recv()).await.unwrap().as_deref(), Some("before"));
    let again = Collector::start(&address.to_string()).await;
    assert_eq!(next(&mut again.ask("a", "after").await).await.unwrap().holders, ["after"]);
}

#[tokio::test]
async fn a_probe_that_left_is_not_there() {
    let collector = Collector::start("127.0.0.1:0").await;
    let (stop, _endings) = probe(collector.address, "a");
    let mut reports = collector.ask("a", "x").await;
    next(&mut reports).await.unwrap();
    stop.cancel();
    while let Some(report) = next(&mut reports).await {
        assert!(report.failed, "{report:?}");
    }
    let began = Instant::now();
    while !collector.switchboard.probes().is_empty() {
        assert!(began.elapsed() < PATIENCE, "it is forgotten");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_node_captures_for_four_at_once() {
    let collector = Collector::start("127.0.0.1:0").await;
    let (_stop, mut endings) = probe(collector.address, "a");
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut reports = collector.ask("a", "x").await;
        assert_eq!(next(&mut reports).await.unwrap().ended, "");
        open.push(reports);
    }
    let refused = next(&mut collector.ask("a", "x").await).await.unwrap();
    assert!(refused.failed && refused.ended.contains("4 captures"), "{refused:?}");
    open.pop();
    assert!(endings.recv().await.is_some());
    let began = Instant::now();
    while next(&mut collector.ask("a", "x").await).await.unwrap().failed {
        assert!(began.elapsed() < PATIENCE, "the place is free again");
    }
}

/// A stream as anybody can open it.
async fn raw(
    collector: &Collector,
    messages: Vec<FlightData>,
) -> Result<tonic::Streaming<FlightData>, tonic::Status> {
    let outgoing = futures::stream::iter(messages).chain(futures::stream::pending());
    collector.client().await.do_exchange(outgoing).await.map(tonic::Response::into_inner)
}

fn message(path: &str, body: Vec<u8>) -> FlightData {
    let descriptor = FlightDescriptor::new_path(vec![path.to_owned()]);
    FlightData::new().with_descriptor(descriptor).with_data_body(body)
}

#[tokio::test]
async fn what_is_no_probe_is_turned_away() {
    let collector = Collector::start("127.0.0.1:0").await;
    let garbage = vec![0xff; 100];
    for (path, body) in [
        ("control", Hello::default().encode_to_vec()),
        ("control", garbage.clone()),
        ("control", vec![0; MOST_REPORT_BYTES + 1]),
        ("capture", garbage.clone()),
        ("capture", Order { id: 7, ..Order::default() }.encode_to_vec()),
        ("elsewhere", garbage),
    ] {
        assert!(raw(&collector, vec![message(path, body)]).await.is_err(), "{path}");
    }
    assert!(collector.switchboard.probes().is_empty());
}

/// A probe that answers an order with whatever it likes.
#[tokio::test]
async fn lies_end_a_capture_and_nothing_else() {
    let collector = Collector::start("127.0.0.1:0").await;
    let hello = Hello { node: "liar".to_owned(), ..Hello::default() };
    let mut line = raw(&collector, vec![message("control", hello.encode_to_vec())]).await.unwrap();
    let packet = Packet { wire_len: 1, ..Packet::default() };
    let many = Report { packets: vec![packet.clone(); MOST_PACKETS_OF_REPORT + 1], ..Report::default() };
    let nobody_s = Report { packets: vec![packet], ..Report::default() };
    for lie in
        [many.encode_to_vec(), nobody_s.encode_to_vec(), vec![0xff; 50], vec![0; MOST_REPORT_BYTES + 1]]
    {
        let mut reports = collector.switchboard.capture("liar", Order::default()).unwrap();
        let order = Order::decode(line.message().await.unwrap().unwrap().data_body).unwrap();
        let opening = Order { id: order.id, ..Order::default() }.encode_to_vec();
        let _stream = raw(&collector, vec![message("capture", opening), message("", lie)]).await.unwrap();
        let last = next(&mut reports).await.unwrap();
        assert!(last.failed && last.ended.starts_with("the probe"), "{last:?}");
        assert_eq!(next(&mut reports).await, None);
    }
    assert_eq!(collector.switchboard.probes().len(), 1, "its line is still good");
}
