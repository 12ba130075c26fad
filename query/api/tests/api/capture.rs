//! Captures as clients ask for them; what gives the packets is a stand-in, the real one is tested with the real binaries.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::HttpBody;
use futures::StreamExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use weir_api::{PacketSource, PacketStream};
use weir_model::capture::{CaptureRefusal, CaptureRequest, ConnectedProbe, Filter};

use super::*;

/// Gives three bytes; then goes on without end where the filter is `tcp`.
#[derive(Debug, Default)]
pub(super) struct OneProbe {
    asked: Mutex<Vec<CaptureRequest>>,
    open: Arc<AtomicUsize>,
}

/// Counts a stream for as long as it is.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl PacketSource for OneProbe {
    fn probes(&self) -> Vec<ConnectedProbe> {
        vec![ConnectedProbe { node: "node-1".to_owned(), version: "0.0.0".to_owned(), allows_payload: false }]
    }

    fn capture(
        &self,
        request: CaptureRequest,
        _: Option<String>,
    ) -> BoxFuture<'_, Result<PacketStream, CaptureRefusal>> {
        self.asked.lock().push(request.clone());
        let open = self.open.clone();
        Box::pin(async move {
            request.check().map_err(CaptureRefusal::Bounds)?;
            Filter::parse(&request.filter)?;
            if request.payload > 0 {
                return Err(CaptureRefusal::Payload);
            }
            open.fetch_add(1, Ordering::SeqCst);
            let open = Open(open);
            let first = futures::stream::iter([Bytes::from_static(b"abc")]);
            Ok(if request.filter == "tcp" {
                let endless = futures::stream::pending().map(move |piece| {
                    let _ = &open;
                    piece
                });
                first.chain(endless).boxed()
            } else {
                first.boxed()
            })
        })
    }
}

fn ask(body: &str) -> Request<Body> {
    let request = Request::post("/api/v1/capture").header("host", "127.0.0.1:8480");
    request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn a_capture_is_bounded_and_without_payload_unless_told_otherwise() {
    let world = World::new().await;
    let answer = world.send(ask(r#"{"filter": "tcp port 443", "nodes": ["node-1"]}"#)).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "abc"));
    assert_eq!(answer.header("content-type"), "application/vnd.tcpdump.pcap");
    let asked = world.packets.asked.lock().pop().unwrap();
    assert_eq!((asked.filter.as_str(), asked.nodes.as_slice()), ("tcp port 443", &["node-1".to_owned()][..]));
    assert_eq!((asked.payload, asked.seconds), (0, 30));
    assert!(asked.check().is_ok());
}

#[tokio::test]
async fn what_is_refused_says_why_and_where() {
    let world = World::new().await;
    for (body, status, code) in [
        (r#"{"filter": "tcp port https"}"#, StatusCode::BAD_REQUEST, "capture.filter"),
        (r#"{"seconds": 0}"#, StatusCode::BAD_REQUEST, "capture.bounds"),
        (r#"{"payload": 100}"#, StatusCode::FORBIDDEN, "capture.payload"),
        (r#"{"second": 1}"#, StatusCode::BAD_REQUEST, "request.body"),
        ("tcp", StatusCode::BAD_REQUEST, "request.body"),
    ] {
        let answer = world.send(ask(body)).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{body}");
        if code == "capture.filter" {
            assert_eq!(error["position"]["column"], 10, "{error}");
        }
    }
    let request = Request::post("/api/v1/capture").header("host", "127.0.0.1:8480");
    let form = request.header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    assert_eq!(
        world.send(form).await.status,
        StatusCode::BAD_REQUEST,
        "a page of another site can send text"
    );
}

#[tokio::test]
async fn a_capture_ends_with_its_client() {
    let world = World::new().await;
    let response = world.router.clone().oneshot(ask(r#"{"filter": "tcp"}"#)).await.unwrap();
    let body = response.into_body();
    assert!(!body.is_end_stream());
    assert_eq!(world.packets.open.load(Ordering::SeqCst), 1);
    drop(body);
    assert_eq!(world.packets.open.load(Ordering::SeqCst), 0);
}
