//! The collector's side: which probes are connected, and the captures that they were asked for.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::messages::{Hello, Opening, Order, Report, decode, encode};
use super::{CAPTURE, CONTROL};

/// Probes that may be connected; a cluster has fewer nodes.
const MOST_PROBES: usize = 10_000;
/// Orders on their way to one probe.
const ORDERS_UNDER_WAY: usize = 16;
/// Reports on their way to who asked; then the network waits, and the kernel counts what finds no room.
const REPORTS_UNDER_WAY: usize = 4;
/// How long a stream may take to say what it is for.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

type Answers = BoxStream<'static, Result<FlightData, Status>>;

/// That node has no probe at the other end of a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no probe of node {0:?} is connected")]
pub struct NotConnected(pub String);

/// Probes by node, and captures by id. Clones are one switchboard.
#[derive(Clone, Debug, Default)]
pub struct Switchboard {
    state: Arc<Mutex<State>>,
    /// Ids that nobody guesses.
    random: RandomState,
}

#[derive(Debug, Default)]
struct State {
    serial: u64,
    probes: BTreeMap<String, Probe>,
    captures: HashMap<u64, Capture>,
}

#[derive(Debug)]
struct Probe {
    hello: Hello,
    serial: u64,
    orders: mpsc::Sender<Order>,
}

/// One that was asked for, until its stream is there.
#[derive(Debug)]
struct Capture {
    reports: mpsc::Sender<Report>,
    over: CancellationToken,
}

/// What one probe reports of one capture; dropping it ends the capture.
#[derive(Debug)]
pub struct Reports {
    id: u64,
    switchboard: Switchboard,
    taken: mpsc::Receiver<Report>,
    _over: DropGuard,
}

impl Reports {
    /// The next report; `None` after the last, or when the probe has left without one.
    pub async fn next(&mut self) -> Option<Report> {
        self.taken.recv().await
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.switchboard.state.lock().captures.remove(&self.id);
    }
}

impl Switchboard {
    /// Who is connected, by node.
    pub fn probes(&self) -> Vec<Hello> {
        self.state.lock().probes.values().map(|probe| probe.hello.clone()).collect()
    }

    /// Asks a node's probe for a capture; the order's id is given here.
    ///
    /// # Errors
    /// [`NotConnected`] when there is none, or it takes no orders.
    pub fn capture(&self, node: &str, order: Order) -> Result<Reports, NotConnected> {
        let mut state = self.state.lock();
        state.serial += 1;
        let id = self.random.hash_one(state.serial);
        let not_connected = || NotConnected(node.to_owned());
        let probe = state.probes.get(node).ok_or_else(not_connected)?;
        probe.orders.try_send(Order { id, ..order }).map_err(|_| not_connected())?;
        let (send, taken) = mpsc::channel(REPORTS_UNDER_WAY);
        let over = CancellationToken::new();
        state.captures.insert(id, Capture { reports: send, over: over.clone() });
        drop(state);
        Ok(Reports { id, switchboard: self.clone(), taken, _over: over.drop_guard() })
    }

    /// A stream that a probe opened.
    pub(crate) async fn exchange(
        &self,
        mut incoming: Streaming<FlightData>,
        stop: CancellationToken,
    ) -> Result<Answers, Status> {
        let first = tokio::time::timeout(FIRST_MESSAGE, incoming.message());
        let first =
            first.await.map_err(|_| Status::deadline_exceeded("a stream begins with a message"))??;
        let first = first.ok_or_else(|| Status::invalid_argument("an empty stream"))?;
        let path = first.flight_descriptor.as_ref().and_then(|descriptor| descriptor.path.first());
        match path.map(String::as_str) {
            Some(CONTROL) => {
                let hello = decode::<Hello>(&first).and_then(Hello::cleaned);
                let hello =
                    hello.ok_or_else(|| Status::invalid_argument("a probe says its node's name first"))?;
                self.line(hello, incoming, stop)
            }
            Some(CAPTURE) => {
                let opening = decode::<Opening>(&first);
                let capture = opening.and_then(|Opening { id }| self.state.lock().captures.remove(&id));
                let capture = capture.ok_or_else(|| Status::not_found("nobody waits for that capture"))?;
                Ok(reports(capture, incoming, stop))
            }
            _ => Err(Status::invalid_argument("DoExchange is for probes: control or capture")),
        }
    }

    /// A probe's line: its orders as they come.
    fn line(
        &self,
        hello: Hello,
        mut incoming: Streaming<FlightData>,
        stop: CancellationToken,
    ) -> Result<Answers, Status> {
        let (send, orders) = mpsc::channel(ORDERS_UNDER_WAY);
        let node = hello.node.clone();
        let mut state = self.state.lock();
        if state.probes.len() >= MOST_PROBES && !state.probes.contains_key(&node) {
            return Err(Status::resource_exhausted("as many probes are connected as there may be"));
        }
        state.serial += 1;
        let serial = state.serial;
        // A probe that comes back before its old line is known to be broken takes its place.
        state.probes.insert(node.clone(), Probe { hello, serial, orders: send });
        drop(state);
        info!(node, "a probe can be asked for captures");
        let switchboard = self.clone();
        tokio::spawn(async move {
            let silence = async { while let Ok(Some(FlightData { .. })) = incoming.message().await {} };
            tokio::select! {
                () = stop.cancelled() => {}
                () = silence => {}
            }
            // Dropping the sender of orders ends the answer's stream.
            let mut state = switchboard.state.lock();
            if state.probes.get(&node).is_some_and(|probe| probe.serial == serial) {
                state.probes.remove(&node);
                debug!(node, "a probe's line ended");
            }
        });
        Ok(ReceiverStream::new(orders).map(|order| Ok(encode(&order))).boxed())
    }
}

/// One capture's stream: reports go to who asked, until the last, or until nobody wants more.
fn reports(capture: Capture, mut incoming: Streaming<FlightData>, stop: CancellationToken) -> Answers {
    // Nothing is sent; the answer's stream ends with the task.
    let (open, nothing) = mpsc::channel::<Result<FlightData, Status>>(1);
    tokio::spawn(async move {
        let _open = open;
        let take = async {
            loop {
                let report = match incoming.message().await {
                    Ok(Some(data)) => match decode::<Report>(&data).map(Report::cleaned) {
                        Some(Ok(report)) => report,
                        Some(Err(why)) => Report::ended(format!("the probe sent {why}"), true),
                        None => Report::ended("the probe sent something that is no report", true),
                    },
                    Ok(None) => break,
                    Err(status) => Report::ended(format!("the probe left: {}", status.message()), true),
                };
                let is_last = !report.ended.is_empty();
                if capture.reports.send(report).await.is_err() || is_last {
                    break;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = capture.over.cancelled() => {}
            () = take => {}
        }
    });
    ReceiverStream::new(nothing).boxed()
}
