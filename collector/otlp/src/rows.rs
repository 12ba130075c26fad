//! OTLP → rows of `spans`, and back.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use weir_model::{SmolStr, SpanRow, ToSmolStr, format_smolstr};

use crate::json;
use crate::proto::common::v1::any_value::Value;
use crate::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use crate::proto::resource::v1::Resource;
use crate::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use crate::value::{from_columns, to_columns};

/// The service of spans whose resource doesn't name one (the word that Jaeger uses, so that people find it).
pub const NO_SERVICE: SmolStr = SmolStr::new_static("missing-service-name");

/// How deep arrays and maps may be nested within a value. They are kept as JSON, which readers (our own too) follow
/// to 128 levels at most, and each level here is up to four there.
pub const MAX_DEPTH: usize = 24;

/// Spans that can't be stored, because nothing would find or read them again. The sender hears of it (partial
/// success); sending them again can't help.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many, by reason as counters name it.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Where the first is and what is wrong with it, for a person; empty where there are none.
    pub first: String,
}

impl Refused {
    /// How many in all.
    pub fn spans(&self) -> u64 {
        self.reasons.values().sum()
    }

    fn add(&mut self, place: [usize; 3], span: &Span, fault: &Fault) {
        if self.reasons.is_empty() {
            let [resource, scope, number] = place;
            self.first = format!(
                "resourceSpans[{resource}].scopeSpans[{scope}].spans[{number}] ({:?}): {}",
                span.name, fault.text
            );
        }
        *self.reasons.entry(fault.counter).or_default() += 1;
    }
}

/// What can be wrong with a span.
struct Fault {
    counter: &'static str,
    text: &'static str,
}

const BAD_TRACE_ID: Fault =
    Fault { counter: "bad_trace_id", text: "trace_id must be 16 bytes, not all of them zero" };
const BAD_SPAN_ID: Fault =
    Fault { counter: "bad_span_id", text: "span_id must be 8 bytes, not all of them zero" };
const BAD_PARENT: Fault =
    Fault { counter: "bad_parent_span_id", text: "parent_span_id must be 8 bytes, or none for a root" };
const BAD_TIME: Fault = Fault {
    counter: "bad_time",
    text: "start_time_unix_nano and end_time_unix_nano must not be past the year 2262",
};
const TOO_DEEP: Fault =
    Fault { counter: "too_deep", text: "arrays and maps within a value may be nested 24 levels deep" };

/// The rows of those spans, in order. `node` is who received them.
pub fn rows_of(resource_spans: &[ResourceSpans], node: &SmolStr) -> (Vec<SpanRow>, Refused) {
    let mut rows = Vec::new();
    let mut refused = Refused::default();
    for (group_place, group) in resource_spans.iter().enumerate() {
        let resource = group.resource.clone().unwrap_or_default();
        let is_resource_too_deep = is_too_deep(&resource.attributes);
        let (resource_attributes, resource_attribute_types) = to_columns(&resource.attributes);
        let of_resource = SpanRow {
            service: Some(service_of(&resource)),
            resource_attributes,
            resource_attribute_types,
            source: Some(SmolStr::new_static("otlp")),
            node: Some(node.clone()),
            ..SpanRow::default()
        };
        for (scope_place, scope_group) in group.scope_spans.iter().enumerate() {
            let scope = scope_group.scope.clone().unwrap_or_default();
            let is_too_deep = is_resource_too_deep || is_too_deep(&scope.attributes);
            let (scope_attributes, scope_attribute_types) = to_columns(&scope.attributes);
            let of_scope = SpanRow {
                otlp_envelope: envelope(group, &resource, scope_group, &scope),
                scope_name: filled(&scope.name),
                scope_version: filled(&scope.version),
                scope_attributes,
                scope_attribute_types,
                ..of_resource.clone()
            };
            for (place, span) in scope_group.spans.iter().enumerate() {
                match if is_too_deep { Err(TOO_DEEP) } else { row(span, &of_scope) } {
                    Ok(row) => rows.push(row),
                    Err(fault) => refused.add([group_place, scope_place, place], span, &fault),
                }
            }
        }
    }
    (rows, refused)
}

/// The spans of those rows; neighbours of the same resource and scope share them.
pub fn resource_spans(rows: &[SpanRow]) -> Vec<ResourceSpans> {
    let mut groups: Vec<ResourceSpans> = Vec::new();
    let mut previous: Option<&SpanRow> = None;
    for row in rows {
        let is_same_resource = previous.is_some_and(|previous| has_same_resource(previous, row));
        let is_same_scope =
            is_same_resource && previous.is_some_and(|previous| has_same_scope(previous, row));
        if !is_same_resource {
            groups.push(resource_group(row));
        }
        if let Some(group) = groups.last_mut() {
            if !is_same_scope {
                group.scope_spans.push(scope_group(row));
            }
            if let Some(scope) = group.scope_spans.last_mut() {
                scope.spans.push(span(row));
            }
        }
        previous = Some(row);
    }
    groups
}

fn service_of(resource: &Resource) -> SmolStr {
    let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
    match name.and_then(|attribute| attribute.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(name)) if !name.is_empty() => SmolStr::new(name),
        _ => NO_SERVICE,
    }
}

/// One span's row, on top of what its resource and scope say.
fn row(span: &Span, of_scope: &SpanRow) -> Result<SpanRow, Fault> {
    if span.trace_id.len() != 16 || is_zero(&span.trace_id) {
        return Err(BAD_TRACE_ID);
    }
    if span.span_id.len() != 8 || is_zero(&span.span_id) {
        return Err(BAD_SPAN_ID);
    }
    if !matches!(span.parent_span_id.len(), 0 | 8) {
        return Err(BAD_PARENT);
    }
    let time = i64::try_from(span.start_time_unix_nano).map_err(|_| BAD_TIME)?;
    let end = i64::try_from(span.end_time_unix_nano).map_err(|_| BAD_TIME)?;
    let of_events = span.events.iter().map(|event| &event.attributes);
    let of_links = span.links.iter().map(|link| &link.attributes);
    if of_events.chain(of_links).chain([&span.attributes]).any(|attributes| is_too_deep(attributes)) {
        return Err(TOO_DEEP);
    }
    let (attributes, attribute_types) = to_columns(&span.attributes);
    let status = span.status.clone().unwrap_or_default();
    Ok(SpanRow {
        time,
        end_time: Some(end).filter(|&end| end != 0),
        duration_ns: end.saturating_sub(time).max(0),
        trace_id: Some(SmolStr::new(hex::encode(&span.trace_id))),
        span_id: Some(SmolStr::new(hex::encode(&span.span_id))),
        parent_span_id: Some(&span.parent_span_id)
            .filter(|id| !is_zero(id))
            .map(|id| SmolStr::new(hex::encode(id))),
        trace_state: filled(&span.trace_state),
        flags: Some(i64::from(span.flags)).filter(|&flags| flags != 0),
        operation: Some(SmolStr::new(&span.name)),
        kind: Some(word(span.kind, &KINDS)),
        status: Some(word(status.code, &STATUSES)),
        status_message: filled(&status.message),
        attributes,
        attribute_types,
        events: list_text(&span.events, json::encode::event),
        links: list_text(&span.links, json::encode::link),
        dropped_attributes: i64::from(span.dropped_attributes_count),
        dropped_events: i64::from(span.dropped_events_count),
        dropped_links: i64::from(span.dropped_links_count),
        ..of_scope.clone()
    })
}

fn span(row: &SpanRow) -> Span {
    let text = |column: &Option<SmolStr>| column.as_ref().map(SmolStr::to_string).unwrap_or_default();
    let id =
        |column: &Option<SmolStr>| column.as_ref().and_then(|id| hex::decode(id).ok()).unwrap_or_default();
    let status = Status { message: text(&row.status_message), code: number(row.status.as_ref(), &STATUSES) };
    Span {
        trace_id: id(&row.trace_id),
        span_id: id(&row.span_id),
        trace_state: text(&row.trace_state),
        parent_span_id: id(&row.parent_span_id),
        flags: row.flags.unwrap_or_default() as u32,
        name: text(&row.operation),
        kind: number(row.kind.as_ref(), &KINDS),
        start_time_unix_nano: row.time.max(0).cast_unsigned(),
        end_time_unix_nano: row.end_time.unwrap_or_default().max(0).cast_unsigned(),
        attributes: from_columns(&row.attributes, row.attribute_types.as_ref()),
        dropped_attributes_count: row.dropped_attributes as u32,
        events: list_of(row.events.as_ref(), json::decode::event),
        dropped_events_count: row.dropped_events as u32,
        links: list_of(row.links.as_ref(), json::decode::link),
        dropped_links_count: row.dropped_links as u32,
        status: (status != Status::default()).then_some(status),
    }
}

fn is_too_deep(attributes: &[KeyValue]) -> bool {
    attributes
        .iter()
        .filter_map(|attribute| attribute.value.as_ref())
        .any(|value| is_deeper(value, MAX_DEPTH))
}

/// Whether arrays and maps within `value` are nested more than `levels` deep.
fn is_deeper(value: &AnyValue, levels: usize) -> bool {
    match &value.value {
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) if levels == 0 => true,
        Some(Value::ArrayValue(array)) => array.values.iter().any(|value| is_deeper(value, levels - 1)),
        Some(Value::KvlistValue(map)) => map
            .values
            .iter()
            .filter_map(|entry| entry.value.as_ref())
            .any(|value| is_deeper(value, levels - 1)),
        _ => false,
    }
}

/// The kinds, each at its number in OTLP.
const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
/// The status codes, each at its number in OTLP.
const STATUSES: [&str; 3] = ["unset", "ok", "error"];

/// An enum's word; a number from the future stays a number.
fn word(number: i32, words: &[&'static str]) -> SmolStr {
    let known = usize::try_from(number).ok().and_then(|place| words.get(place));
    known.map_or_else(|| number.to_smolstr(), |word| SmolStr::new_static(word))
}

fn number(word: Option<&SmolStr>, words: &[&str]) -> i32 {
    let Some(word) = word else { return 0 };
    let known = words.iter().position(|known| known == word);
    known.map_or_else(|| word.parse().unwrap_or_default(), |place| place as i32)
}

/// What OTLP says of resource and scope that has no column of its own.
fn envelope(
    group: &ResourceSpans,
    resource: &Resource,
    scope_group: &ScopeSpans,
    scope: &InstrumentationScope,
) -> Option<SmolStr> {
    let mut of_resource = serde_json::Map::new();
    let mut of_scope = serde_json::Map::new();
    for (schema_url, dropped, object) in [
        (&group.schema_url, resource.dropped_attributes_count, &mut of_resource),
        (&scope_group.schema_url, scope.dropped_attributes_count, &mut of_scope),
    ] {
        if !schema_url.is_empty() {
            object.insert("schemaUrl".to_owned(), json!(schema_url));
        }
        if dropped != 0 {
            object.insert("droppedAttributesCount".to_owned(), json!(dropped));
        }
    }
    if !resource.entity_refs.is_empty() {
        let refs = resource.entity_refs.iter().map(json::encode::entity_ref).collect();
        of_resource.insert("entityRefs".to_owned(), Json::Array(refs));
    }
    (!of_resource.is_empty() || !of_scope.is_empty())
        .then(|| format_smolstr!("{}", json!({"resource": of_resource, "scope": of_scope})))
}

fn opened_envelope(row: &SpanRow) -> Json {
    row.otlp_envelope.as_ref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn resource_group(row: &SpanRow) -> ResourceSpans {
    let envelope = &opened_envelope(row)["resource"];
    let entity_refs = envelope["entityRefs"].as_array().map(Vec::as_slice).unwrap_or_default();
    ResourceSpans {
        resource: Some(Resource {
            attributes: from_columns(&row.resource_attributes, row.resource_attribute_types.as_ref()),
            dropped_attributes_count: envelope["droppedAttributesCount"].as_u64().unwrap_or_default() as u32,
            entity_refs: entity_refs.iter().filter_map(|json| json::decode::entity_ref(json).ok()).collect(),
        }),
        scope_spans: Vec::new(),
        schema_url: envelope["schemaUrl"].as_str().unwrap_or_default().to_owned(),
    }
}

fn scope_group(row: &SpanRow) -> ScopeSpans {
    let envelope = &opened_envelope(row)["scope"];
    ScopeSpans {
        scope: Some(InstrumentationScope {
            name: row.scope_name.as_ref().map(SmolStr::to_string).unwrap_or_default(),
            version: row.scope_version.as_ref().map(SmolStr::to_string).unwrap_or_default(),
            attributes: from_columns(&row.scope_attributes, row.scope_attribute_types.as_ref()),
            dropped_attributes_count: envelope["droppedAttributesCount"].as_u64().unwrap_or_default() as u32,
        }),
        spans: Vec::new(),
        schema_url: envelope["schemaUrl"].as_str().unwrap_or_default().to_owned(),
    }
}

fn has_same_resource(left: &SpanRow, right: &SpanRow) -> bool {
    left.resource_attributes == right.resource_attributes
        && left.resource_attribute_types == right.resource_attribute_types
        && (left.otlp_envelope == right.otlp_envelope
            || opened_envelope(left)["resource"] == opened_envelope(right)["resource"])
}

fn has_same_scope(left: &SpanRow, right: &SpanRow) -> bool {
    left.scope_name == right.scope_name
        && left.scope_version == right.scope_version
        && left.scope_attributes == right.scope_attributes
        && left.scope_attribute_types == right.scope_attribute_types
        && left.otlp_envelope == right.otlp_envelope
}

/// Items as a JSON array; `None` for none.
fn list_text<T>(items: &[T], encode: impl Fn(&T) -> Json) -> Option<SmolStr> {
    let text = || json::encode::exact_text(Json::Array(items.iter().map(encode).collect()));
    (!items.is_empty()).then(|| SmolStr::new(text()))
}

/// Items of a JSON array that [`list_text`] wrote.
fn list_of<T>(
    text: Option<&SmolStr>,
    decode: impl Fn(&Json) -> Result<T, json::decode::JsonError>,
) -> Vec<T> {
    let array: Vec<Json> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    array.iter().filter_map(|json| decode(json).ok()).collect()
}

fn filled(text: &str) -> Option<SmolStr> {
    (!text.is_empty()).then(|| SmolStr::new(text))
}

fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|&byte| byte == 0)
}
