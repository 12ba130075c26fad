//! JSON → OTLP.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value as Json};

use crate::proto::common::v1::any_value::Value;
use crate::proto::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use crate::proto::resource::v1::Resource;
use crate::proto::trace::v1::span::{Event, Link, SpanKind};
use crate::proto::trace::v1::status::StatusCode;
use crate::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// What doesn't read as OTLP/JSON. The caller sent it: say so, don't retry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON at all.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// JSON, but not of the form that OTLP has there.
    #[error("{path}: expected {expected}")]
    Shape {
        /// Where, such as `resourceSpans[0].scopeSpans[2].spans[1].traceId`.
        path: String,
        /// What belongs there.
        expected: &'static str,
    },
}

type Result<T> = std::result::Result<T, JsonError>;

/// Reads `{"resourceSpans": […]}`.
pub fn traces(text: &[u8]) -> Result<Vec<ResourceSpans>> {
    let json: Json = serde_json::from_slice(text).map_err(|err| JsonError::Syntax(err.to_string()))?;
    object(&json).map_err(|err| err.below("the request"))?.list("resourceSpans", resource_group)
}

fn resource_group(json: &Json) -> Result<ResourceSpans> {
    let object = object(json)?;
    Ok(ResourceSpans {
        resource: object.optional("resource", resource)?,
        scope_spans: object.list("scopeSpans", scope_group)?,
        schema_url: object.text("schemaUrl")?,
    })
}

fn resource(json: &Json) -> Result<Resource> {
    let object = object(json)?;
    Ok(Resource {
        attributes: object.list("attributes", key_value)?,
        dropped_attributes_count: object.count("droppedAttributesCount")?,
        entity_refs: object.list("entityRefs", entity_ref)?,
    })
}

/// A resource's reference to an entity.
pub fn entity_ref(json: &Json) -> Result<EntityRef> {
    let object = object(json)?;
    Ok(EntityRef {
        schema_url: object.text("schemaUrl")?,
        r#type: object.text("type")?,
        id_keys: object.list("idKeys", text)?,
        description_keys: object.list("descriptionKeys", text)?,
    })
}

fn scope_group(json: &Json) -> Result<ScopeSpans> {
    let object = object(json)?;
    Ok(ScopeSpans {
        scope: object.optional("scope", scope)?,
        spans: object.list("spans", span)?,
        schema_url: object.text("schemaUrl")?,
    })
}

fn scope(json: &Json) -> Result<InstrumentationScope> {
    let object = object(json)?;
    Ok(InstrumentationScope {
        name: object.text("name")?,
        version: object.text("version")?,
        attributes: object.list("attributes", key_value)?,
        dropped_attributes_count: object.count("droppedAttributesCount")?,
    })
}

fn span(json: &Json) -> Result<Span> {
    let object = object(json)?;
    Ok(Span {
        trace_id: object.or_default("traceId", id)?,
        span_id: object.or_default("spanId", id)?,
        trace_state: object.text("traceState")?,
        parent_span_id: object.or_default("parentSpanId", id)?,
        flags: object.count("flags")?,
        name: object.text("name")?,
        kind: object.or_default("kind", |json| {
            number_or_name(json, |name| SpanKind::from_str_name(name).map(|kind| kind as i32))
        })?,
        start_time_unix_nano: object.or_default("startTimeUnixNano", unsigned)?,
        end_time_unix_nano: object.or_default("endTimeUnixNano", unsigned)?,
        attributes: object.list("attributes", key_value)?,
        dropped_attributes_count: object.count("droppedAttributesCount")?,
        events: object.list("events", event)?,
        dropped_events_count: object.count("droppedEventsCount")?,
        links: object.list("links", link)?,
        dropped_links_count: object.count("droppedLinksCount")?,
        status: object.optional("status", status)?,
    })
}

fn status(json: &Json) -> Result<Status> {
    let object = object(json)?;
    Ok(Status {
        message: object.text("message")?,
        code: object.or_default("code", |json| {
            number_or_name(json, |name| StatusCode::from_str_name(name).map(|code| code as i32))
        })?,
    })
}

/// An event of a span.
pub fn event(json: &Json) -> Result<Event> {
    let object = object(json)?;
    Ok(Event {
        time_unix_nano: object.or_default("timeUnixNano", unsigned)?,
        name: object.text("name")?,
        attributes: object.list("attributes", key_value)?,
        dropped_attributes_count: object.count("droppedAttributesCount")?,
    })
}

/// A link of a span.
pub fn link(json: &Json) -> Result<Link> {
    let object = object(json)?;
    Ok(Link {
        trace_id: object.or_default("traceId", id)?,
        span_id: object.or_default("spanId", id)?,
        trace_state: object.text("traceState")?,
        attributes: object.list("attributes", key_value)?,
        dropped_attributes_count: object.count("droppedAttributesCount")?,
        flags: object.count("flags")?,
    })
}

fn key_value(json: &Json) -> Result<KeyValue> {
    let object = object(json)?;
    Ok(KeyValue { key: object.text("key")?, value: object.optional("value", any_value)?, key_strindex: 0 })
}

/// A value with its type: `{"stringValue": "…"}`.
pub fn any_value(json: &Json) -> Result<AnyValue> {
    let object = object(json)?;
    let array = |json: &Json| Ok(ArrayValue { values: self::object(json)?.list("values", any_value)? });
    let map = |json: &Json| Ok(KeyValueList { values: self::object(json)?.list("values", key_value)? });
    let value = if let Some(value) = object.optional("stringValue", text)? {
        Some(Value::StringValue(value))
    } else if let Some(value) = object.optional("boolValue", boolean)? {
        Some(Value::BoolValue(value))
    } else if let Some(value) = object.optional("intValue", signed)? {
        Some(Value::IntValue(value))
    } else if let Some(value) = object.optional("doubleValue", double)? {
        Some(Value::DoubleValue(value))
    } else if let Some(value) = object.optional("arrayValue", array)? {
        Some(Value::ArrayValue(value))
    } else if let Some(value) = object.optional("kvlistValue", map)? {
        Some(Value::KvlistValue(value))
    } else {
        object.optional("bytesValue", bytes)?.map(Value::BytesValue)
    };
    Ok(AnyValue { value })
}

fn object(json: &Json) -> Result<Object<'_>> {
    json.as_object().map(Object).ok_or_else(|| wrong("an object"))
}

fn text(json: &Json) -> Result<String> {
    json.as_str().map(str::to_owned).ok_or_else(|| wrong("a string"))
}

fn boolean(json: &Json) -> Result<bool> {
    json.as_bool().ok_or_else(|| wrong("true or false"))
}

fn id(json: &Json) -> Result<Vec<u8>> {
    json.as_str().and_then(|text| hex::decode(text).ok()).ok_or_else(|| wrong("an id in hex"))
}

fn bytes(json: &Json) -> Result<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = json.as_str().ok_or_else(|| wrong("base64"))?;
    [STANDARD, URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok())
        .ok_or_else(|| wrong("base64"))
}

fn unsigned(json: &Json) -> Result<u64> {
    match json {
        Json::String(text) => text.parse().ok(),
        json => json.as_u64().or_else(|| whole(json).and_then(|number| u64::try_from(number).ok())),
    }
    .ok_or_else(|| wrong("a whole number of at most 64 bits, not negative"))
}

fn signed(json: &Json) -> Result<i64> {
    match json {
        Json::String(text) => text.parse().ok(),
        json => json.as_i64().or_else(|| whole(json)),
    }
    .ok_or_else(|| wrong("a whole number of at most 64 bits"))
}

/// A whole number that is written as a fraction or with an exponent (`3.0`, `1e9`), as far as those are exact.
fn whole(json: &Json) -> Option<i64> {
    const EXACT: f64 = (1_i64 << 53) as f64;
    json.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT).map(|number| number as i64)
}

fn double(json: &Json) -> Result<f64> {
    match json {
        Json::String(text) => text.parse().ok(),
        json => json.as_f64(),
    }
    .ok_or_else(|| wrong("a number"))
}

fn number_or_name(json: &Json, by_name: impl Fn(&str) -> Option<i32>) -> Result<i32> {
    match json {
        Json::String(name) => by_name(name),
        json => json.as_i64().and_then(|number| i32::try_from(number).ok()),
    }
    .ok_or_else(|| wrong("an enum's number or name"))
}

fn wrong(expected: &'static str) -> JsonError {
    JsonError::Shape { path: String::new(), expected }
}

/// A JSON object whose fields may be missing, `null`, or named as in the `.proto`.
struct Object<'a>(&'a Map<String, Json>);

impl<'a> Object<'a> {
    fn field(&self, name: &str) -> Option<&'a Json> {
        let found = self.0.get(name).or_else(|| self.0.get(&snake_case(name)));
        found.filter(|json| !json.is_null())
    }

    fn optional<T>(&self, name: &str, read: impl Fn(&Json) -> Result<T>) -> Result<Option<T>> {
        self.field(name).map(|json| read(json).map_err(|err| err.below(name))).transpose()
    }

    fn or_default<T: Default>(&self, name: &str, read: impl Fn(&Json) -> Result<T>) -> Result<T> {
        Ok(self.optional(name, read)?.unwrap_or_default())
    }

    fn text(&self, name: &str) -> Result<String> {
        self.or_default(name, text)
    }

    fn count(&self, name: &str) -> Result<u32> {
        self.or_default(name, |json| {
            u32::try_from(unsigned(json)?)
                .map_err(|_| wrong("a whole number of at most 32 bits, not negative"))
        })
    }

    fn list<T>(&self, name: &str, read: impl Fn(&Json) -> Result<T>) -> Result<Vec<T>> {
        let Some(json) = self.field(name) else { return Ok(Vec::new()) };
        let items = json.as_array().ok_or_else(|| wrong("an array").below(name))?;
        let read_at = |(place, json)| read(json).map_err(|err| err.below(&format!("{name}[{place}]")));
        items.iter().enumerate().map(read_at).collect()
    }
}

impl JsonError {
    /// The same error, seen from the object that holds `step`.
    fn below(self, step: &str) -> JsonError {
        match self {
            JsonError::Shape { path, expected } if path.is_empty() => {
                JsonError::Shape { path: step.to_owned(), expected }
            }
            JsonError::Shape { path, expected } => {
                JsonError::Shape { path: format!("{step}.{path}"), expected }
            }
            syntax @ JsonError::Syntax(_) => syntax,
        }
    }
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
