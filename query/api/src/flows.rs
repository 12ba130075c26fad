//! `GET /api/v1/flows`: the newest flows that pass the filters, each with what its connection's handshake said.

use std::collections::HashMap;
use std::fmt::Write;

use axum::Json;
use axum::extract::RawQuery;
use serde_json::{Map, Value, json};
use weir_query::TimeRange;

use crate::error::ApiError;
use crate::filter::{self, HANDSHAKE_COLUMNS};
use crate::turn::InTurn;
use crate::{Api, encode, times};

/// Rows of one answer, unless fewer are asked for.
const MOST_ROWS: usize = 5000;
const USUAL_ROWS: usize = 500;
const USUAL_RANGE_NS: i64 = 15 * 60 * 1_000_000_000;

/// What was asked.
#[derive(Debug)]
struct Question {
    range: TimeRange,
    conditions: Vec<String>,
    limit: usize,
}

/// Answers it.
pub(crate) async fn answer(InTurn(api): InTurn, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    let now = times::now();
    let question = parse(query.as_deref().unwrap_or_default(), now)
        .map_err(|why| ApiError::bad_request("request.parameter", why, None))?;
    let mut sql = format!("SELECT * FROM flows WHERE {}", question.range.condition());
    for condition in &question.conditions {
        let _ = write!(sql, " AND {condition}");
    }
    let _ = write!(sql, " ORDER BY time DESC LIMIT {}", question.limit + 1);
    let found = api.engine.collect(&sql, question.limit).await?;
    let mut rows: Vec<Map<String, Value>> =
        found.batches.iter().flat_map(|batch| encode::objects(batch, false)).collect();
    add_handshakes(&api, &mut rows).await?;
    let completeness = api.engine.completeness(question.range, &["flows"]).await?;
    Ok(Json(json!({
        "rows": rows,
        "truncated": found.is_truncated,
        "completeness": completeness,
        "now": times::text(now),
    })))
}

/// Puts the handshakes' columns on the rows of their connections. A second question by id, and not a join, since a
/// connection's handshake may be hours older than its flow.
async fn add_handshakes(api: &Api, rows: &mut [Map<String, Value>]) -> Result<(), ApiError> {
    let mut ids: Vec<&str> = rows
        .iter()
        .filter(|row| row.get("encryption").and_then(Value::as_str).is_some_and(|word| word != "plaintext"))
        .filter_map(|row| row.get("connection_id").and_then(Value::as_str))
        // Ids are ours, but rows come from outside: only what can't leave its quotes goes into SQL.
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let mut known: HashMap<String, Map<String, Value>> = HashMap::new();
    if !ids.is_empty() {
        let columns: Vec<String> =
            HANDSHAKE_COLUMNS.iter().map(|column| format!("max({column}) AS {column}")).collect();
        let sql = format!(
            "SELECT connection_id, {} FROM tls_handshakes WHERE connection_id IN ('{}') GROUP BY connection_id",
            columns.join(", "),
            ids.join("', '")
        );
        let found = api.engine.collect(&sql, rows.len()).await?;
        for mut handshake in found.batches.iter().flat_map(|batch| encode::objects(batch, false)) {
            if let Some(Value::String(id)) = handshake.remove("connection_id") {
                known.insert(id, handshake);
            }
        }
    }
    for row in rows {
        let handshake =
            row.get("connection_id").and_then(Value::as_str).and_then(|id| known.get(id)).cloned();
        for column in HANDSHAKE_COLUMNS {
            let value = handshake.as_ref().and_then(|handshake| handshake.get(column)).cloned();
            row.insert(column.to_owned(), value.unwrap_or(Value::Null));
        }
    }
    Ok(())
}

fn parse(query: &str, now: i64) -> Result<Question, String> {
    let mut question = Question {
        range: TimeRange { from: now - USUAL_RANGE_NS, until: i64::MAX },
        conditions: Vec::new(),
        limit: USUAL_ROWS,
    };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            _ if value.is_empty() => {}
            "start" => question.range.from = times::parse(&value, now)?,
            "end" => question.range.until = times::parse(&value, now)?,
            "filter" => question.conditions.push(filter::condition(&value)?),
            "q" => question.conditions.push(filter::free_text(value.trim())),
            "limit" => {
                let limit = value.parse::<usize>().map_err(|_| format!("limit: {value:?} is no number"))?;
                question.limit = limit.clamp(1, MOST_ROWS);
            }
            _ => return Err(format!("no parameter {name:?}: start, end, filter, q and limit are known")),
        }
    }
    if question.range.from > question.range.until {
        return Err("start is after end".to_owned());
    }
    Ok(question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_parameters_it_is_the_last_quarter_of_an_hour() {
        let question = parse("", 1_000_000_000_000_000_000).expect("a question");
        assert_eq!(question.range.from, 1_000_000_000_000_000_000 - USUAL_RANGE_NS);
        assert_eq!(question.limit, USUAL_ROWS);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (query, word) in
            [("limt=3", "limt"), ("start=2&end=1", "no time"), ("filter=nonsense", "operator")]
        {
            let why = parse(query, 0).expect_err("refused");
            assert!(why.contains(word), "{why}");
        }
    }
}
