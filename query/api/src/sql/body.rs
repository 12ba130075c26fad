//! What is asked: the SQL itself (`text/plain`), or JSON with the values of its `$1`, `$2` … and limits of its own:
//! `{"query": "…", "params": [443, "2026-11-24T08:00:00Z"], "limits": {"rows": 100, "time_ms": 500, "memory_bytes": 1048576}}`.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;
use weir_query::{Lowered, Question, ScalarValue};

use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// `sql` is what it was called before there were parameters.
    #[serde(alias = "sql")]
    query: String,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default)]
    limits: Limits,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    rows: Option<usize>,
    time_ms: Option<u64>,
    memory_bytes: Option<usize>,
}

/// Reads it.
///
/// # Errors
/// `request.body`, which says what is wrong where.
pub(super) fn question(headers: &HeaderMap, body: &Bytes) -> Result<Question, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let question = if kind.starts_with("application/json") {
        let asked = serde_json::from_slice::<Asked>(body)
            .map_err(|err| wrong(format!("the body is no question: {err}")))?;
        let parameters = asked.params.iter().enumerate().map(|(index, value)| parameter(index + 1, value));
        Question {
            text: asked.query,
            parameters: parameters.collect::<Result<_, _>>()?,
            limits: Lowered {
                rows: asked.limits.rows,
                time: asked.limits.time_ms.map(Duration::from_millis),
                memory_bytes: asked.limits.memory_bytes,
            },
        }
    } else {
        let text = std::str::from_utf8(body).map_err(|err| wrong(format!("the body is not UTF-8: {err}")))?;
        text.into()
    };
    if question.text.trim().is_empty() {
        return Err(wrong("the body is empty".to_owned()));
    }
    Ok(question)
}

fn wrong(message: String) -> ApiError {
    let hint = r#"send the SQL itself, or {"query": "SELECT … WHERE server_port = $1", "params": [443]}"#;
    ApiError::bad_request("request.body", message, Some(hint.to_owned()))
}

/// A value by its JSON type. Times are text, which becomes a time where the query compares it with one.
fn parameter(number: usize, value: &Value) -> Result<ScalarValue, ApiError> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => (*value).into(),
        Value::String(value) => value.as_str().into(),
        Value::Number(value) => match (value.as_i64(), value.as_u64(), value.as_f64()) {
            (Some(value), _, _) => value.into(),
            (_, Some(value), _) => value.into(),
            (_, _, value) => value.into(),
        },
        Value::Array(_) | Value::Object(_) => {
            return Err(wrong(format!(
                "params: ${number} is a list or an object: numbers, text, true, false and null can be values"
            )));
        }
    })
}
