//! `POST /api/v1/sql`: a question → JSON, NDJSON, CSV, Arrow IPC or Parquet, by `Accept`. All but JSON are streamed; JSON is
//! cut after [`MOST_ROWS`] and says so.
//!
//! | file         | subject                                        |
//! |--------------|------------------------------------------------|
//! | `body.rs`    | what is asked: text, parameters, limits        |
//! | `formats.rs` | what is streamed, piece by piece               |
//! | `parquet.rs` | a Parquet file, row group by row group         |

mod body;
mod formats;
mod parquet;

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use weir_query::{Completeness, Question};

use crate::error::ApiError;
use crate::turn::InTurn;
use crate::{Api, encode};
use formats::{Encoder, Format};

/// Rows of a JSON answer, which has to be held whole; the other formats have no such end.
pub(crate) const MOST_ROWS: usize = 10_000;

/// Answers one question.
pub(crate) async fn answer(
    State(api): State<Arc<Api>>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let question = body::question(&headers, &body)?;
    let api = InTurn::of(&api, &extensions).await?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let started = Instant::now();
    let Some(format) = Format::of(accept) else { return whole(&api, question, started).await };
    let mut answer = api.engine.sql(question).await?;
    let encoder = Encoder::new(format, &answer.schema).map_err(|err| {
        let hint = "CAST the column to VARCHAR, or ask for another format";
        ApiError::bad_request(
            "sql.invalid",
            format!("{format:?} has no room for it: {err}"),
            Some(hint.to_owned()),
        )
    })?;
    let completeness = answer.completeness(&api.engine).await?;
    let mut response = Response::new(Body::from_stream(formats::stream(answer, encoder)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    say_completeness(&mut response, &completeness);
    Ok(response)
}

/// Puts it where an answer without a place for it has room.
pub(crate) fn say_completeness(response: &mut Response, completeness: &Completeness) {
    if let Ok(value) = HeaderValue::from_str(&json!(completeness).to_string()) {
        response.headers_mut().insert("x-weir-completeness", value);
    }
}

async fn whole(api: &Api, question: Question, started: Instant) -> Result<Response, ApiError> {
    let mut answer = api.engine.sql(question).await?;
    let completeness = answer.completeness(&api.engine).await?;
    let collected = answer.collect(MOST_ROWS).await?;
    let columns: Vec<_> = collected
        .schema
        .fields()
        .iter()
        .map(|field| json!({ "name": field.name(), "type": weir_query::type_name(field.data_type()) }))
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
