//! `POST /api/v1/capture`: packets on demand from the probes, streamed as pcapng while they are taken. When the client
//! leaves, the probes stop. Who takes the packets is behind [`PacketSource`]: this side doesn't know collectors.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use weir_model::capture::{CaptureRefusal, CaptureRequest, ConnectedProbe, FilterError};
use weir_query::{Position, QueryError};

use crate::Api;
use crate::error::ApiError;

/// Most bytes of a request.
const MOST_BYTES: usize = 64 << 10;
/// What such files are called; readers know pcapng from pcap by its first bytes.
const MEDIA_TYPE: &str = "application/vnd.tcpdump.pcap";

/// A file as it is made.
pub type PacketStream = BoxStream<'static, Bytes>;

/// Asks probes for packets.
pub trait PacketSource: Debug + Send + Sync + 'static {
    /// The probes that can be asked.
    fn probes(&self) -> Vec<ConnectedProbe>;

    /// Begins a capture; dropping the stream ends it. `client_ip`: who asks, for `audit_log`.
    fn capture(
        &self,
        request: CaptureRequest,
        client_ip: Option<String>,
    ) -> BoxFuture<'_, Result<PacketStream, CaptureRefusal>>;
}

/// No probes: a Weir without a collector.
#[derive(Debug)]
pub(crate) struct NoPackets;

impl PacketSource for NoPackets {
    fn probes(&self) -> Vec<ConnectedProbe> {
        Vec::new()
    }

    fn capture(
        &self,
        _: CaptureRequest,
        _: Option<String>,
    ) -> BoxFuture<'_, Result<PacketStream, CaptureRefusal>> {
        Box::pin(async { Err(CaptureRefusal::NoProbe("no probe is connected".to_owned())) })
    }
}

/// Begins a capture and streams its file.
pub(crate) async fn answer(State(api): State<Arc<Api>>, request: Request) -> Result<Response, ApiError> {
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let client_ip = client.map(|ConnectInfo(address)| address.ip().to_canonical().to_string());
    let asked = read(request).await?;
    let filter = asked.filter.clone();
    let packets = api.info.packets.capture(asked, client_ip).await.map_err(|why| refusal(why, &filter))?;
    let mut response = Response::new(Body::from_stream(packets.map(Ok::<_, std::convert::Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"weir.pcapng\""),
    );
    Ok(response)
}

async fn read(request: Request) -> Result<CaptureRequest, ApiError> {
    let wrong = |message: String| {
        let hint = r#"send JSON such as {"filter": "tcp port 443", "seconds": 30}"#;
        ApiError::bad_request("request.body", message, Some(hint.to_owned()))
    };
    // A page of another site can send a form or text without being asked; JSON it can't.
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(wrong("the body is not application/json".to_owned()));
    }
    let body = axum::body::to_bytes(request.into_body(), MOST_BYTES).await;
    let body = body.map_err(|err| wrong(format!("the body can't be read: {err}")))?;
    serde_json::from_slice(&body).map_err(|err| wrong(format!("the body is no capture: {err}")))
}

fn refusal(why: CaptureRefusal, filter: &str) -> ApiError {
    let message = why.to_string();
    let refused = |status, code, hint: &str| {
        ApiError::refused(
            status,
            code,
            message.clone(),
            Some(hint.to_owned()).filter(|hint| !hint.is_empty()),
        )
    };
    match why {
        CaptureRefusal::Filter(error) => ApiError {
            status: StatusCode::BAD_REQUEST,
            error: QueryError {
                code: "capture.filter",
                message,
                position: Some(position(&error, filter)),
                hint: error.hint,
            },
        },
        CaptureRefusal::Bounds(_) => refused(StatusCode::BAD_REQUEST, "capture.bounds", ""),
        CaptureRefusal::Payload => refused(
            StatusCode::FORBIDDEN,
            "capture.payload",
            "start it with `weir up --allow-payload-capture`, and probes on other nodes with that flag too",
        ),
        CaptureRefusal::NoProbe(_) => refused(
            StatusCode::NOT_FOUND,
            "capture.no_probe",
            "GET /api/v1/status lists the connected probes; `weir doctor` says why one doesn't run",
        ),
        CaptureRefusal::Busy(_) => {
            refused(StatusCode::TOO_MANY_REQUESTS, "capture.busy", "try again when one of them has ended")
        }
    }
}

/// Line and column, both from 1, of a place in the filter.
fn position(error: &FilterError, filter: &str) -> Position {
    let before = filter.get(..error.at).unwrap_or(filter);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Position { line: 1 + before.matches('\n').count() as u64, column: 1 + line.chars().count() as u64 }
}

#[cfg(test)]
mod tests {
    use weir_model::capture::Filter;

    use super::*;

    #[test]
    fn a_filter_s_error_points_at_its_word() {
        let text = "process größe and\n  port https";
        let error = Filter::parse(text).expect_err("no port");
        assert_eq!(position(&error, text), Position { line: 2, column: 8 });
        let refused = refusal(error.into(), text);
        assert_eq!((refused.status, refused.error.code), (StatusCode::BAD_REQUEST, "capture.filter"));
        assert!(refused.error.hint.is_some());
    }
}
