//! The probe's side: keeps a line to the collector and answers its orders.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use arrow_flight::flight_service_client::FlightServiceClient;
use futures::stream::{self, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, info};

use super::messages::{
    CAPTURE, CONTROL, Hello, MOST_REPORT_BYTES, Opening, Order, Report, decode, encode, opening,
};

/// Captures at once; further orders are refused.
const MOST_CAPTURES: usize = 4;
/// Reports between the capture and the network.
const REPORTS_UNDER_WAY: usize = 4;
/// First pause after a broken line; doubles up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// Whom to be reachable for, and as whom.
#[derive(Clone, Debug)]
pub struct LineConfig {
    /// The collector, such as `http://127.0.0.1:8481`.
    pub endpoint: String,
    /// Who this is.
    pub hello: Hello,
}

/// Takes packets on somebody's order.
pub trait Captures: Send + Sync + 'static {
    /// Begins a capture; everything it has goes to `reports`, the last with [`Report::ended`] set. It ends at once when
    /// nobody takes reports any more.
    fn begin(&self, order: Order, reports: mpsc::Sender<Report>);
}

/// Keeps the line until `stop`; what is wrong with it is logged once, since the rows' way says the same louder.
pub async fn keep_line(config: LineConfig, captures: Arc<dyn Captures>, stop: CancellationToken) {
    let Ok(endpoint) = Endpoint::from_shared(config.endpoint.clone()) else { return };
    // Own connections: packets never stand in the rows' way.
    let endpoint = endpoint
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let keep = async {
        let mut pause = FIRST_PAUSE;
        loop {
            let channel = endpoint.connect_lazy();
            let (was_open, why) = line_once(&config.hello, &channel, &captures).await;
            if was_open {
                pause = FIRST_PAUSE;
            }
            debug!(%why, ?pause, "no line to the collector for captures");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep => {}
    }
}

/// One line from its opening to its end: whether it was open, and why it ended. Its captures end with it.
async fn line_once(hello: &Hello, channel: &Channel, captures: &Arc<dyn Captures>) -> (bool, String) {
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    // The request's stream stays open as long as the line, and no longer.
    let outgoing = stream::iter([opening(CONTROL, hello)])
        .chain(stream::pending())
        .take_until(over.clone().cancelled_owned());
    let mut orders = match client(channel).do_exchange(outgoing).await {
        Ok(response) => response.into_inner(),
        Err(status) => return (false, describe(&status)),
    };
    let room = Arc::new(Semaphore::new(MOST_CAPTURES));
    loop {
        let order = match orders.message().await {
            Ok(Some(data)) => decode::<Order>(&data),
            Ok(None) => return (true, "the collector ended it".to_owned()),
            Err(status) => return (true, describe(&status)),
        };
        let Some(order) = order else {
            return (true, "the collector sent something that is no order".to_owned());
        };
        let answer = answer(channel.clone(), captures.clone(), room.clone(), order);
        let over = over.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = answer => {}
            }
        });
    }
}

/// One order's stream: reports until the capture ends, or the collector doesn't want more.
async fn answer(channel: Channel, captures: Arc<dyn Captures>, room: Arc<Semaphore>, order: Order) {
    let id = order.id;
    let (send, reports) = mpsc::channel(REPORTS_UNDER_WAY);
    let permit = room.try_acquire_owned();
    if permit.is_ok() {
        info!(
            filter = order.filter,
            payload = order.payload,
            seconds = order.seconds,
            "capturing packets on request"
        );
        captures.begin(order, send);
    } else {
        let why = format!("{MOST_CAPTURES} captures are under way on this node already");
        // There is room for the first.
        let _ = send.try_send(Report::ended(why, true));
        drop(send);
    }
    let over = CancellationToken::new();
    let outgoing = stream::iter([opening(CAPTURE, &Opening { id })])
        .chain(ReceiverStream::new(reports).map(|report| encode(&report)))
        .take_until(over.clone().cancelled_owned());
    // However this ends, so does what is sent, and with it the capture.
    let _over = over.drop_guard();
    // The collector has nothing to say here; it ends the stream to end the capture.
    if let Ok(response) = client(&channel).do_exchange(outgoing).await {
        let mut nothing = response.into_inner();
        while let Ok(Some(FlightData { .. })) = nothing.message().await {}
    }
}

fn client(channel: &Channel) -> FlightServiceClient<Channel> {
    FlightServiceClient::new(channel.clone()).max_decoding_message_size(MOST_REPORT_BYTES)
}

fn describe(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
