//! `GET /api/v1/export?format=ocsf|jsonl|csv&since=…&until=…&tables=flows,tls_handshakes`: rows for a SIEM or for keeping,
//! streamed, oldest first.
//!
//! The transfer is chunked, and an error on the way ends it without its last chunk: an HTTP client sees a broken transfer
//! and never a short one that looks whole. One line (CSV: one record) an event, so that the reader can count what it got.

mod csv;
mod ocsf;

use arrow::array::RecordBatch;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::Stream;
use serde::Deserialize;
use weir_model::{FlowRow, Row, TlsHandshakeRow, tables};
use weir_query::{Answer, TimeRange};

use crate::error::ApiError;
use crate::sql::say_completeness;
use crate::turn::InTurn;
use crate::{encode, times};

pub(crate) use csv::chunk as csv_chunk;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Format {
    Ocsf,
    Jsonl,
    Csv,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    format: Format,
    since: Option<String>,
    until: Option<String>,
    tables: Option<String>,
}

/// Streams the rows.
pub(crate) async fn answer(
    InTurn(api): InTurn,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(parameters) = parameters.map_err(|rejection| {
        let hint = "format=ocsf|jsonl|csv, and if you like since, until, tables";
        ApiError::bad_request("request.parameter", rejection.body_text(), Some(hint.to_owned()))
    })?;
    let now = times::now();
    let time = |text: Option<&String>, usual| text.map_or(Ok(usual), |text| times::parse(text, now));
    let wrong = |why: String| ApiError::bad_request("request.parameter", why, None);
    let from = time(parameters.since.as_ref(), 0).map_err(wrong)?;
    let until = time(parameters.until.as_ref(), now).map_err(wrong)?;
    let tables = tables_of(parameters.format, parameters.tables.as_deref()).map_err(wrong)?;

    let mut answers = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT * FROM {table} WHERE time >= to_timestamp_nanos({from}) AND time < to_timestamp_nanos({until}) ORDER BY time"
        );
        answers.push((table, api.engine.sql(&sql).await?));
    }
    let tables: Vec<&str> = answers.iter().map(|(table, _)| *table).collect();
    let completeness = api.engine.completeness(TimeRange { from, until }, &tables).await?;
    let mut response = Response::new(Body::from_stream(lines(parameters.format, answers)));
    let media_type =
        if parameters.format == Format::Csv { "text/csv; charset=utf-8" } else { "application/x-ndjson" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    say_completeness(&mut response, &completeness);
    Ok(response)
}

fn tables_of(format: Format, wanted: Option<&str>) -> Result<Vec<&'static str>, String> {
    let usual = if format == Format::Csv { "flows" } else { "flows,tls_handshakes" };
    let mut found = Vec::new();
    for name in wanted.unwrap_or(usual).split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let table = tables::by_name(name)
            .ok_or_else(|| format!("no table {name:?}: GET /api/v1/tables lists them"))?;
        if format == Format::Ocsf && !["flows", "tls_handshakes"].contains(&name) {
            return Err(format!(
                "{name} has no OCSF class here: flows and tls_handshakes do; try --format jsonl"
            ));
        }
        found.push(table.name);
    }
    match (format, found.len()) {
        (_, 0) => Err("no table to export".to_owned()),
        (Format::Csv, 2..) => Err("a CSV file has one header: export one table at a time".to_owned()),
        _ => Ok(found),
    }
}

/// What is still to be sent.
struct Pending {
    format: Format,
    answers: std::vec::IntoIter<(&'static str, Answer)>,
    current: Option<(&'static str, Answer)>,
    wants_header: bool,
}

fn lines(
    format: Format,
    answers: Vec<(&'static str, Answer)>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let pending =
        Pending { format, answers: answers.into_iter(), current: None, wants_header: format == Format::Csv };
    futures::stream::unfold(Some(pending), async |pending| {
        let mut pending = pending?;
        loop {
            if pending.current.is_none() {
                pending.current = Some(pending.answers.next()?);
            }
            let (table, answer) = pending.current.as_mut()?;
            match answer.next().await {
                Some(Ok(batch)) => {
                    let chunk = encode_batch(pending.format, table, &batch, pending.wants_header);
                    pending.wants_header = false;
                    return Some(match chunk {
                        Ok(chunk) => (Ok(chunk), Some(pending)),
                        Err(err) => (Err(err), None),
                    });
                }
                Some(Err(err)) => return Some((Err(std::io::Error::other(err)), None)),
                None => {
                    let schema = answer.schema.clone();
                    pending.current = None;
                    if pending.wants_header {
                        pending.wants_header = false;
                        return Some((csv_chunk(&RecordBatch::new_empty(schema), true), Some(pending)));
                    }
                }
            }
        }
    })
}

fn encode_batch(
    format: Format,
    table: &'static str,
    batch: &RecordBatch,
    wants_header: bool,
) -> Result<Bytes, std::io::Error> {
    match (format, table) {
        (Format::Csv, _) => csv_chunk(batch, wants_header),
        (Format::Jsonl, _) => encode::lines(encode::objects(batch, true).into_iter().map(|mut object| {
            object.insert("table".to_owned(), table.into());
            object
        })),
        (Format::Ocsf, "flows") => encode::lines(rows::<FlowRow>(batch)?.iter().map(ocsf::flow)),
        (Format::Ocsf, _) => encode::lines(rows::<TlsHandshakeRow>(batch)?.iter().map(ocsf::handshake)),
    }
}

fn rows<R: Row>(batch: &RecordBatch) -> Result<Vec<R>, std::io::Error> {
    R::from_batch(batch).map_err(std::io::Error::other)
}
