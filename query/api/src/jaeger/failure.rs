//! Why there is no answer, before it is known in which form to say so.

use axum::http::StatusCode;
use tracing::error;
use weir_query::QueryError;

/// Status and words, the same in v1 and v3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Failure {
    /// A parameter is wrong: asking again can't help.
    pub(crate) fn bad_request(message: impl Into<String>) -> Failure {
        Failure { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    /// There is no such trace.
    pub(crate) fn trace_not_found() -> Failure {
        Failure { status: StatusCode::NOT_FOUND, message: "trace not found".to_owned() }
    }

    /// Weir doesn't know such things, and makes none up.
    pub(crate) fn not_offered(message: impl Into<String>) -> Failure {
        Failure { status: StatusCode::NOT_IMPLEMENTED, message: message.into() }
    }

    /// The question can't be answered here or now.
    pub(crate) fn internal(message: impl Into<String>) -> Failure {
        Failure { status: StatusCode::INTERNAL_SERVER_ERROR, message: message.into() }
    }
}

impl From<QueryError> for Failure {
    fn from(err: QueryError) -> Failure {
        error!(code = err.code, message = err.message, "a question of Jaeger's failed");
        let message = match err.hint {
            Some(hint) => format!("{}: {hint}", err.message),
            None => err.message,
        };
        Failure::internal(message)
    }
}

/// Runs what keeps a core busy away from the threads that serve.
pub(crate) async fn computed<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|err| Failure::internal(format!("encoding the answer: {err}")))
}
