use weir_otlp::proto::trace::v1::ScopeSpans;
use weir_otlp::proto::trace::v1::span::{Event, Link};

use super::*;

fn id(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn span(number: u64, parent: u64, start: u64, end: u64) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: id(number),
        parent_span_id: if parent == 0 { Vec::new() } else { id(parent) },
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

fn on_host(host: &str, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource { attributes: vec![text("host.name", host)], ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }
}

fn adjusted(mut trace: Vec<ResourceSpans>) -> Vec<ResourceSpans> {
    adjust(&mut trace);
    trace
}

#[test]
fn a_server_under_its_client_s_id_becomes_its_child_and_keeps_its_children() {
    let kind = |kind: SpanKind, span| Span { kind: kind as i32, ..span };
    let trace = adjusted(vec![on_host(
        "a",
        vec![
            kind(SpanKind::Client, span(7, 0, 0, 100)),
            kind(SpanKind::Server, span(7, 0, 10, 90)),
            span(8, 7, 20, 30),
        ],
    )]);
    let ids: Vec<_> = spans(&trace).map(|span| (span.span_id.clone(), span.parent_span_id.clone())).collect();
    assert_eq!(ids, [(id(7), vec![]), (id(1), id(7)), (id(8), id(1))]);
}

#[test]
fn attributes_and_events_are_sorted_and_an_exact_double_goes() {
    let full = Span {
        attributes: vec![text("b", "2"), text("a", "1")],
        events: vec![
            Event { name: "z".to_owned(), ..Event::default() },
            Event {
                name: "a".to_owned(),
                attributes: vec![text("d", ""), text("c", "")],
                ..Event::default()
            },
        ],
        ..span(1, 0, 0, 9)
    };
    let reordered = Span { attributes: vec![text("a", "1"), text("b", "2")], ..full.clone() };
    let other = Span { attributes: vec![text("a", "3")], ..full.clone() };
    let trace = adjusted(vec![on_host("a", vec![full.clone(), other]), on_host("a", vec![full, reordered])]);
    let left: Vec<&Span> = spans(&trace).collect();
    assert_eq!(left.len(), 2, "one of the doubles, and the span that only has the same id");
    assert_eq!(left[0].attributes, [text("a", "1"), text("b", "2")]);
    assert_eq!(left[0].events[0].name, "a");
    assert_eq!(left[0].events[0].attributes[0].key, "c");
    assert_eq!(warnings(left[1]), ["duplicate span IDs; skipping clock skew adjustment"]);
}

#[test]
fn a_child_on_another_host_outside_of_its_parent_says_by_how_much() {
    let trace = adjusted(vec![
        on_host("a", vec![span(1, 0, 1_000_000, 3_000_000), span(4, 1, 500_000, 600_000)]),
        on_host("b", vec![span(2, 1, 500_000, 1_500_000), span(3, 2, 600_000, 700_000)]),
        on_host("c", vec![span(5, 1, 2_000_000, 2_500_000), span(6, 9, 0, 1)]),
    ]);
    let said: Vec<Vec<String>> = spans(&trace).map(warnings).collect();
    let disabled =
        |delta| vec![format!("clock skew adjustment disabled; not applying calculated delta of {delta}")];
    assert_eq!(said[0], Vec::<String>::new());
    assert_eq!(said[1], Vec::<String>::new(), "one host has one clock");
    assert_eq!(said[2], disabled("1ms"));
    assert_eq!(said[3], disabled("1ms"), "what runs on that host is wrong by as much");
    assert_eq!(said[4], Vec::<String>::new());
    assert_eq!(
        said[5],
        ["parent span ID=0000000000000009 is not in the trace; skipping clock skew adjustment"]
    );
}

#[test]
fn addresses_that_came_as_numbers_are_written_as_people_read_them() {
    let packed = Span {
        attributes: vec![
            attribute("ip", Value::IntValue(0x0808_0404)),
            attribute("peer.ipv4", Value::DoubleValue(16_777_343.0)),
            attribute("port", Value::IntValue(80)),
        ],
        ..span(1, 0, 0, 1)
    };
    let trace = adjusted(vec![on_host("a", vec![packed])]);
    let attributes = &spans(&trace).next().expect("a span").attributes;
    assert_eq!(
        attributes[..],
        [text("ip", "8.8.4.4"), text("peer.ipv4", "1.0.0.127"), attribute("port", Value::IntValue(80))]
    );
}

#[test]
fn what_describes_the_sdk_moves_to_the_resource_unless_it_differs() {
    let with = |value| Span { attributes: vec![text("telemetry.sdk.name", value)], ..span(1, 0, 0, 1) };
    let trace =
        adjusted(vec![on_host("a", vec![with("opentelemetry"), Span { span_id: id(2), ..with("own") }])]);
    let resource = trace[0].resource.as_ref().expect("a resource");
    assert_eq!(resource.attributes, [text("host.name", "a"), text("telemetry.sdk.name", "opentelemetry")]);
    let left: Vec<&Span> = spans(&trace).collect();
    assert!(left[0].attributes.is_empty());
    assert_eq!(
        warnings(left[1]),
        ["conflicting values between Span and Resource for attribute telemetry.sdk.name"]
    );
}

#[test]
fn links_to_no_trace_go() {
    let to = |byte| Link { trace_id: vec![byte; 16], span_id: id(5), ..Link::default() };
    let trace = adjusted(vec![on_host("a", vec![Span { links: vec![to(0), to(3)], ..span(1, 0, 0, 1) }])]);
    let span = spans(&trace).next().expect("a span");
    assert_eq!(span.links, [to(3)]);
    assert_eq!(warnings(span), ["Invalid span link removed"]);
}

/// A chain as long as this one would overflow the stack if it were walked by recursion.
#[test]
fn a_trace_may_be_deeper_than_the_stack() {
    let chain = (1..100_000).map(|number| span(number, number - 1, 0, 1)).collect();
    let trace = adjusted(vec![on_host("", chain)]);
    assert!(spans(&trace).all(|span| warnings(span).is_empty()));
}
