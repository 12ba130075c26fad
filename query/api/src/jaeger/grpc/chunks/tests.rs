use proptest::prelude::*;
use weir_otlp::proto::common::v1::any_value::Value;
use weir_otlp::proto::common::v1::{AnyValue, KeyValue};
use weir_otlp::proto::trace::v1::span::Event;

use super::*;

/// What a client takes that nobody told otherwise.
const CLIENT_BYTES: usize = 4 << 20;

fn text(key: &str, bytes: usize) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue("x".repeat(bytes))) });
    KeyValue { key: key.to_owned(), value, key_strindex: 0 }
}

fn span(number: u64, bytes: usize) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: number.to_be_bytes().to_vec(),
        name: format!("span {number}"),
        attributes: vec![text("fat", bytes)],
        ..Span::default()
    }
}

fn group(service: &str, spans: Vec<Span>) -> ResourceSpans {
    let mut name = text("service.name", 0);
    name.value = Some(AnyValue { value: Some(Value::StringValue(service.to_owned())) });
    ResourceSpans {
        resource: Some(Resource { attributes: vec![name], ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        schema_url: String::new(),
    }
}

/// Which spans of which service a message has.
fn contents(chunk: &TracesData) -> Vec<(String, Vec<u8>)> {
    let of_group = |group: &ResourceSpans| {
        let service = format!("{:?}", group.resource);
        let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
        spans.map(|span| (service.clone(), span.span_id.clone())).collect::<Vec<_>>()
    };
    chunk.resource_spans.iter().flat_map(of_group).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the sizes: no message is empty or too large, and together they have each span once, in order.
    #[test]
    fn every_span_is_in_one_message_and_none_is_too_large(
        sizes in prop::collection::vec(prop::collection::vec(0_usize..700_000, 0..12), 0..5)
    ) {
        let mut number = 0;
        let groups: Vec<ResourceSpans> = sizes.iter().enumerate().map(|(service, sizes)| {
            let spans = sizes.iter().map(|size| { number += 1; span(number, *size) });
            group(&format!("service {service}"), spans.collect())
        }).collect();
        let expected = contents(&TracesData { resource_spans: groups.clone() });
        let chunks = of_otlp(groups.clone());
        prop_assert_eq!(chunks.iter().flat_map(contents).collect::<Vec<_>>(), expected);
        for chunk in &chunks {
            prop_assert!(chunk.encoded_len() <= USUAL_BYTES + 1024, "{}", chunk.encoded_len());
            prop_assert!(!contents(chunk).is_empty());
        }
        let old = of_api_v2(&groups);
        prop_assert_eq!(old.iter().map(|chunk| chunk.spans.len()).sum::<usize>(), number as usize);
        for chunk in old {
            prop_assert!(chunk.encoded_len() <= USUAL_BYTES + 1024 && !chunk.spans.is_empty());
        }
    }
}

#[test]
fn many_small_spans_share_messages() {
    let spans = (0..10_000).map(|number| span(number, 10)).collect();
    let chunks = of_otlp(vec![group("shop", spans)]);
    assert_eq!(chunks.iter().map(|chunk| contents(chunk).len()).sum::<usize>(), 10_000);
    assert!(chunks.len() < 5, "{} messages", chunks.len());
}

#[test]
fn a_span_that_no_client_takes_goes_without_what_makes_it_so() {
    let mut fat = span(2, 5 << 20);
    fat.events.push(Event { name: "small".to_owned(), ..Event::default() });
    let chunks = of_otlp(vec![group("shop", vec![span(1, 10), fat.clone(), span(3, 10)])]);
    let counts: Vec<usize> = chunks.iter().map(|chunk| contents(chunk).len()).collect();
    assert_eq!(counts, [1, 1, 1]);
    assert!(chunks.iter().all(|chunk| chunk.encoded_len() < CLIENT_BYTES));
    let slim = &chunks[1].resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((slim.dropped_events_count, slim.dropped_attributes_count), (1, 1));
    let warnings = adjust::warnings(slim);
    let end = "left out are its events, links, attributes";
    assert!(warnings[0].ends_with(end), "{warnings:?}");

    let old = of_api_v2(&[group("shop", vec![fat])]);
    assert!(old[0].encoded_len() < CLIENT_BYTES);
    assert!(
        old[0].spans[0].warnings[0].ends_with("left out are its logs, tags"),
        "{:?}",
        old[0].spans[0].warnings
    );
}

/// Whatever it is that is too large.
#[test]
fn nothing_makes_a_message_too_large() {
    let fat = "x".repeat(5 << 20);
    let named = Span { name: fat.clone(), ..span(1, 1) };
    let mut of_fat_resource = group("shop", vec![span(1, 1)]);
    of_fat_resource.resource.get_or_insert_default().attributes.push(text("fat", 5 << 20));
    let mut of_fat_scope = group("shop", vec![span(1, 1)]);
    of_fat_scope.scope_spans[0].scope =
        Some(InstrumentationScope { name: fat.clone(), ..Default::default() });
    for groups in [
        vec![group("shop", vec![named])],
        vec![of_fat_resource],
        vec![of_fat_scope],
        vec![group(&fat, vec![span(1, 1)])],
    ] {
        let old = of_api_v2(&groups);
        let chunks = of_otlp(groups);
        assert_eq!((chunks.len(), old.len()), (1, 1));
        assert!(chunks[0].encoded_len() < CLIENT_BYTES && old[0].encoded_len() < CLIENT_BYTES);
        assert_eq!(contents(&chunks[0]).len(), 1);
    }
}
