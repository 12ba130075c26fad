//! OTLP → v1's JSON of a trace, as jaeger-ui and Grafana read it.
//!
//! A span's tags: scope, attributes, kind, status, error, status message, tracestate. Its references: the parent first
//! (readers take the first `CHILD_OF`), then its links. Times are whole microseconds, since Grafana's decoder takes
//! nothing else. Arrays and maps become JSON in a string; span flags, scope attributes and link attributes have no
//! place in this form.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use weir_otlp::proto::common::v1::any_value::Value;
use weir_otlp::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use weir_otlp::proto::resource::v1::Resource;
use weir_otlp::proto::trace::v1::span::{Event, Link, SpanKind};
use weir_otlp::proto::trace::v1::status::StatusCode;
use weir_otlp::proto::trace::v1::{self as otlp, ResourceSpans};
use weir_otlp::rows::NO_SERVICE;

use super::adjust::{self, WARNINGS};
use super::trace_id::TraceId;

/// 2^53 − 1: the largest integer that JavaScript keeps.
const SAFE: i64 = (1 << 53) - 1;

/// A trace.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Trace {
    #[serde(rename = "traceID")]
    id: String,
    spans: Vec<Span>,
    processes: BTreeMap<String, Process>,
    warnings: Option<Vec<String>>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    id: String,
    operation_name: String,
    references: Vec<Reference>,
    /// µs since the epoch.
    start_time: u64,
    /// µs.
    duration: u64,
    tags: Vec<Tag>,
    logs: Vec<Log>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<String>>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    ref_type: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    service_name: String,
    tags: Vec<Tag>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Log {
    /// µs since the epoch.
    timestamp: u64,
    fields: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Tag {
    key: String,
    #[serde(rename = "type")]
    kind: &'static str,
    value: TagValue,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum TagValue {
    Text(String),
    Bool(bool),
    Int(i64),
    Float(f64),
}

impl Trace {
    /// Says something of the whole trace.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.get_or_insert_default().push(warning);
    }
}

/// The traces of those spans, in the order of their first spans; each trace's spans by their start.
pub(crate) fn traces(groups: &[ResourceSpans]) -> Vec<Trace> {
    let mut places: HashMap<TraceId, usize> = HashMap::new();
    let mut traces: Vec<(TraceId, Vec<Found>)> = Vec::new();
    for group in groups {
        for scope_group in &group.scope_spans {
            for span in &scope_group.spans {
                let id = TraceId::of_bytes(&span.trace_id);
                let place = *places.entry(id).or_insert_with(|| {
                    traces.push((id, Vec::new()));
                    traces.len() - 1
                });
                let (resource, scope) = (group.resource.as_ref(), scope_group.scope.as_ref());
                traces[place].1.push(Found { resource, scope, span });
            }
        }
    }
    traces.into_iter().map(|(id, spans)| trace(id, spans)).collect()
}

/// A span with what it is told of by.
struct Found<'a> {
    resource: Option<&'a Resource>,
    scope: Option<&'a InstrumentationScope>,
    span: &'a otlp::Span,
}

fn trace(id: TraceId, mut found: Vec<Found<'_>>) -> Trace {
    found.sort_by_key(|found| found.span.start_time_unix_nano);
    let mut processes: Vec<Process> = Vec::new();
    // Spans of a group share their resource: compare its contents once.
    let mut known: HashMap<Option<*const Resource>, usize> = HashMap::new();
    let spans = found
        .into_iter()
        .map(|Found { resource, scope, span }| {
            let place = *known.entry(resource.map(std::ptr::from_ref)).or_insert_with(|| {
                let process = process(resource);
                processes.iter().position(|known| *known == process).unwrap_or_else(|| {
                    processes.push(process);
                    processes.len() - 1
                })
            });
            self::span(id, scope, span, format!("p{}", place + 1))
        })
        .collect();
    let named =
        processes.into_iter().enumerate().map(|(place, process)| (format!("p{}", place + 1), process));
    Trace { id: id.short(), spans, processes: named.collect(), warnings: None }
}

fn process(resource: Option<&Resource>) -> Process {
    let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    let name = attributes.iter().find(|attribute| attribute.key == "service.name").map(tag);
    let service_name = match name.map(|tag| tag.value) {
        Some(TagValue::Text(name)) if !name.is_empty() => name,
        _ => NO_SERVICE.to_string(),
    };
    let tags = attributes.iter().filter(|attribute| attribute.key != "service.name").map(tag).collect();
    Process { service_name, tags }
}

fn span(
    trace_id: TraceId,
    scope: Option<&InstrumentationScope>,
    span: &otlp::Span,
    process_id: String,
) -> Span {
    let warnings = adjust::warnings(span);
    Span {
        trace_id: trace_id.short(),
        id: span_id(&span.span_id),
        operation_name: span.name.clone(),
        references: references(trace_id, span),
        start_time: span.start_time_unix_nano / 1_000,
        duration: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1_000,
        tags: tags(scope, span),
        logs: span.events.iter().map(log).collect(),
        process_id,
        warnings: (!warnings.is_empty()).then_some(warnings),
    }
}

/// The parent is always there: where a link names it too, Jaeger would call it `FOLLOWS_FROM`, and Grafana then sees
/// no parent.
fn references(trace_id: TraceId, span: &otlp::Span) -> Vec<Reference> {
    let has_parent = span.parent_span_id.iter().any(|&byte| byte != 0);
    let parent = has_parent.then(|| Reference {
        ref_type: "CHILD_OF",
        trace_id: trace_id.short(),
        span_id: span_id(&span.parent_span_id),
    });
    let links = span.links.iter().map(|link| Reference {
        ref_type: ref_type(link),
        trace_id: TraceId::of_bytes(&link.trace_id).short(),
        span_id: span_id(&link.span_id),
    });
    let mut references: Vec<Reference> = Vec::new();
    for reference in parent.into_iter().chain(links) {
        if !references.contains(&reference) {
            references.push(reference);
        }
    }
    references
}

/// What a link means, where a bridge from `OpenTracing` says so.
fn ref_type(link: &Link) -> &'static str {
    let said = link.attributes.iter().find(|attribute| attribute.key == "opentracing.ref_type").map(tag);
    match said.map(|tag| tag.value) {
        Some(TagValue::Text(kind)) if kind == "child_of" => "CHILD_OF",
        _ => "FOLLOWS_FROM",
    }
}

fn tags(scope: Option<&InstrumentationScope>, span: &otlp::Span) -> Vec<Tag> {
    let mut tags = Vec::with_capacity(span.attributes.len() + 6);
    if let Some(scope) = scope {
        tags.extend(filled("otel.scope.name", &scope.name));
        tags.extend(filled("otel.scope.version", &scope.version));
    }
    tags.extend(span.attributes.iter().filter(|attribute| attribute.key != WARNINGS).map(tag));
    let kind = match SpanKind::try_from(span.kind) {
        Ok(SpanKind::Internal) => "internal",
        Ok(SpanKind::Server) => "server",
        Ok(SpanKind::Client) => "client",
        Ok(SpanKind::Producer) => "producer",
        Ok(SpanKind::Consumer) => "consumer",
        Ok(SpanKind::Unspecified) | Err(_) => "",
    };
    tags.extend(filled("span.kind", kind));
    let status = span.status.clone().unwrap_or_default();
    if status.code == StatusCode::Ok as i32 {
        tags.extend(filled("otel.status_code", "OK"));
    }
    if status.code == StatusCode::Error as i32 {
        tags.extend(filled("otel.status_code", "ERROR"));
        tags.push(Tag { key: "error".to_owned(), kind: "bool", value: TagValue::Bool(true) });
    }
    tags.extend(filled("otel.status_description", &status.message));
    tags.extend(filled("w3c.tracestate", &span.trace_state));
    tags
}

fn filled(key: &str, value: &str) -> Option<Tag> {
    (!value.is_empty()).then(|| Tag {
        key: key.to_owned(),
        kind: "string",
        value: TagValue::Text(value.to_owned()),
    })
}

fn log(event: &Event) -> Log {
    // An attribute of that name says it already.
    let has_own = event.attributes.iter().any(|attribute| attribute.key == "event");
    let name = filled("event", &event.name).filter(|_| !has_own);
    let fields = name.into_iter().chain(event.attributes.iter().map(tag)).collect();
    Log { timestamp: event.time_unix_nano / 1_000, fields }
}

fn tag(attribute: &KeyValue) -> Tag {
    let text = |text: String| ("string", TagValue::Text(text));
    let (kind, value) = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(value)) => text(value.clone()),
        Some(Value::BoolValue(claim)) => ("bool", TagValue::Bool(*claim)),
        Some(Value::IntValue(number)) if number.unsigned_abs() > SAFE as u64 => {
            ("int64", TagValue::Text(number.to_string()))
        }
        Some(Value::IntValue(number)) => ("int64", TagValue::Int(*number)),
        Some(Value::DoubleValue(number)) if !number.is_finite() => {
            // JSON has no such number.
            ("float64", TagValue::Text(number.to_string()))
        }
        Some(Value::DoubleValue(number)) => ("float64", TagValue::Float(*number)),
        Some(Value::BytesValue(bytes)) => ("binary", TagValue::Text(STANDARD.encode(bytes))),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => {
            text(plain(attribute.value.as_ref()).to_string())
        }
        Some(Value::StringValueStrindex(_)) | None => text(String::new()),
    };
    Tag { key: attribute.key.clone(), kind, value }
}

/// A value as plain JSON, without its types.
fn plain(value: Option<&AnyValue>) -> Json {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => Json::String(text.clone()),
        Some(Value::BoolValue(claim)) => Json::Bool(*claim),
        Some(Value::IntValue(number)) => (*number).into(),
        Some(Value::DoubleValue(number)) if number.fract() == 0.0 && number.abs() < SAFE as f64 => {
            (*number as i64).into()
        }
        Some(Value::DoubleValue(number)) => {
            serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number)
        }
        Some(Value::BytesValue(bytes)) => Json::String(STANDARD.encode(bytes)),
        Some(Value::ArrayValue(array)) => array.values.iter().map(|value| plain(Some(value))).collect(),
        Some(Value::KvlistValue(map)) => {
            let entry = |entry: &KeyValue| (entry.key.clone(), plain(entry.value.as_ref()));
            Json::Object(map.values.iter().map(entry).collect::<Map<_, _>>())
        }
        Some(Value::StringValueStrindex(_)) | None => Json::Null,
    }
}

/// 16 hex digits.
fn span_id(bytes: &[u8]) -> String {
    format!("{:0>16}", hex::encode(bytes))
}

#[cfg(test)]
mod tests;
