//! What a Jaeger stores goes on to the receiver as it came, and its answers come back.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::{Request, Response};
use weir_otlp::proto::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use weir_otlp::proto::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};

use super::*;

const WRITER: &str = "opentelemetry.proto.collector.trace.v1.TraceService";

/// Keeps what it gets; refuses an empty request as one who has no room does.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        if request.resource_spans.is_empty() {
            return Err(Status::with_details(Code::ResourceExhausted, "no room", "come again".into()));
        }
        self.0.lock().push(request);
        let partial_success =
            Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: "no id".to_owned() });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tokio::test]
async fn spans_that_a_jaeger_stores_are_forwarded() {
    let weir = Weir::empty().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let receiver = Receiver::default();
    let server = Server::builder().add_service(TraceServiceServer::new(receiver.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let client = Client::storage_with(&weir, address).await;

    let resource_spans = weir_otlp::json::decode::traces(shop_trace().to_string().as_bytes()).expect("OTLP");
    let request = ExportTraceServiceRequest { resource_spans };
    let answer: ExportTraceServiceResponse = client.one(WRITER, "Export", request.clone()).await;
    assert_eq!(answer.partial_success.map(|partial| partial.rejected_spans), Some(1));
    assert_eq!(*receiver.0.lock(), [request]);

    let full = client.ask::<_, ()>(WRITER, "Export", ExportTraceServiceRequest::default()).await;
    let status = full.expect_err("has no room");
    assert_eq!(
        (status.code(), status.message(), status.details()),
        (Code::ResourceExhausted, "no room", &b"come again"[..])
    );
}

/// Jaeger keeps the spans and comes again.
#[tokio::test]
async fn a_receiver_that_is_away_is_unavailable() {
    let weir = Weir::empty().await;
    let client = Client::storage(&weir).await;
    let (code, message) = client.fails(WRITER, "Export", ExportTraceServiceRequest::default()).await;
    assert_eq!(code, Code::Unavailable);
    assert!(message.starts_with("Weir's receiver for OTLP does not answer: "), "{message}");
}
