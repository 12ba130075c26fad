//! OTLP → JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::proto::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue, any_value::Value};
use crate::proto::resource::v1::Resource;
use crate::proto::trace::v1::span::{Event, Link};
use crate::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// `{"resourceSpans": […]}`.
pub fn traces(resource_spans: &[ResourceSpans]) -> Json {
    json!({"resourceSpans": list(resource_spans, resource_group)})
}

fn resource_group(group: &ResourceSpans) -> Json {
    let mut object = Object::default();
    object.put("resource", group.resource.as_ref().map_or_else(|| json!({}), resource));
    object.put("scopeSpans", list(&group.scope_spans, scope_group));
    object.text("schemaUrl", &group.schema_url);
    object.finish()
}

fn resource(resource: &Resource) -> Json {
    let mut object = Object::default();
    object.list("attributes", &resource.attributes, key_value);
    object.count("droppedAttributesCount", resource.dropped_attributes_count);
    object.list("entityRefs", &resource.entity_refs, entity_ref);
    object.finish()
}

/// A resource's reference to an entity.
pub fn entity_ref(entity: &EntityRef) -> Json {
    let mut object = Object::default();
    object.text("schemaUrl", &entity.schema_url);
    object.text("type", &entity.r#type);
    object.list("idKeys", &entity.id_keys, |key| json!(key));
    object.list("descriptionKeys", &entity.description_keys, |key| json!(key));
    object.finish()
}

fn scope_group(group: &ScopeSpans) -> Json {
    let mut object = Object::default();
    object.put("scope", group.scope.as_ref().map_or_else(|| json!({}), scope));
    object.put("spans", list(&group.spans, span));
    object.text("schemaUrl", &group.schema_url);
    object.finish()
}

fn scope(scope: &InstrumentationScope) -> Json {
    let mut object = Object::default();
    object.text("name", &scope.name);
    object.text("version", &scope.version);
    object.list("attributes", &scope.attributes, key_value);
    object.count("droppedAttributesCount", scope.dropped_attributes_count);
    object.finish()
}

fn span(span: &Span) -> Json {
    let mut object = Object::default();
    object.text("traceId", &hex::encode(&span.trace_id));
    object.text("spanId", &hex::encode(&span.span_id));
    object.text("traceState", &span.trace_state);
    object.text("parentSpanId", &hex::encode(&span.parent_span_id));
    object.count("flags", span.flags);
    object.text("name", &span.name);
    object.number("kind", span.kind);
    object.text("startTimeUnixNano", &span.start_time_unix_nano.to_string());
    object.text("endTimeUnixNano", &span.end_time_unix_nano.to_string());
    object.list("attributes", &span.attributes, key_value);
    object.count("droppedAttributesCount", span.dropped_attributes_count);
    object.list("events", &span.events, event);
    object.count("droppedEventsCount", span.dropped_events_count);
    object.list("links", &span.links, link);
    object.count("droppedLinksCount", span.dropped_links_count);
    if let Some(status) = &span.status {
        let mut inner = Object::default();
        inner.text("message", &status.message);
        inner.number("code", status.code);
        object.put("status", inner.finish());
    }
    object.finish()
}

/// An event of a span.
pub fn event(event: &Event) -> Json {
    let mut object = Object::default();
    object.text("timeUnixNano", &event.time_unix_nano.to_string());
    object.text("name", &event.name);
    object.list("attributes", &event.attributes, key_value);
    object.count("droppedAttributesCount", event.dropped_attributes_count);
    object.finish()
}

/// A link of a span.
pub fn link(link: &Link) -> Json {
    let mut object = Object::default();
    object.text("traceId", &hex::encode(&link.trace_id));
    object.text("spanId", &hex::encode(&link.span_id));
    object.text("traceState", &link.trace_state);
    object.list("attributes", &link.attributes, key_value);
    object.count("droppedAttributesCount", link.dropped_attributes_count);
    object.count("flags", link.flags);
    object.finish()
}

fn key_value(attribute: &KeyValue) -> Json {
    let mut object = Object::default();
    object.put("key", json!(attribute.key));
    if let Some(value) = &attribute.value {
        object.put("value", any_value(value));
    }
    object.finish()
}

/// A value with its type: `{"stringValue": "…"}`.
pub fn any_value(value: &AnyValue) -> Json {
    match &value.value {
        // A place in a profile's dictionary; traces have none, so it means nothing here.
        None | Some(Value::StringValueStrindex(_)) => json!({}),
        Some(Value::StringValue(text)) => json!({"stringValue": text}),
        Some(Value::BoolValue(claim)) => json!({"boolValue": claim}),
        Some(Value::IntValue(number)) => json!({"intValue": number.to_string()}),
        Some(Value::DoubleValue(number)) => json!({"doubleValue": double(*number)}),
        Some(Value::ArrayValue(array)) => json!({"arrayValue": {"values": list(&array.values, any_value)}}),
        Some(Value::KvlistValue(map)) => json!({"kvlistValue": {"values": list(&map.values, key_value)}}),
        Some(Value::BytesValue(bytes)) => json!({"bytesValue": STANDARD.encode(bytes)}),
    }
}

/// As text that [`decode`](super::decode) gives back to the last bit. `serde_json` reads some long fractions one bit off
/// (its exact mode would slow every reader); those become strings, which the mapping allows.
pub(crate) fn exact_text(mut json: Json) -> String {
    make_exact(&mut json);
    json.to_string()
}

fn make_exact(json: &mut Json) {
    match json {
        Json::Array(items) => items.iter_mut().for_each(make_exact),
        Json::Object(fields) => fields.values_mut().for_each(make_exact),
        Json::Number(number) if number.is_f64() => {
            let text = number.to_string();
            if serde_json::from_str(&text).ok() != number.as_f64() {
                *json = Json::String(text);
            }
        }
        _ => {}
    }
}

/// JSON has no word for what is not finite; protobuf's mapping writes those as strings.
fn double(number: f64) -> Json {
    if number.is_nan() {
        return json!("NaN");
    }
    if number.is_infinite() {
        return json!(if number > 0.0 { "Infinity" } else { "-Infinity" });
    }
    json!(number)
}

fn list<T>(items: &[T], encode: impl Fn(&T) -> Json) -> Json {
    Json::Array(items.iter().map(encode).collect())
}

/// A JSON object whose empty fields are left out.
#[derive(Default)]
struct Object(Map<String, Json>);

impl Object {
    fn put(&mut self, key: &str, value: Json) {
        self.0.insert(key.to_owned(), value);
    }

    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.put(key, json!(value));
        }
    }

    fn count(&mut self, key: &str, value: u32) {
        if value != 0 {
            self.put(key, json!(value));
        }
    }

    fn number(&mut self, key: &str, value: i32) {
        if value != 0 {
            self.put(key, json!(value));
        }
    }

    fn list<T>(&mut self, key: &str, items: &[T], encode: impl Fn(&T) -> Json) {
        if !items.is_empty() {
            self.put(key, list(items, encode));
        }
    }

    fn finish(self) -> Json {
        Json::Object(self.0)
    }
}
