//! One mapping from error to status, code, position and hint:
//! `{"error":{"code":"sql.syntax","message":"…","position":{"line":1,"column":8},"hint":"…"}}`.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;
use weir_query::QueryError;

/// When to ask again where there was no turn, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What goes back instead of an answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) error: QueryError,
}

impl ApiError {
    /// The request itself is wrong.
    pub(crate) fn bad_request(
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> ApiError {
        ApiError::refused(StatusCode::BAD_REQUEST, code, message, hint)
    }

    /// Something on this side.
    pub(crate) fn internal(why: impl std::fmt::Display) -> ApiError {
        ApiError::refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", why.to_string(), None)
    }

    /// A refusal that has a status of its own.
    pub(crate) fn refused(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> ApiError {
        ApiError { status, error: QueryError { code, message: message.into(), position: None, hint } }
    }
}

/// A path below `/api/v1/` that nothing answers.
pub(crate) async fn no_route(uri: Uri) -> ApiError {
    ApiError::refused(
        StatusCode::NOT_FOUND,
        "request.path",
        format!("nothing answers at {}", uri.path()),
        Some("GET /api/v1/openapi.json lists what does".to_owned()),
    )
}

/// A path that answers to another method.
pub(crate) async fn no_method(method: Method, uri: Uri) -> ApiError {
    ApiError::refused(
        StatusCode::METHOD_NOT_ALLOWED,
        "request.method",
        format!("{} does not take {method}", uri.path()),
        Some("GET /api/v1/openapi.json says what it takes".to_owned()),
    )
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        let status = match error.code {
            // Not 408: that invites a client to ask the same again.
            "limit.time" | "limit.memory" | "limit.rows" => StatusCode::UNPROCESSABLE_ENTITY,
            "limit.busy" => StatusCode::TOO_MANY_REQUESTS,
            _ if error.is_askers() => StatusCode::BAD_REQUEST,
            code if code.starts_with("data.") => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            error!(code = error.code, message = error.message, "a question failed");
        }
        ApiError { status, error }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.error }))).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
