//! OTLP over HTTP: `POST /v1/traces` and `/v1/logs` with protobuf or JSON, plain or gzip. Answers come in the request's format; failures
//! carry a `google.rpc.Status`, as the specification asks.
//!
//! Nothing is authenticated, so nothing that a browser sends is taken: a page of any site could reach this port.

mod answer;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::Response;
use axum::routing::{any, post};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use weir_otlp::Refused;
use weir_otlp::json;
use weir_otlp::proto::collector::logs::v1::ExportLogsServiceRequest;
use weir_otlp::proto::collector::trace::v1::ExportTraceServiceRequest;
use weir_otlp::proto::logs::v1::ResourceLogs;
use weir_otlp::proto::trace::v1::ResourceSpans;

use self::answer::{Format, Problem};
use super::{INLINE_BYTES, Intake, IntakeError, MAX_REQUEST_BYTES};
use crate::memory::NoRoom;

/// Requests that are read at the same time; more wait, unread.
const READ_AT_ONCE: usize = 64;
/// How long a request may take to come: a sender that stalls must not keep others from being read.
const READ_TIME: Duration = Duration::from_secs(10);

pub(super) async fn serve(
    listener: TcpListener,
    intake: Arc<Intake>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let receiver = Receiver { intake, reading: Semaphore::new(READ_AT_ONCE), stop: stop.clone() };
    let router = Router::new()
        .route("/v1/traces", post(traces).fallback(only_post))
        .route("/v1/metrics", any(async |request: Request| only_traces(&request, "METRICS")))
        .route("/v1/logs", post(logs).fallback(only_post))
        .fallback(nothing_here)
        .with_state(Arc::new(receiver));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

#[derive(Debug)]
struct Receiver {
    intake: Arc<Intake>,
    reading: Semaphore,
    stop: CancellationToken,
}

async fn traces(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let format = Format::of(request.headers());
    match receiver.receive(format, request).await {
        Ok(refused) => format.unwrap_or_default().stored(&refused),
        Err(problem) => format.unwrap_or_default().failed(problem),
    }
}

async fn logs(State(receiver): State<Arc<Receiver>>, request: Request) -> Response {
    let format = Format::of(request.headers());
    match receiver.receive_logs(format, request).await {
        Ok(others) => format.unwrap_or_default().stored_logs(others),
        Err(problem) => format.unwrap_or_default().failed(problem),
    }
}

async fn only_post(request: Request) -> Response {
    let problem = Problem::method("they are sent here with POST");
    Format::of(request.headers()).unwrap_or_default().failed(problem)
}

fn only_traces(request: &Request, signal: &'static str) -> Response {
    let problem = Problem::not_found(format!(
        "Weir takes traces (POST /v1/traces) and access logs (POST /v1/logs): set OTEL_{signal}_EXPORTER=none where they are sent from"
    ));
    Format::of(request.headers()).unwrap_or_default().failed(problem)
}

async fn nothing_here(request: Request) -> Response {
    let problem = Problem::not_found(format!(
        "nothing is at {}: this port takes OTLP traces (POST /v1/traces); the web page is on another",
        request.uri().path()
    ));
    Format::of(request.headers()).unwrap_or_default().failed(problem)
}

fn problem(err: &IntakeError) -> Problem {
    match err {
        IntakeError::TooLarge(_) => Problem::too_large(err.to_string()),
        IntakeError::Busy(_) => Problem::busy(err.to_string()),
        IntakeError::Unavailable(_) => Problem::unavailable(err.to_string()),
    }
}

impl Receiver {
    async fn receive(&self, format: Option<Format>, request: Request) -> Result<Refused, Problem> {
        let (spans, _room) = self.message(format, request, decode).await?;
        self.intake.take(spans).await.map_err(|err| problem(&err))
    }

    async fn receive_logs(&self, format: Option<Format>, request: Request) -> Result<u64, Problem> {
        let (logs, _room) = self.message(format, request, decode_logs).await?;
        self.intake.take_logs(logs).await.map_err(|err| problem(&err))
    }

    /// A request's message, unpacked and read by `decode`; with its room, held until what becomes of it has its own.
    async fn message<T: Send + 'static>(
        &self,
        format: Option<Format>,
        request: Request,
        decode: fn(Format, &[u8]) -> Result<T, Problem>,
    ) -> Result<(T, Option<OwnedSemaphorePermit>), Problem> {
        // Only browsers send it, and they always do where a page of another site posts.
        if let Some(origin) = text(request.headers(), &header::ORIGIN) {
            return Err(Problem::forbidden(format!("requests from a web page ({origin}) are refused")));
        }
        let format = format.ok_or_else(|| {
            Problem::unsupported("Content-Type must be application/x-protobuf or application/json".to_owned())
        })?;
        let is_gzip = is_gzip(request.headers())?;
        let mut room = None;
        let body = self.read(request.into_body(), &mut room).await;
        let message = match body {
            Ok(body) if body.len() <= INLINE_BYTES && !is_gzip => decode(format, &body),
            Ok(body) => tokio::task::spawn_blocking(move || {
                let unpacked = if is_gzip { unpack(&body)? } else { body };
                decode(format, &unpacked)
            })
            .await
            .unwrap_or_else(|err| Err(Problem::internal(err.to_string()))),
            Err(problem) => Err(problem),
        };
        let message = message.inspect_err(|problem| {
            if let Some(reason) = problem.refusal() {
                self.intake.refuse_request(reason, &problem.message);
            }
        });
        Ok((message?, room))
    }

    async fn read(&self, body: Body, room: &mut Option<OwnedSemaphorePermit>) -> Result<Vec<u8>, Problem> {
        let _reading = self.reading.acquire().await.expect("nobody closes it");
        tokio::select! {
            read = tokio::time::timeout(READ_TIME, self.read_all(body, room)) => {
                let slow = |_| Problem::timeout(format!("the request took more than {READ_TIME:?} to come"));
                read.map_err(slow)?
            }
            () = self.stop.cancelled() => Err(Problem::unavailable("Weir is stopping".to_owned())),
        }
    }

    /// The whole body, as it came, with room for what came.
    async fn read_all(
        &self,
        body: Body,
        room: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        let mut has_room = true;
        let mut came = 0;
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|err| Problem::malformed(format!("the request ended early: {err}")))?;
            came += chunk.len();
            if came > MAX_REQUEST_BYTES {
                return Err(larger_than_the_limit());
            }
            let most = self.intake.stage.budget().most();
            if came > most {
                let err = self.intake.no_room(NoRoom::TooLarge { bytes: came, most });
                return Err(Problem::too_large(err.to_string()));
            }
            has_room = has_room && self.intake.stage.budget().grow(room, chunk.len()).is_ok();
            if has_room {
                bytes.extend_from_slice(&chunk);
            } else {
                // Who is still sending would not see the answer: the rest is read, and not kept.
                (bytes, *room) = (Vec::new(), None);
            }
        }
        if !has_room {
            return Err(Problem::busy(self.intake.no_room(NoRoom::Busy).to_string()));
        }
        Ok(bytes)
    }
}

/// Gzip's content; no more than the limit is unpacked.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut limited = MultiGzDecoder::new(packed).take(MAX_REQUEST_BYTES as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(|err| Problem::malformed(format!("not gzip: {err}")))?;
    if bytes.len() > MAX_REQUEST_BYTES {
        return Err(larger_than_the_limit());
    }
    Ok(bytes)
}

fn decode(format: Format, body: &[u8]) -> Result<Vec<ResourceSpans>, Problem> {
    match format {
        Format::Protobuf => ExportTraceServiceRequest::decode(body)
            .map(|request| request.resource_spans)
            .map_err(|err| Problem::malformed(format!("not an ExportTraceServiceRequest: {err}"))),
        Format::Json => json::decode::traces(body).map_err(|err| Problem::malformed(err.to_string())),
    }
}

fn decode_logs(format: Format, body: &[u8]) -> Result<Vec<ResourceLogs>, Problem> {
    let request = match format {
        Format::Protobuf => ExportLogsServiceRequest::decode(body).map_err(|err| err.to_string()),
        Format::Json => serde_json::from_slice(body).map_err(|err| err.to_string()),
    };
    request
        .map(|request: ExportLogsServiceRequest| request.resource_logs)
        .map_err(|err| Problem::malformed(format!("not an ExportLogsServiceRequest: {err}")))
}

fn larger_than_the_limit() -> Problem {
    Problem::too_large(format!(
        "the request is larger than {MAX_REQUEST_BYTES} bytes, unpacked or as it came: send fewer spans at a time"
    ))
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    match text(headers, &header::CONTENT_ENCODING).unwrap_or_default().trim() {
        "" | "identity" => Ok(false),
        "gzip" => Ok(true),
        other => {
            Err(Problem::unsupported(format!("Content-Encoding {other:?} is unknown: send gzip, or none")))
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    // What isn't text is there all the same.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}
