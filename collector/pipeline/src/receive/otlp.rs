//! OTLP traces, as applications and OpenTelemetry collectors send them → rows of `spans`; and logs, of which proxies' access logs
//! are rows of `http_requests`.
//!
//! | file      | subject                                                                    |
//! |-----------|----------------------------------------------------------------------------|
//! | `grpc.rs` | `TraceService/Export`, `LogsService/Export`                                    |
//! | `http.rs` | `POST /v1/traces`, `/v1/logs`: protobuf and JSON, gzip, and the answers to both           |
//! | `size.rs` | how large a request becomes as rows                                          |
//!
//! A request is answered when its spans are durable. Spans that can't be stored are refused alone, counted, and named to
//! the sender (partial success). Not here: metrics, and logs that are no requests.

mod grpc;
mod http;
mod size;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use weir_model::{SmolStr, SpanRow};
use weir_otlp::access::requests_of;
use weir_otlp::proto::collector::logs::v1::ExportLogsPartialSuccess;
use weir_otlp::proto::collector::trace::v1::ExportTracePartialSuccess;
use weir_otlp::proto::logs::v1::ResourceLogs;
use weir_otlp::proto::trace::v1::ResourceSpans;
use weir_otlp::{Refused, rows_of};
use weir_wire::RefusalReason;

use self::size::row_bytes;
use crate::memory::NoRoom;
use crate::stage::Stage;

/// Bytes of one request, after decompression too.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// How long a request that was under way at the stop may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes up to which converting takes less than handing it to another thread.
const INLINE_BYTES: usize = 64 << 10;

/// Serves both until `stop`; requests that were read by then are made durable and answered.
pub(crate) async fn serve(grpc: TcpListener, http: TcpListener, stage: Arc<Stage>, stop: CancellationToken) {
    let intake = Arc::new(Intake { stage });
    tokio::join!(
        until_ended("gRPC", grpc::serve(grpc, intake.clone(), stop.clone()), &stop),
        until_ended("HTTP", http::serve(http, intake, stop.clone()), &stop),
    );
}

/// Waits for `server`, but not for a sender that never finishes its request.
async fn until_ended<E: Display>(
    what: &str,
    server: impl Future<Output = Result<(), E>>,
    stop: &CancellationToken,
) {
    let cut_off = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server => {
            if let Err(err) = served {
                error!(%err, "the port for OTLP over {what} is closed; restart Weir");
            }
        }
        () = cut_off => warn!("OTLP over {what}: requests that were not sent within {GRACE:?} of the stop were cut off"),
    }
}

/// Why a request as a whole was not taken.
#[derive(Debug, thiserror::Error)]
enum IntakeError {
    /// Sending it again can't help.
    #[error("{0}")]
    TooLarge(NoRoom),
    /// It was not looked at; the sender keeps the spans and comes back when it is asked to.
    #[error("{0}")]
    Busy(NoRoom),
    /// Nothing was stored; the sender keeps the spans and comes back later.
    #[error("spans can't be stored right now, send them again later: {0}")]
    Unavailable(String),
}

/// Where both transports bring their spans.
#[derive(Debug)]
struct Intake {
    stage: Arc<Stage>,
}

impl Intake {
    /// Makes the spans durable; says which were refused.
    async fn take(&self, spans: Vec<ResourceSpans>) -> Result<Refused, IntakeError> {
        let bytes = row_bytes(&spans);
        let _room = self.stage.budget().room(bytes).await.map_err(|err| self.no_room(err))?;
        let (rows, refused) = self.convert(spans, bytes).await;
        if !rows.is_empty() {
            let stored = self.stage.append_told(rows).await;
            stored.map_err(|err| IntakeError::Unavailable(err.to_string()))?;
        }
        // After the store: what comes again counts once.
        for (reason, count) in &refused.reasons {
            self.stage.counters().refused(self.stage.node(), reason, *count);
        }
        if !refused.reasons.is_empty() {
            warn!(spans = refused.spans(), first = refused.first, "OTLP spans refused");
        }
        Ok(refused)
    }

    /// Makes the requests among logs durable; says how many are none.
    async fn take_logs(&self, logs: Vec<ResourceLogs>) -> Result<u64, IntakeError> {
        let bytes = size::log_bytes(&logs);
        let _room = self.stage.budget().room(bytes).await.map_err(|err| self.no_room(err))?;
        let read = tokio::task::spawn_blocking(move || requests_of(&logs)).await;
        let (rows, others) = read.expect("logs become rows without a panic");
        // Before the store: the flows that they came by may be on their way.
        self.stage.verdicts().add(&rows, self.stage.now());
        if !rows.is_empty() {
            let stored = self.stage.append_own(&rows).await;
            stored.map_err(|err| IntakeError::Unavailable(err.to_string()))?;
        }
        if others > 0 {
            self.stage.counters().refused(self.stage.node(), "log_is_no_request", others);
        }
        Ok(others)
    }

    async fn convert(&self, spans: Vec<ResourceSpans>, bytes: usize) -> (Vec<SpanRow>, Refused) {
        let node = SmolStr::new(self.stage.node());
        if bytes <= INLINE_BYTES {
            return rows_of(&spans, &node);
        }
        let converted = tokio::task::spawn_blocking(move || rows_of(&spans, &node)).await;
        converted.expect("spans become rows without a panic")
    }

    /// Why a request was not taken, counted.
    fn no_room(&self, why: NoRoom) -> IntakeError {
        if why == NoRoom::Busy {
            self.stage.counters().put_off();
            return IntakeError::Busy(why);
        }
        self.refuse_request(RefusalReason::TooLarge, &why);
        IntakeError::TooLarge(why)
    }

    /// A request that nothing was stored of, and that will fail the same way if it comes again.
    fn refuse_request(&self, reason: RefusalReason, why: &dyn Display) {
        warn!(reason = reason.as_str(), %why, "OTLP request refused");
        self.stage.counters().refused(self.stage.node(), reason.as_str(), 1);
    }
}

/// What the answer says of logs that are no requests; nothing where all were stored.
fn partial_success_of_logs(others: u64) -> Option<ExportLogsPartialSuccess> {
    (others > 0).then(|| ExportLogsPartialSuccess {
        rejected_log_records: others.cast_signed(),
        error_message:
            "Weir takes access logs of proxies only (docs/intake.md): method or response_code is missing"
                .to_owned(),
    })
}

/// What the answer says of refused spans; nothing where all were stored.
fn partial_success(refused: &Refused) -> Option<ExportTracePartialSuccess> {
    (!refused.reasons.is_empty()).then(|| ExportTracePartialSuccess {
        rejected_spans: refused.spans().cast_signed(),
        error_message: refused.first.clone(),
    })
}
