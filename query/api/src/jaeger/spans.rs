//! Ids → whole traces, as rows and as OTLP.

use std::collections::{HashMap, HashSet};

use weir_model::tables::SPANS;
use weir_model::{Row, SmolStr, SpanRow, Table};
use weir_otlp::proto::common::v1::any_value::Value;
use weir_otlp::proto::common::v1::{AnyValue, KeyValue};
use weir_otlp::proto::trace::v1::{ResourceSpans, Span};
use weir_otlp::rows::NO_SERVICE;
use weir_query::{Engine, TimeRange};

use super::adjust;
use super::archive;
use super::failure::Failure;
use super::search::Found;
use super::trace_id::TraceId;
use crate::times;

/// How far a trace's spans may start from the one that a search found, or from the range that a link names. A trace
/// that lasts longer is shown in part on the search page, and whole when it is opened: by its id alone.
pub(crate) const AROUND_NS: i64 = 3_600_000_000_000;
/// How far nearly every trace goes. Whose spans point beyond (a parent that isn't there, no root, an end that is later) is
/// looked for as far as [`AROUND_NS`]; on the search page, what starts later than that and is pointed at by nothing is missing.
const NEAR_NS: i64 = 120_000_000_000;

/// Spans of one answer with all they carry, some 2 kB each.
pub(crate) const MOST_SPANS: usize = 250_000;

/// One trace in OTLP's form: a group a resource and scope, spans by their start.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    pub(crate) groups: Vec<ResourceSpans>,
}

/// One trace that was asked for by its id, and whether [`MOST_SPANS`] cut it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) trace: Trace,
    pub(crate) is_cut: bool,
}

impl Asked {
    /// What is to be said of the trace as a whole.
    pub(crate) fn warning(&self) -> Option<String> {
        self.is_cut.then(|| format!("only {MOST_SPANS} spans of this trace are shown"))
    }

    /// The trace, whose first span says so where others are missing: for forms in which nothing else can.
    pub(crate) fn said_if_cut(mut self) -> Trace {
        let warning = self.warning();
        let mut spans = self.trace.groups.iter_mut().flat_map(|group| &mut group.scope_spans);
        if let (Some(warning), Some(span)) = (warning, spans.find_map(|scope| scope.spans.first_mut())) {
            adjust::warn(span, warning);
        }
        self.trace
    }
}

/// Traces, and whether [`MOST_SPANS`] cut them.
#[derive(Debug)]
pub(crate) struct Traces {
    pub(crate) traces: Vec<Trace>,
    pub(crate) is_cut: bool,
}

impl Traces {
    /// All of them, for forms that have no place to say that something is missing.
    pub(crate) fn whole(self) -> Result<Vec<Trace>, Failure> {
        if self.is_cut {
            return Err(Failure::internal(format!(
                "the traces have more than {MOST_SPANS} spans: lower the limit or narrow the search"
            )));
        }
        Ok(self.traces)
    }
}

/// The spans of what a search found, in any order, and whether there were more than `most`. `columns` have at least those
/// that tell where a trace ends.
pub(crate) async fn found_rows(
    engine: &Engine,
    columns: &str,
    found: &Found,
    most: usize,
) -> Result<(Vec<SpanRow>, bool), Failure> {
    let near = found.around(NEAR_NS);
    let (near_rows, is_cut) = rows(engine, columns, &found.ids, &near, most).await?;
    if is_cut {
        return Ok((near_rows, is_cut));
    }
    let mut by_trace = per_trace(near_rows);
    let points_beyond =
        |id: &TraceId| by_trace.get(id.long().as_str()).is_none_or(|rows| !is_whole(rows, &near));
    let far: Vec<TraceId> = found.ids.iter().copied().filter(points_beyond).collect();
    for id in &far {
        by_trace.remove(id.long().as_str());
    }
    let mut all: Vec<SpanRow> = by_trace.into_values().flatten().collect();
    let (far_rows, is_cut) =
        rows(engine, columns, &far, &found.around(AROUND_NS), most.saturating_sub(all.len())).await?;
    all.extend(far_rows);
    Ok((all, is_cut))
}

/// Whether nothing in a trace's spans points out of the one of `ranges` that it lies in.
fn is_whole(rows: &[SpanRow], ranges: &[TimeRange]) -> bool {
    let ids: HashSet<_> = rows.iter().map(|row| row.span_id.as_ref()).collect();
    let first = rows.iter().map(|row| row.time).min().unwrap_or_default();
    let last = rows.iter().map(|row| row.end_time.unwrap_or(row.time)).max().unwrap_or_default();
    rows.iter().any(|row| row.parent_span_id.is_none())
        && rows.iter().all(|row| row.parent_span_id.is_none() || ids.contains(&row.parent_span_id.as_ref()))
        && ranges.iter().any(|range| range.from < first && last < range.until)
}

/// The spans of those traces, in any order, and whether there were more than `most`. Files outside of `ranges` are
/// not opened (where there are none, all are); of the others, those whose bloom filter knows no such id are not read.
pub(crate) async fn rows(
    engine: &Engine,
    columns: &str,
    ids: &[TraceId],
    ranges: &[TimeRange],
    most: usize,
) -> Result<(Vec<SpanRow>, bool), Failure> {
    rows_of(engine, &SPANS, columns, ids, ranges, most).await
}

/// The same of `spans`, or of what is archived.
pub(crate) async fn rows_of(
    engine: &Engine,
    table: &Table,
    columns: &str,
    ids: &[TraceId],
    ranges: &[TimeRange],
    most: usize,
) -> Result<(Vec<SpanRow>, bool), Failure> {
    if ids.is_empty() {
        return Ok((Vec::new(), false));
    }
    // Written by us out of numbers, so that nothing in them ends the literal.
    let list: Vec<String> = ids.iter().map(|id| format!("'{}'", id.long())).collect();
    let times: Vec<String> = ranges.iter().map(|range| format!("({})", range.condition())).collect();
    let time = if times.is_empty() { String::new() } else { format!(" AND ({})", times.join(" OR ")) };
    let (table, list) = (table.name, list.join(", "));
    let sql = format!("SELECT {columns} FROM {table} WHERE trace_id IN ({list}){time}");
    let answer = engine.collect(&sql, most).await?;
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let read = SpanRow::from_batch(batch);
        rows.extend(read.map_err(|err| Failure::internal(format!("reading spans: {err}")))?);
    }
    Ok((rows, answer.is_truncated))
}

/// The traces of those ids that exist, or that are archived, in that order; adjusted as Jaeger does unless they are to be `raw`.
pub(crate) async fn traces(
    engine: &Engine,
    ids: &[TraceId],
    range: Option<TimeRange>,
    is_raw: bool,
) -> Result<Traces, Failure> {
    let rows = archive::rows_and_archived(engine, ids, range.as_slice()).await?;
    assembled(ids.to_vec(), rows, is_raw).await
}

/// The traces that a search found, in its order; adjusted unless they are to be `raw`.
pub(crate) async fn found(engine: &Engine, found: &Found, is_raw: bool) -> Result<Traces, Failure> {
    let rows = found_rows(engine, "*", found, MOST_SPANS).await?;
    assembled(found.ids.clone(), rows, is_raw).await
}

async fn assembled(
    ids: Vec<TraceId>,
    (rows, is_cut): (Vec<SpanRow>, bool),
    is_raw: bool,
) -> Result<Traces, Failure> {
    let traces = super::failure::computed(move || {
        let mut by_trace = per_trace(rows);
        let mut traces = Vec::new();
        for id in ids {
            let Some(rows) = by_trace.remove(id.long().as_str()) else { continue };
            let mut groups = otlp(rows);
            if !is_raw {
                adjust::adjust(&mut groups);
            }
            traces.push(Trace { id, groups });
        }
        traces
    });
    Ok(Traces { traces: traces.await?, is_cut })
}

/// One trace. `hint` is where a link says that it lies; a hint that leads nowhere is ignored.
pub(crate) async fn trace(
    engine: &Engine,
    id: TraceId,
    hint: Option<TimeRange>,
    is_raw: bool,
) -> Result<Option<Asked>, Failure> {
    if id.is_zero() {
        return Ok(None);
    }
    let mut found = match hint {
        Some(hint) => traces(engine, &[id], Some(hint.widened(AROUND_NS)), is_raw).await?,
        None => traces(engine, &[id], None, is_raw).await?,
    };
    if found.traces.is_empty() && hint.is_some() {
        found = traces(engine, &[id], None, is_raw).await?;
    }
    Ok(found.traces.pop().map(|trace| Asked { trace, is_cut: found.is_cut }))
}

/// Rows apart by their trace.
pub(crate) fn per_trace(rows: Vec<SpanRow>) -> HashMap<SmolStr, Vec<SpanRow>> {
    let mut by_trace: HashMap<SmolStr, Vec<SpanRow>> = HashMap::new();
    for row in rows {
        if let Some(id) = row.trace_id.clone() {
            by_trace.entry(id).or_default().push(row);
        }
    }
    by_trace
}

/// One trace's rows as OTLP.
fn otlp(mut rows: Vec<SpanRow>) -> Vec<ResourceSpans> {
    rows.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.span_id.cmp(&b.span_id)));
    for row in &mut rows {
        add_confidence(row);
    }
    let mut groups = weir_otlp::resource_spans(&grouped(rows));
    for group in &mut groups {
        name_service(group);
        for span in group.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
            correct_end(span);
        }
    }
    groups
}

/// Spans of one resource and scope side by side, so that they share them; groups by their first span.
fn grouped(rows: Vec<SpanRow>) -> Vec<SpanRow> {
    let mut places = HashMap::new();
    let places: Vec<usize> = rows
        .iter()
        .map(|row| {
            let next = places.len();
            let resource = (&row.resource_attributes, &row.resource_attribute_types, &row.otlp_envelope);
            let scope =
                (&row.scope_name, &row.scope_version, &row.scope_attributes, &row.scope_attribute_types);
            *places.entry((resource, scope)).or_insert(next)
        })
        .collect();
    let mut placed: Vec<(usize, SpanRow)> = places.into_iter().zip(rows).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, row)| row).collect()
}

/// How sure a stitched span's link to its parent is has a column of its own; readers of traces see attributes only.
fn add_confidence(row: &mut SpanRow) {
    const KEY: &str = "weir.link.confidence";
    let Some(confidence) = row.confidence else { return };
    if row.parent_span_id.is_none() || row.attributes.iter().any(|(key, _)| key == KEY) {
        return;
    }
    // One letter an attribute: where there are fewer, the rest are strings.
    let mut letters = row.attribute_types.as_deref().unwrap_or_default().to_owned();
    while letters.chars().count() < row.attributes.len() {
        letters.push('s');
    }
    letters.push('d');
    row.attributes.push((SmolStr::new_static(KEY), SmolStr::new(confidence.to_string())));
    row.attribute_types = Some(SmolStr::new(letters));
}

/// A resource without a service gets the name that it is stored and found under.
fn name_service(group: &mut ResourceSpans) {
    let resource = group.resource.get_or_insert_default();
    let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
    let value = name.and_then(|attribute| attribute.value.as_ref()).and_then(|value| value.value.as_ref());
    if matches!(value, Some(Value::StringValue(name)) if !name.is_empty()) {
        return;
    }
    resource.attributes.retain(|attribute| attribute.key != "service.name");
    let value = Some(AnyValue { value: Some(Value::StringValue(NO_SERVICE.to_string())) });
    resource.attributes.push(KeyValue { key: "service.name".to_owned(), value, key_strindex: 0 });
}

/// A span that ends before it starts would be drawn as one of 600 000 years.
fn correct_end(span: &mut Span) {
    if span.end_time_unix_nano >= span.start_time_unix_nano {
        return;
    }
    let [end, start] =
        [span.end_time_unix_nano, span.start_time_unix_nano].map(|time| times::text(time as i64));
    span.end_time_unix_nano = span.start_time_unix_nano;
    adjust::warn(
        span,
        format!(
            "Negative duration detected, sanitizing end timestamp. Original end timestamp: {end}, adjusted to: {start}"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time: i64, service: &str, span: &str) -> SpanRow {
        SpanRow {
            time,
            end_time: Some(time + 10),
            trace_id: Some(SmolStr::new("0".repeat(31) + "1")),
            span_id: Some(SmolStr::new(span)),
            service: Some(SmolStr::new(service)),
            resource_attributes: vec![("service.name".into(), service.into())],
            resource_attribute_types: Some("s".into()),
            ..SpanRow::default()
        }
    }

    #[test]
    fn spans_of_a_resource_share_it_in_the_order_of_their_start() {
        let rows = vec![
            row(30, "a", "0000000000000003"),
            row(20, "b", "0000000000000002"),
            row(10, "a", "0000000000000001"),
        ];
        let groups = otlp(rows);
        let starts: Vec<Vec<u64>> = groups
            .iter()
            .map(|group| group.scope_spans[0].spans.iter().map(|span| span.start_time_unix_nano).collect())
            .collect();
        assert_eq!(starts, [vec![10, 30], vec![20]]);
    }

    #[test]
    fn a_stitched_span_says_how_sure_its_parent_is() {
        let mut stitched = row(1, "a", "0000000000000001");
        stitched.parent_span_id = Some("0000000000000002".into());
        stitched.confidence = Some(0.75);
        let groups = otlp(vec![stitched]);
        let attribute = &groups[0].scope_spans[0].spans[0].attributes[0];
        assert_eq!(attribute.key, "weir.link.confidence");
        assert_eq!(attribute.value, Some(AnyValue { value: Some(Value::DoubleValue(0.75)) }));
    }

    #[test]
    fn a_span_that_ends_before_it_starts_says_so() {
        let mut torn = row(1_000_000_000, "a", "0000000000000001");
        torn.end_time = Some(0);
        let groups = otlp(vec![torn]);
        let span = &groups[0].scope_spans[0].spans[0];
        assert_eq!(span.end_time_unix_nano, span.start_time_unix_nano);
        assert_eq!(
            adjust::warnings(span),
            ["Negative duration detected, sanitizing end timestamp. Original end timestamp: \
                 1970-01-01T00:00:00.000000000Z, adjusted to: 1970-01-01T00:00:01.000000000Z"]
        );
    }

    #[test]
    fn a_resource_without_a_service_has_the_name_it_is_found_under() {
        let mut nameless = row(1, "a", "0000000000000001");
        nameless.resource_attributes = vec![("service.name".into(), "7".into())];
        nameless.resource_attribute_types = Some("i".into());
        let groups = otlp(vec![nameless]);
        let attributes = &groups[0].resource.as_ref().expect("a resource").attributes;
        assert_eq!(attributes.len(), 1);
        assert_eq!(
            attributes[0].value,
            Some(AnyValue { value: Some(Value::StringValue("missing-service-name".to_owned())) })
        );
    }
}
