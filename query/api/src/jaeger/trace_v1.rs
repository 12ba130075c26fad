//! Jaeger's form of a trace → v1's JSON, as jaeger-ui and Grafana read it. Times are whole microseconds, since Grafana's
//! decoder takes nothing else; integers that JavaScript would round are texts.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_types::{Duration, Timestamp};
use serde::Serialize;
use weir_otlp::proto::trace::v1::ResourceSpans;

use super::grpc::proto::api_v2::{self, KeyValue, SpanRefType, ValueType};
use super::model::{self, SAFE};
use super::trace_id::TraceId;

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
    model::traces(groups).into_iter().map(trace).collect()
}

fn trace(trace: model::Trace) -> Trace {
    let name = |place: usize| format!("p{}", place + 1);
    let id = trace.id.short();
    let spans = trace.spans.into_iter().map(|(process, span)| self::span(&id, span, name(process))).collect();
    let processes = trace.processes.into_iter().enumerate().map(|(place, process)| {
        (name(place), Process { service_name: process.service_name, tags: tags(process.tags) })
    });
    Trace { processes: processes.collect(), spans, id, warnings: None }
}

fn span(trace_id: &str, span: api_v2::Span, process_id: String) -> Span {
    let log = |log: api_v2::Log| Log { timestamp: since_epoch(log.timestamp), fields: tags(log.fields) };
    Span {
        trace_id: trace_id.to_owned(),
        id: hex::encode(span.span_id),
        operation_name: span.operation_name,
        references: span.references.into_iter().map(reference).collect(),
        start_time: since_epoch(span.start_time),
        duration: length(span.duration),
        tags: tags(span.tags),
        logs: span.logs.into_iter().map(log).collect(),
        process_id,
        warnings: (!span.warnings.is_empty()).then_some(span.warnings),
    }
}

fn reference(reference: api_v2::SpanRef) -> Reference {
    let ref_type = match reference.ref_type() {
        SpanRefType::ChildOf => "CHILD_OF",
        SpanRefType::FollowsFrom => "FOLLOWS_FROM",
    };
    let trace_id = TraceId::of_bytes(&reference.trace_id).short();
    Reference { ref_type, trace_id, span_id: hex::encode(reference.span_id) }
}

fn tags(tags: Vec<KeyValue>) -> Vec<Tag> {
    tags.into_iter().map(tag).collect()
}

fn tag(tag: KeyValue) -> Tag {
    let (kind, value) = match tag.v_type() {
        ValueType::String => ("string", TagValue::Text(tag.v_str)),
        ValueType::Bool => ("bool", TagValue::Bool(tag.v_bool)),
        ValueType::Int64 if tag.v_int64.unsigned_abs() > SAFE as u64 => {
            ("int64", TagValue::Text(tag.v_int64.to_string()))
        }
        ValueType::Int64 => ("int64", TagValue::Int(tag.v_int64)),
        // JSON has no such number.
        ValueType::Float64 if !tag.v_float64.is_finite() => {
            ("float64", TagValue::Text(tag.v_float64.to_string()))
        }
        ValueType::Float64 => ("float64", TagValue::Float(tag.v_float64)),
        ValueType::Binary => ("binary", TagValue::Text(STANDARD.encode(tag.v_binary))),
    };
    Tag { key: tag.key, kind, value }
}

/// µs.
fn since_epoch(time: Option<Timestamp>) -> u64 {
    time.map_or(0, |time| microseconds(time.seconds, time.nanos))
}

/// µs.
fn length(duration: Option<Duration>) -> u64 {
    duration.map_or(0, |duration| microseconds(duration.seconds, duration.nanos))
}

fn microseconds(seconds: i64, nanos: i32) -> u64 {
    seconds.max(0) as u64 * 1_000_000 + nanos.max(0) as u64 / 1_000
}

#[cfg(test)]
mod tests;
