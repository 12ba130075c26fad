//! Answers in the format of the request: `ExportTraceServiceResponse`, or `google.rpc.Status` where it failed.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use prost::Message;
use serde_json::{Value as Json, json};
use tonic::Code;
use weir_otlp::Refused;
use weir_otlp::proto::collector::logs::v1::ExportLogsServiceResponse;
use weir_otlp::proto::collector::trace::v1::ExportTraceServiceResponse;
use weir_wire::RefusalReason;

use super::super::{partial_success, partial_success_of_logs};

/// What requests and answers are written in. JSON where nothing is known: a person can read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    #[default]
    Json,
}

/// A `google.rpc.Status`; its details are not used.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: Code,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn malformed(message: String) -> Problem {
        Problem { status: StatusCode::BAD_REQUEST, code: Code::InvalidArgument, message }
    }

    pub(super) fn unsupported(message: String) -> Problem {
        Problem { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, code: Code::InvalidArgument, message }
    }

    pub(super) fn too_large(message: String) -> Problem {
        Problem { status: StatusCode::PAYLOAD_TOO_LARGE, code: Code::ResourceExhausted, message }
    }

    pub(super) fn forbidden(message: String) -> Problem {
        Problem { status: StatusCode::FORBIDDEN, code: Code::PermissionDenied, message }
    }

    pub(super) fn not_found(message: String) -> Problem {
        Problem { status: StatusCode::NOT_FOUND, code: Code::Unimplemented, message }
    }

    pub(super) fn method(message: &str) -> Problem {
        Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: Code::Unimplemented,
            message: message.to_owned(),
        }
    }

    pub(super) fn timeout(message: String) -> Problem {
        Problem { status: StatusCode::REQUEST_TIMEOUT, code: Code::DeadlineExceeded, message }
    }

    /// The one that senders try again.
    pub(super) fn unavailable(message: String) -> Problem {
        Problem { status: StatusCode::SERVICE_UNAVAILABLE, code: Code::Unavailable, message }
    }

    /// There is no room now; senders try again, too.
    pub(super) fn busy(message: String) -> Problem {
        Problem { status: StatusCode::TOO_MANY_REQUESTS, code: Code::ResourceExhausted, message }
    }

    pub(super) fn internal(message: String) -> Problem {
        Problem { status: StatusCode::INTERNAL_SERVER_ERROR, code: Code::Internal, message }
    }

    /// The counter's name, where spans were lost by it.
    pub(super) fn refusal(&self) -> Option<RefusalReason> {
        match self.status {
            StatusCode::BAD_REQUEST | StatusCode::REQUEST_TIMEOUT => Some(RefusalReason::Malformed),
            StatusCode::PAYLOAD_TOO_LARGE => Some(RefusalReason::TooLarge),
            _ => None,
        }
    }
}

impl Format {
    /// What Content-Type says; `None` where it is neither.
    pub(super) fn of(headers: &HeaderMap) -> Option<Format> {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        [("application/x-protobuf", Format::Protobuf), ("application/json", Format::Json)]
            .into_iter()
            .find_map(|(name, format)| essence.eq_ignore_ascii_case(name).then_some(format))
    }

    /// The spans are durable, all but those refused.
    pub(super) fn stored(self, refused: &Refused) -> Response {
        let partial_success = partial_success(refused);
        let body = match (self, partial_success) {
            (Format::Protobuf, partial_success) => {
                ExportTraceServiceResponse { partial_success }.encode_to_vec()
            }
            (Format::Json, None) => b"{}".to_vec(),
            (Format::Json, Some(partial)) => text(&json!({"partialSuccess": {
                "rejectedSpans": partial.rejected_spans.to_string(),
                "errorMessage": partial.error_message,
            }})),
        };
        self.response(StatusCode::OK, body)
    }

    /// The requests among the logs are durable; so many are none.
    pub(super) fn stored_logs(self, others: u64) -> Response {
        let partial_success = partial_success_of_logs(others);
        let body = match (self, partial_success) {
            (Format::Protobuf, partial_success) => {
                ExportLogsServiceResponse { partial_success }.encode_to_vec()
            }
            (Format::Json, None) => b"{}".to_vec(),
            (Format::Json, Some(partial)) => text(&json!({"partialSuccess": {
                "rejectedLogRecords": partial.rejected_log_records.to_string(),
                "errorMessage": partial.error_message,
            }})),
        };
        self.response(StatusCode::OK, body)
    }

    /// The request failed as a whole.
    pub(super) fn failed(self, problem: Problem) -> Response {
        let code = problem.code as i32;
        let body = match self {
            Format::Protobuf => RpcStatus { code, message: problem.message }.encode_to_vec(),
            Format::Json => text(&json!({"code": code, "message": problem.message})),
        };
        let mut response = self.response(problem.status, body);
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&problem.status) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    fn response(self, status: StatusCode, body: Vec<u8>) -> Response {
        let content_type = match self {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }
}

fn text(json: &Json) -> Vec<u8> {
    json.to_string().into_bytes()
}
