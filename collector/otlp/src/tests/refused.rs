//! Spans that can't be stored, among others that can.

use super::{node, told};
use crate::proto::common::v1::any_value::Value;
use crate::proto::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use crate::proto::resource::v1::Resource;
use crate::proto::trace::v1::span::Event;
use crate::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use crate::rows::{MAX_DEPTH, NO_SERVICE};
use crate::{resource_spans, rows_of};

fn good(name: &str) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: name.to_owned(),
        start_time_unix_nano: 1_795_000_000_000_000_000,
        end_time_unix_nano: 1_795_000_000_000_250_000,
        ..Span::default()
    }
}

fn group(spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

/// `spoil` makes a span that is refused for `reason`, alone.
fn check(reason: &str, says: &str, spoil: impl Fn(&mut Span)) {
    let mut bad = good("bad");
    spoil(&mut bad);
    let groups = [group(vec![good("first")]), group(vec![good("second"), bad.clone(), bad, good("third")])];
    let (rows, refused) = rows_of(&groups, &node());
    let stored: Vec<_> = rows.iter().map(|row| row.operation.as_deref().unwrap()).collect();
    assert_eq!(stored, ["first", "second", "third"], "{reason}");
    assert_eq!(refused.reasons.into_iter().collect::<Vec<_>>(), [(reason, 2)]);
    let place = "resourceSpans[1].scopeSpans[0].spans[1] (\"bad\"): ";
    assert!(refused.first.starts_with(place) && refused.first.contains(says), "{}", refused.first);
}

#[test]
fn a_bad_span_is_refused_alone_with_its_place() {
    check("bad_trace_id", "trace_id must be 16 bytes", |span| span.trace_id = vec![1; 8]);
    check("bad_trace_id", "trace_id must be 16 bytes", |span| span.trace_id = vec![0; 16]);
    check("bad_trace_id", "trace_id must be 16 bytes", |span| span.trace_id.clear());
    check("bad_span_id", "span_id must be 8 bytes", |span| span.span_id = vec![0; 8]);
    check("bad_span_id", "span_id must be 8 bytes", |span| span.span_id = vec![1; 16]);
    check("bad_parent_span_id", "parent_span_id", |span| span.parent_span_id = vec![1; 7]);
    check("bad_time", "2262", |span| span.start_time_unix_nano = u64::MAX);
    check("bad_time", "2262", |span| span.end_time_unix_nano = 1 << 63);
    check("too_deep", "24 levels", |span| span.attributes = vec![attribute(MAX_DEPTH + 1)]);
    check("too_deep", "24 levels", |span| {
        span.events = vec![Event { attributes: vec![attribute(MAX_DEPTH + 1)], ..Event::default() }];
    });
}

/// An attribute whose value is nested `depth` deep, arrays and maps in turn.
fn attribute(depth: usize) -> KeyValue {
    let innermost = AnyValue { value: Some(Value::BoolValue(true)) };
    let value = (0..depth).fold(innermost, |value, level| AnyValue {
        value: Some(if level % 2 == 0 {
            Value::ArrayValue(ArrayValue { values: vec![value] })
        } else {
            let entry = KeyValue { key: "k".into(), value: Some(value), key_strindex: 0 };
            Value::KvlistValue(KeyValueList { values: vec![entry] })
        }),
    });
    KeyValue { key: "deep".into(), value: Some(value), key_strindex: 0 }
}

/// JSON readers give up at 128 levels; what we take must stay below, wherever it stands.
#[test]
fn values_of_the_greatest_depth_come_back_from_rows_and_from_json() {
    let map = |value: AnyValue, _| {
        let entry = KeyValue { key: "k".into(), value: Some(value), key_strindex: 0 };
        AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: vec![entry] })) }
    };
    let value = (0..MAX_DEPTH).fold(AnyValue { value: Some(Value::IntValue(7)) }, map);
    let deepest = KeyValue { key: "deep".into(), value: Some(value), key_strindex: 0 };
    let mut span = good("deep");
    span.attributes = vec![deepest.clone()];
    span.events = vec![Event { attributes: vec![deepest.clone()], ..Event::default() }];
    let mut group = group(vec![span]);
    group.resource = Some(Resource { attributes: vec![deepest.clone()], ..Resource::default() });
    group.scope_spans[0].scope =
        Some(InstrumentationScope { attributes: vec![deepest], ..InstrumentationScope::default() });

    let (rows, refused) = rows_of(std::slice::from_ref(&group), &node());
    assert_eq!(refused.spans(), 0, "{}", refused.first);
    let back = resource_spans(&rows);
    assert_eq!(told(&back), told(std::slice::from_ref(&group)));
    let text = crate::json::encode::traces(&back).to_string();
    assert_eq!(told(&crate::json::decode::traces(text.as_bytes()).unwrap()), told(&[group]));
}

#[test]
fn a_resource_that_is_nested_too_deep_takes_its_spans_along_and_no_others() {
    let mut deep = group(vec![good("lost"), good("lost")]);
    deep.resource = Some(Resource { attributes: vec![attribute(MAX_DEPTH + 1)], ..Resource::default() });
    let (rows, refused) = rows_of(&[deep, group(vec![good("kept")])], &node());
    assert_eq!((rows.len(), refused.spans()), (1, 2));
    assert_eq!(rows[0].operation.as_deref(), Some("kept"));
}

#[test]
fn columns_that_people_filter_on_are_filled() {
    let mut span = good("GET /cart");
    span.kind = 2;
    let mut named = group(vec![span]);
    let name = AnyValue { value: Some(Value::StringValue("cart".into())) };
    named.resource = Some(Resource {
        attributes: vec![KeyValue { key: "service.name".into(), value: Some(name), key_strindex: 0 }],
        ..Resource::default()
    });
    let (rows, _) = rows_of(&[named, group(vec![good("nameless")])], &node());
    let row = &rows[0];
    assert_eq!(row.service.as_deref(), Some("cart"));
    assert_eq!((row.kind.as_deref(), row.status.as_deref()), (Some("server"), Some("unset")));
    assert_eq!(row.trace_id.as_deref(), Some("01010101010101010101010101010101"));
    assert_eq!((row.duration_ns, row.source.as_deref()), (250_000, Some("otlp")));
    assert_eq!((row.parent_span_id.as_ref(), row.node.as_deref()), (None, Some("node-1")));
    assert_eq!(rows[1].service, Some(NO_SERVICE));
}
