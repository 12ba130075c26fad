//! A trace in a line of the search page: its root, its length, and how many spans and errors each service has. Read
//! from narrow columns, since nobody opens most of what a search finds.

use std::collections::{BTreeMap, HashSet};

use serde::{Serialize, Serializer};
use weir_model::{SmolStr, SpanRow};
use weir_otlp::rows::NO_SERVICE;
use weir_query::Engine;

use super::failure::Failure;
use super::search::Found;
use super::spans;
use super::trace_id::TraceId;

/// Spans that are counted for one page of results, some 200 bytes each.
const MOST_SPANS: usize = 2_000_000;
const COLUMNS: &str =
    "time, end_time, trace_id, span_id, parent_span_id, service, operation, kind, status, duration_ns";

/// One trace. Proto3's JSON: zeros and empty texts are left out, 64-bit numbers are strings.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    #[serde(serialize_with = "long")]
    pub(crate) trace_id: TraceId,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) root_service_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) root_operation_name: String,
    #[serde(serialize_with = "text", skip_serializing_if = "is_none")]
    pub(crate) min_start_time_unix_nano: u64,
    #[serde(serialize_with = "text", skip_serializing_if = "is_none")]
    pub(crate) max_end_time_unix_nano: u64,
    #[serde(flatten)]
    pub(crate) counts: Counts,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) orphan_span_count: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<Service>,
}

/// What of a trace is one service's.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// Spans, and how many of them failed.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) span_count: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) error_span_count: u32,
}

impl Counts {
    fn add(&mut self, is_error: bool) {
        self.span_count += 1;
        self.error_span_count += u32::from(is_error);
    }
}

/// Summaries of what a search found, in its order.
pub(crate) async fn summaries(engine: &Engine, found: &Found) -> Result<Vec<Summary>, Failure> {
    let (rows, is_cut) = spans::found_rows(engine, COLUMNS, found, MOST_SPANS).await?;
    if is_cut {
        // Counts of a part would be wrong, and look right.
        return Err(Failure::internal(format!(
            "the traces found have more than {MOST_SPANS} spans: lower the limit or narrow the search"
        )));
    }
    let mut by_trace = spans::per_trace(rows);
    Ok(found
        .ids
        .iter()
        .filter_map(|id| by_trace.remove(id.long().as_str()).map(|rows| summary(*id, rows)))
        .collect())
}

fn summary(trace_id: TraceId, mut rows: Vec<SpanRow>) -> Summary {
    drop_duplicates(&mut rows);
    rows.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.span_id.cmp(&b.span_id)));
    let ids: HashSet<Option<&SmolStr>> = rows.iter().map(|row| row.span_id.as_ref()).collect();
    let is = |column: &Option<SmolStr>, word: &str| column.as_deref() == Some(word);
    let clients: HashSet<Option<&SmolStr>> =
        rows.iter().filter(|row| is(&row.kind, "client")).map(|row| row.span_id.as_ref()).collect();

    let mut counts = Counts::default();
    let mut orphan_span_count = 0;
    let mut services: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut root: Option<&SpanRow> = None;
    for row in &rows {
        let is_error = is(&row.status, "error");
        counts.add(is_error);
        services.entry(service_of(row)).or_default().add(is_error);
        // A server's span under its client's id is that client span's child (`adjust`).
        let is_below_its_client = is(&row.kind, "server") && clients.contains(&row.span_id.as_ref());
        match &row.parent_span_id {
            _ if is_below_its_client => {}
            None => root = root.or(Some(row)),
            Some(parent) => orphan_span_count += u32::from(!ids.contains(&Some(parent))),
        }
    }
    let start = rows.iter().map(|row| row.time).min().unwrap_or_default();
    let end = rows.iter().map(|row| row.end_time.unwrap_or_default().max(row.time)).max().unwrap_or_default();
    let root_operation = root.and_then(|root| root.operation.as_ref());
    Summary {
        trace_id,
        root_service_name: root.map(service_of).unwrap_or_default().to_owned(),
        root_operation_name: root_operation.map(SmolStr::to_string).unwrap_or_default(),
        min_start_time_unix_nano: start.max(0) as u64,
        max_end_time_unix_nano: end.max(0) as u64,
        counts,
        orphan_span_count,
        services: services
            .into_iter()
            .map(|(name, counts)| Service { name: name.to_owned(), counts })
            .collect(),
    }
}

/// The same span sent twice is one, as in the trace itself.
fn drop_duplicates(rows: &mut Vec<SpanRow>) {
    let mut seen = HashSet::new();
    rows.retain(|row| {
        let name = (row.span_id.clone(), row.service.clone(), row.operation.clone(), row.kind.clone());
        seen.insert((name, row.status.clone(), row.time, row.end_time))
    });
}

fn service_of(row: &SpanRow) -> &str {
    static NAMELESS: SmolStr = NO_SERVICE;
    row.service.as_ref().unwrap_or(&NAMELESS)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

fn long<S: Serializer>(id: &TraceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&id.long())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(span: &str, parent: Option<&str>, service: &str, time: i64) -> SpanRow {
        SpanRow {
            time,
            end_time: Some(time + 100),
            span_id: Some(SmolStr::new(span)),
            parent_span_id: parent.map(SmolStr::new),
            service: Some(SmolStr::new(service)),
            operation: Some(SmolStr::new(format!("op-{span}"))),
            ..SpanRow::default()
        }
    }

    #[test]
    fn the_root_is_the_parentless_span_that_starts_first() {
        let error = Some(SmolStr::new("error"));
        let rows = vec![
            row("3", None, "late", 30),
            row("1", None, "front", 10),
            SpanRow { status: error, ..row("2", Some("1"), "back", 15) },
            row("4", Some("gone"), "back", 20),
            row("4", Some("gone"), "back", 20),
        ];
        let json = serde_json::to_value(summary(TraceId::of_bytes(&[0xab]), rows)).expect("encodes");
        assert_eq!(
            json,
            serde_json::json!({
                "traceId": "000000000000000000000000000000ab",
                "rootServiceName": "front",
                "rootOperationName": "op-1",
                "minStartTimeUnixNano": "10",
                "maxEndTimeUnixNano": "130",
                "spanCount": 4,
                "errorSpanCount": 1,
                "orphanSpanCount": 1,
                "services": [
                    {"name": "back", "spanCount": 2, "errorSpanCount": 1},
                    {"name": "front", "spanCount": 1},
                    {"name": "late", "spanCount": 1},
                ],
            })
        );
    }

    #[test]
    fn a_server_span_under_its_client_s_id_is_no_second_root() {
        let kind = |kind, row| SpanRow { kind: Some(SmolStr::new(kind)), ..row };
        let rows =
            vec![kind("server", row("1", None, "back", 5)), kind("client", row("1", None, "front", 10))];
        let summary = summary(TraceId::of_bytes(&[0xab]), rows);
        assert_eq!(summary.root_service_name, "front");
        assert_eq!(summary.orphan_span_count, 0);
    }
}
