//! `POST /api/v1/sql`: the text of a question (`text/plain`, or JSON `{"sql":"…"}`) → JSON, NDJSON, CSV or Arrow IPC, by
//! `Accept`. All but JSON are streamed; JSON is cut after [`MOST_ROWS`] and says so.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use serde::Deserialize;
use serde_json::json;
use weir_query::{Answer, Completeness};

use crate::error::ApiError;
use crate::{Api, encode};

/// Rows of a JSON answer, which has to be held whole; CSV and Arrow have no such end.
pub(crate) const MOST_ROWS: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    sql: String,
}

/// Answers one question.
pub(crate) async fn answer(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let text = question(&headers, &body)?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let started = Instant::now();
    let Some(format) = Format::of(accept) else { return whole(&api, &text, started).await };
    let answer = api.engine.sql(&text).await?;
    let completeness = api.engine.completeness(answer.range).await?;
    let mut response = match format {
        Format::Csv => stream("text/csv; charset=utf-8", csv(answer)),
        Format::Ndjson => stream("application/x-ndjson", ndjson(answer)),
        Format::Arrow => stream("application/vnd.apache.arrow.stream", arrow_stream(answer)),
    };
    say_completeness(&mut response, &completeness);
    Ok(response)
}

/// What is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
    Arrow,
}

impl Format {
    /// The first that `Accept` names; `None` means JSON.
    fn of(accept: &str) -> Option<Format> {
        accept.split(',').find_map(|kind| match kind.split(';').next().unwrap_or_default().trim() {
            "text/csv" => Some(Some(Format::Csv)),
            "application/x-ndjson" | "application/jsonl" => Some(Some(Format::Ndjson)),
            "application/vnd.apache.arrow.stream" => Some(Some(Format::Arrow)),
            "application/json" => Some(None),
            _ => None,
        })?
    }
}

/// Puts it where an answer without a place for it has room.
pub(crate) fn say_completeness(response: &mut Response, completeness: &Completeness) {
    if let Ok(value) = HeaderValue::from_str(&json!(completeness).to_string()) {
        response.headers_mut().insert("x-weir-completeness", value);
    }
}

fn question(headers: &HeaderMap, body: &Bytes) -> Result<String, ApiError> {
    let wrong = |message: String| {
        ApiError::bad_request(
            "request.body",
            message,
            Some(r#"send the SQL itself, or {"sql": "SELECT …"}"#.to_owned()),
        )
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = if kind.starts_with("application/json") {
        serde_json::from_slice::<Question>(body)
            .map_err(|err| wrong(format!("the body is no question: {err}")))?
            .sql
    } else {
        String::from_utf8(body.to_vec()).map_err(|err| wrong(format!("the body is not UTF-8: {err}")))?
    };
    if text.trim().is_empty() {
        return Err(wrong("the body is empty".to_owned()));
    }
    Ok(text)
}

async fn whole(api: &Api, text: &str, started: Instant) -> Result<Response, ApiError> {
    let collected = api.engine.collect(text, MOST_ROWS).await?;
    let completeness = api.engine.completeness(collected.range).await?;
    let columns: Vec<_> = collected
        .schema
        .fields()
        .iter()
        .map(|field| json!({ "name": field.name(), "type": type_name(field.data_type()) }))
        .collect();
    let rows = encode::rows(&collected.batches);
    let mut response = Json(json!({
        "columns": columns,
        "row_count": rows.len(),
        "rows": rows,
        "truncated": collected.is_truncated,
        "elapsed_ms": started.elapsed().as_secs_f64() * 1000.0,
        "completeness": completeness,
    }))
    .into_response();
    say_completeness(&mut response, &completeness);
    Ok(response)
}

fn type_name(kind: &arrow::datatypes::DataType) -> String {
    use arrow::datatypes::DataType;
    match kind {
        DataType::Dictionary(_, value) => type_name(value),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".to_owned(),
        DataType::Timestamp(_, _) => "TIMESTAMP".to_owned(),
        DataType::Int64 | DataType::UInt64 => "BIGINT".to_owned(),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => "INTEGER".to_owned(),
        DataType::Float32 | DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::List(item) => format!("{}[]", type_name(item.data_type())),
        DataType::Map(_, _) => "MAP(VARCHAR, VARCHAR)".to_owned(),
        other => other.to_string(),
    }
}

fn stream(
    media_type: &'static str,
    chunks: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// CSV (RFC 4180) with a header line, also where there are no rows. An error on the way ends the transfer unfinished, so
/// that no reader takes the part for the whole.
fn csv(answer: Answer) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    futures::stream::unfold((Some(answer), true), async |(answer, wants_header)| {
        let mut answer = answer?;
        let (batch, rest) = match answer.next().await {
            Some(Ok(batch)) => (batch, Some(answer)),
            Some(Err(err)) => return Some((Err(std::io::Error::other(err)), (None, false))),
            None if wants_header => (RecordBatch::new_empty(answer.schema.clone()), None),
            None => return None,
        };
        Some((crate::export::csv_chunk(&batch, wants_header), (rest, false)))
    })
}

/// One JSON object a line.
fn ndjson(answer: Answer) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    futures::stream::unfold(Some(answer), async |answer| {
        let mut answer = answer?;
        let chunk = match answer.next().await? {
            Ok(batch) => encode::lines(encode::objects(&batch, false)),
            Err(err) => Err(std::io::Error::other(err)),
        };
        let rest = chunk.is_ok().then_some(answer);
        Some((chunk, rest))
    })
}

/// Arrow IPC stream format.
fn arrow_stream(answer: Answer) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    use arrow::ipc::writer::StreamWriter;
    let writer = StreamWriter::try_new(Vec::new(), &answer.schema).map_err(std::io::Error::other);
    futures::stream::unfold(Some((answer, writer)), async |state| {
        let (mut answer, writer) = state?;
        let mut writer = match writer {
            Ok(writer) => writer,
            Err(err) => return Some((Err(err), None)),
        };
        let (step, is_over) = match answer.next().await {
            Some(Ok(batch)) => (writer.write(&batch).map_err(std::io::Error::other), false),
            Some(Err(err)) => (Err(std::io::Error::other(err)), true),
            None => (writer.finish().map_err(std::io::Error::other), true),
        };
        let chunk = step.map(|()| Bytes::from(std::mem::take(writer.get_mut())));
        let is_over = is_over || chunk.is_err();
        Some((chunk, (!is_over).then_some((answer, Ok(writer)))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_kind_of_accept_counts() {
        assert_eq!(Format::of("*/*"), None);
        assert_eq!(Format::of("application/json, text/csv"), None);
        assert_eq!(Format::of("text/html, text/csv;q=0.9"), Some(Format::Csv));
        assert_eq!(Format::of("application/x-ndjson"), Some(Format::Ndjson));
        assert_eq!(Format::of("application/vnd.apache.arrow.stream"), Some(Format::Arrow));
    }
}
