//! What OTLP can say, drawn at random.

use proptest::collection::vec;
use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value as Json, json};
use weir_model::{SmolStr, SpanRow};

use crate::proto::common::v1::any_value::Value;
use crate::proto::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use crate::proto::resource::v1::Resource;
use crate::proto::trace::v1::span::{Event, Link};
use crate::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

type Doubles = BoxedStrategy<f64>;

/// All but NaN, which equals nothing.
fn double() -> Doubles {
    (POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE).boxed()
}

/// Doubles of a few digits.
pub(super) fn short_double() -> Doubles {
    prop_oneof![
        (any::<i32>(), 0..9_i32).prop_map(|(digits, places)| f64::from(digits) / 10_f64.powi(places)),
        INFINITE,
    ]
    .boxed()
}

fn value(doubles: Doubles) -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(|text| Some(Value::StringValue(text))),
        any::<i64>().prop_map(|number| Some(Value::IntValue(number))),
        doubles.prop_map(|number| Some(Value::DoubleValue(number))),
        any::<bool>().prop_map(|claim| Some(Value::BoolValue(claim))),
        any::<Vec<u8>>().prop_map(|bytes| Some(Value::BytesValue(bytes))),
        Just(None),
    ];
    leaf.prop_map(|value| AnyValue { value }).prop_recursive(4, 16, 4, |inner| {
        let entry = (any::<String>(), option::of(inner.clone())).prop_map(|(key, value)| KeyValue {
            key,
            value,
            key_strindex: 0,
        });
        prop_oneof![
            vec(inner, 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(entry, 0..4).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes(doubles: Doubles) -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop_oneof![any::<String>(), Just("service.name".to_owned())];
    let entry =
        (key, option::of(value(doubles))).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
    vec(entry, 0..4)
}

prop_compose! {
    fn event(doubles: Doubles)(
        time_unix_nano in any::<u64>(),
        name in any::<String>(),
        attributes in attributes(doubles),
        dropped_attributes_count in any::<u32>(),
    ) -> Event {
        Event { time_unix_nano, name, attributes, dropped_attributes_count }
    }
}

prop_compose! {
    fn link(doubles: Doubles)(
        trace_id in any::<Vec<u8>>(),
        span_id in any::<Vec<u8>>(),
        trace_state in any::<String>(),
        attributes in attributes(doubles),
        dropped_attributes_count in any::<u32>(),
        flags in any::<u32>(),
    ) -> Link {
        Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags }
    }
}

fn status() -> impl Strategy<Value = Status> {
    (any::<String>(), prop_oneof![0..3_i32, any::<i32>()])
        .prop_map(|(message, code)| Status { message, code })
}

prop_compose! {
    fn span(doubles: Doubles)(
        trace_id in any::<[u8; 16]>().prop_filter("zero", |id| *id != [0; 16]),
        span_id in any::<[u8; 8]>().prop_filter("zero", |id| *id != [0; 8]),
        parent_span_id in option::of(any::<[u8; 8]>()),
        (trace_state, name) in any::<(String, String)>(),
        flags in any::<u32>(),
        kind in prop_oneof![0..6_i32, any::<i32>()],
        times in (0..=i64::MAX as u64, 0..=i64::MAX as u64),
        attributes in attributes(doubles.clone()),
        events in vec(event(doubles.clone()), 0..3),
        links in vec(link(doubles), 0..3),
        dropped in any::<[u32; 3]>(),
        status in option::of(status()),
    ) -> Span {
        Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            trace_state,
            parent_span_id: parent_span_id.map(|id| id.to_vec()).unwrap_or_default(),
            flags,
            name,
            kind,
            start_time_unix_nano: times.0,
            end_time_unix_nano: times.1,
            attributes,
            dropped_attributes_count: dropped[0],
            events,
            dropped_events_count: dropped[1],
            links,
            dropped_links_count: dropped[2],
            status,
        }
    }
}

prop_compose! {
    fn entity_ref()(
        (schema_url, r#type) in any::<(String, String)>(),
        id_keys in vec(any::<String>(), 0..3),
        description_keys in vec(any::<String>(), 0..3),
    ) -> EntityRef {
        EntityRef { schema_url, r#type, id_keys, description_keys }
    }
}

prop_compose! {
    fn resource(doubles: Doubles)(
        attributes in attributes(doubles),
        dropped_attributes_count in any::<u32>(),
        entities in vec(entity_ref(), 0..2),
    ) -> Resource {
        Resource {
            attributes,
            dropped_attributes_count,
            entity_refs: entities,
        }
    }
}

prop_compose! {
    fn scope(doubles: Doubles)(
        (name, version) in any::<(String, String)>(),
        attributes in attributes(doubles),
        dropped_attributes_count in prop_oneof![Just(0), any::<u32>()],
    ) -> InstrumentationScope {
        InstrumentationScope { name, version, attributes, dropped_attributes_count }
    }
}

fn schema_url() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), any::<String>()]
}

/// Whole requests without a fault.
pub(super) fn groups() -> impl Strategy<Value = Vec<ResourceSpans>> {
    groups_with(double())
}

/// The same, with other doubles.
pub(super) fn groups_with(doubles: Doubles) -> impl Strategy<Value = Vec<ResourceSpans>> {
    let scope_group = (option::of(scope(doubles.clone())), vec(span(doubles.clone()), 0..3), schema_url())
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url });
    let group = (option::of(resource(doubles)), vec(scope_group, 0..3), schema_url())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(group, 0..3)
}

/// Text that is sometimes what a column of ours would hold.
fn odd_text() -> impl Strategy<Value = Option<SmolStr>> {
    const KNOWN: [&str; 11] = [
        "",
        "null",
        "{}",
        "[]",
        "[null]",
        "[{\"attributes\":7}]",
        "{\"resource\":7}",
        "sidbyj",
        "jjjj",
        "zz",
        "server",
    ];
    option::of(prop_oneof![any::<String>().prop_map(SmolStr::new), select(&KNOWN[..]).prop_map(SmolStr::new)])
}

prop_compose! {
    fn odd_row()(
        time in any::<i64>(),
        end_time in option::of(any::<i64>()),
        numbers in any::<[i64; 3]>(),
        flags in option::of(any::<i64>()),
        ids in [odd_text(), odd_text(), odd_text()],
        texts in [odd_text(), odd_text(), odd_text(), odd_text(), odd_text(), odd_text(), odd_text(), odd_text()],
        entries in vec((any::<String>(), odd_text()), 0..4),
    ) -> SpanRow {
        let attributes: Vec<_> =
            entries.into_iter().map(|(key, text)| (SmolStr::new(key), text.unwrap_or_default())).collect();
        let [trace_id, span_id, parent_span_id] = ids;
        let [kind, status, types, resource_types, scope_types, envelope, events, links] = texts;
        SpanRow {
            time,
            end_time,
            flags,
            trace_id,
            span_id,
            parent_span_id,
            kind,
            status,
            resource_attributes: attributes.clone(),
            resource_attribute_types: resource_types,
            scope_attributes: attributes.clone(),
            scope_attribute_types: scope_types,
            attributes,
            attribute_types: types,
            otlp_envelope: envelope,
            events,
            links,
            dropped_attributes: numbers[0],
            dropped_events: numbers[1],
            dropped_links: numbers[2],
            ..SpanRow::default()
        }
    }
}

/// Rows as something else might have written them.
pub(super) fn odd_rows() -> impl Strategy<Value = Vec<SpanRow>> {
    vec(odd_row(), 0..4)
}

/// JSON whose fields are often OTLP's, and often hold what doesn't belong there.
pub(super) fn json() -> impl Strategy<Value = Json> {
    const FIELDS: [&str; 24] = [
        "resourceSpans",
        "resource",
        "scopeSpans",
        "scope",
        "spans",
        "attributes",
        "events",
        "links",
        "status",
        "code",
        "traceId",
        "spanId",
        "parentSpanId",
        "kind",
        "start_time_unix_nano",
        "flags",
        "key",
        "value",
        "values",
        "stringValue",
        "doubleValue",
        "arrayValue",
        "kvlistValue",
        "bytesValue",
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(|claim| json!(claim)),
        any::<i64>().prop_map(|number| json!(number)),
        double().prop_map(|number| json!(number)),
        any::<String>().prop_map(|text| json!(text)),
        select(vec![
            "5b8efff798038103d269b633813fc60c",
            "eee19b7ec3c1b174",
            "SPAN_KIND_SERVER",
            "NaN",
            "7",
            "=="
        ])
        .prop_map(|text| json!(text)),
    ];
    let inner = leaf.prop_recursive(10, 64, 4, |inner| {
        let field = prop_oneof![9 => select(&FIELDS[..]).prop_map(str::to_owned), 1 => any::<String>()];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::Array),
            vec((field, inner), 0..4).prop_map(|fields| Json::Object(Map::from_iter(fields))),
        ]
    });
    // The uppermost are right more often than chance would have it, so that the rest is reached.
    inner.prop_flat_map(|inner| {
        prop_oneof![
            Just(inner.clone()),
            Just(json!({"resourceSpans": [{"scopeSpans": [{"spans": [inner]}]}]})),
            Just(
                json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"value": inner}]}]}]}]})
            ),
            Just(json!({"resourceSpans": [{"resource": inner}]})),
        ]
    })
}
