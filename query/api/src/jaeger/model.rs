//! OTLP → Jaeger's own form of a trace (`jaeger.api_v2`), which gRPC sends as it is and v1 as JSON (`trace_v1.rs`).
//!
//! A span's tags: scope, attributes, kind, status, error, status message, tracestate. Its references: the parent first
//! (readers take the first `CHILD_OF`), then its links. Arrays and maps become JSON in a string; span flags, scope
//! attributes and link attributes have no place in this form.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json};
use weir_otlp::proto::common::v1::any_value::Value;
use weir_otlp::proto::common::v1::{self as common, AnyValue, InstrumentationScope};
use weir_otlp::proto::resource::v1::Resource;
use weir_otlp::proto::trace::v1::span::{Event, Link, SpanKind};
use weir_otlp::proto::trace::v1::status::StatusCode;
use weir_otlp::proto::trace::v1::{self as otlp, ResourceSpans};
use weir_otlp::rows::NO_SERVICE;

use super::adjust::{self, WARNINGS};
use super::grpc::proto::api_v2::{KeyValue, Log, Process, Span, SpanRef, SpanRefType, ValueType};
use super::grpc::proto::{duration, timestamp};
use super::trace_id::TraceId;

/// 2^53 − 1: the largest integer that JavaScript keeps.
pub(super) const SAFE: i64 = (1 << 53) - 1;

/// A trace.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) id: TraceId,
    /// In the order of their first spans.
    pub(super) processes: Vec<Process>,
    /// Each with its process' place, by their start; their own field for it is empty.
    pub(super) spans: Vec<(usize, Span)>,
}

/// The traces of those spans, in the order of their first spans; each trace's spans by their start.
pub(super) fn traces(groups: &[ResourceSpans]) -> Vec<Trace> {
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
            (place, self::span(id, scope, span))
        })
        .collect();
    Trace { id, processes, spans }
}

fn process(resource: Option<&Resource>) -> Process {
    let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
    let name = attributes.iter().find(|attribute| attribute.key == "service.name").map(tag);
    let service_name = match name {
        Some(tag) if !tag.v_str.is_empty() => tag.v_str,
        _ => NO_SERVICE.to_string(),
    };
    let tags = attributes.iter().filter(|attribute| attribute.key != "service.name").map(tag).collect();
    Process { service_name, tags }
}

fn span(id: TraceId, scope: Option<&InstrumentationScope>, span: &otlp::Span) -> Span {
    Span {
        trace_id: id.bytes(),
        span_id: span_id(&span.span_id),
        operation_name: span.name.clone(),
        references: references(id, span),
        flags: 0,
        start_time: Some(timestamp(span.start_time_unix_nano)),
        duration: Some(duration(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano))),
        tags: tags(scope, span),
        logs: span.events.iter().map(log).collect(),
        process: None,
        process_id: String::new(),
        warnings: adjust::warnings(span),
    }
}

/// The parent is always there: where a link names it too, Jaeger would call it `FOLLOWS_FROM`, and Grafana then sees
/// no parent.
fn references(id: TraceId, span: &otlp::Span) -> Vec<SpanRef> {
    let has_parent = span.parent_span_id.iter().any(|&byte| byte != 0);
    let parent = has_parent.then(|| SpanRef {
        trace_id: id.bytes(),
        span_id: span_id(&span.parent_span_id),
        ref_type: SpanRefType::ChildOf.into(),
    });
    let links = span.links.iter().map(|link| SpanRef {
        trace_id: TraceId::of_bytes(&link.trace_id).bytes(),
        span_id: span_id(&link.span_id),
        ref_type: ref_type(link).into(),
    });
    let mut references: Vec<SpanRef> = Vec::new();
    for reference in parent.into_iter().chain(links) {
        if !references.contains(&reference) {
            references.push(reference);
        }
    }
    references
}

/// What a link means, where a bridge from `OpenTracing` says so.
fn ref_type(link: &Link) -> SpanRefType {
    let said = link.attributes.iter().find(|attribute| attribute.key == "opentracing.ref_type").map(tag);
    match said {
        Some(tag) if tag.v_str == "child_of" => SpanRefType::ChildOf,
        _ => SpanRefType::FollowsFrom,
    }
}

fn tags(scope: Option<&InstrumentationScope>, span: &otlp::Span) -> Vec<KeyValue> {
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
        tags.push(KeyValue { v_bool: true, ..named("error", ValueType::Bool) });
    }
    tags.extend(filled("otel.status_description", &status.message));
    tags.extend(filled("w3c.tracestate", &span.trace_state));
    tags
}

fn named(key: &str, kind: ValueType) -> KeyValue {
    KeyValue { key: key.to_owned(), v_type: kind.into(), ..KeyValue::default() }
}

fn filled(key: &str, value: &str) -> Option<KeyValue> {
    (!value.is_empty()).then(|| KeyValue { v_str: value.to_owned(), ..named(key, ValueType::String) })
}

fn log(event: &Event) -> Log {
    // An attribute of that name says it already.
    let has_own = event.attributes.iter().any(|attribute| attribute.key == "event");
    let name = filled("event", &event.name).filter(|_| !has_own);
    let fields = name.into_iter().chain(event.attributes.iter().map(tag)).collect();
    Log { timestamp: Some(timestamp(event.time_unix_nano)), fields }
}

fn tag(attribute: &common::KeyValue) -> KeyValue {
    let named = |kind| named(&attribute.key, kind);
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => KeyValue { v_str: text.clone(), ..named(ValueType::String) },
        Some(Value::BoolValue(claim)) => KeyValue { v_bool: *claim, ..named(ValueType::Bool) },
        Some(Value::IntValue(number)) => KeyValue { v_int64: *number, ..named(ValueType::Int64) },
        Some(Value::DoubleValue(number)) => KeyValue { v_float64: *number, ..named(ValueType::Float64) },
        Some(Value::BytesValue(bytes)) => KeyValue { v_binary: bytes.clone(), ..named(ValueType::Binary) },
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => {
            let json = plain(attribute.value.as_ref()).to_string();
            KeyValue { v_str: json, ..named(ValueType::String) }
        }
        Some(Value::StringValueStrindex(_)) | None => named(ValueType::String),
    }
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
            let entry = |entry: &common::KeyValue| (entry.key.clone(), plain(entry.value.as_ref()));
            Json::Object(map.values.iter().map(entry).collect::<Map<_, _>>())
        }
        Some(Value::StringValueStrindex(_)) | None => Json::Null,
    }
}

/// 8 bytes.
fn span_id(bytes: &[u8]) -> Vec<u8> {
    let mut id = vec![0; 8_usize.saturating_sub(bytes.len())];
    id.extend_from_slice(bytes);
    id
}
