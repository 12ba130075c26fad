//! One mapping from error to status, code, position and hint:
//! `{"error":{"code":"sql.syntax","message":"…","position":{"line":1,"column":8},"hint":"…"}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;
use weir_query::QueryError;

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
        let error = QueryError { code, message: message.into(), position: None, hint };
        ApiError { status: StatusCode::BAD_REQUEST, error }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        let status = match error.code {
            "limit.time" => StatusCode::REQUEST_TIMEOUT,
            "limit.memory" => StatusCode::UNPROCESSABLE_ENTITY,
            _ if error.is_askers() => StatusCode::BAD_REQUEST,
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
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}
