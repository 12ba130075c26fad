//! OTLP over gRPC: `TraceService/Export` and `LogsService/Export`. Metrics are `UNIMPLEMENTED`,
//! which exporters take as "don't come again".

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tower::limit::GlobalConcurrencyLimitLayer;
use weir_otlp::proto::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use weir_otlp::proto::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use weir_otlp::proto::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use weir_otlp::proto::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use weir_wire::busy;

use super::{Intake, IntakeError, MAX_REQUEST_BYTES, partial_success, partial_success_of_logs};
use crate::memory::RETRY;

/// Requests of one connection that are read at the same time; more wait in the sender.
const REQUESTS_PER_CONNECTION: usize = 16;
/// How long a request may take to come and be stored: one that stalls must not keep others from being read.
const REQUEST_TIME: Duration = Duration::from_secs(30);

pub(super) async fn serve(
    listener: TcpListener,
    intake: Arc<Intake>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    // The limit holds for the message as it comes and as it is unpacked.
    let intake_bytes = intake.stage.budget().most();
    let logs = LogsServiceServer::new(Logs { intake: intake.clone() })
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let service = TraceServiceServer::new(Traces { intake })
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    // What is being read isn't accounted for yet, so only so much is read as half of all room has.
    let at_once = (intake_bytes / 2 / MAX_REQUEST_BYTES).max(1);
    Server::builder()
        .timeout(REQUEST_TIME)
        .layer(GlobalConcurrencyLimitLayer::new(at_once))
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
        .add_service(service)
        .add_service(logs)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await
}

#[derive(Debug)]
struct Traces {
    intake: Arc<Intake>,
}

#[tonic::async_trait]
impl TraceService for Traces {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        match self.intake.take(request.into_inner().resource_spans).await {
            Ok(refused) => {
                Ok(Response::new(ExportTraceServiceResponse { partial_success: partial_success(&refused) }))
            }
            Err(err) => Err(status(&err)),
        }
    }
}

#[derive(Debug)]
struct Logs {
    intake: Arc<Intake>,
}

#[tonic::async_trait]
impl LogsService for Logs {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let others = self.intake.take_logs(request.into_inner().resource_logs).await;
        let others = others.map_err(|err| status(&err))?;
        Ok(Response::new(ExportLogsServiceResponse { partial_success: partial_success_of_logs(others) }))
    }
}

/// Without a hint of when to retry, exporters drop what is `RESOURCE_EXHAUSTED`, and keep what is `UNAVAILABLE`.
fn status(err: &IntakeError) -> Status {
    match err {
        IntakeError::TooLarge(_) => Status::resource_exhausted(err.to_string()),
        IntakeError::Busy(_) => busy(err.to_string(), RETRY),
        IntakeError::Unavailable(_) => Status::unavailable(err.to_string()),
    }
}
