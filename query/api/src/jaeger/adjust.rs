//! What Jaeger changes in a trace before it shows it, unless it is asked for the raw one; in this order:
//!
//! 1. a server's span under its client's id gets an id of its own (Zipkin's way of counting), below the client's;
//! 2. attributes are sorted by key, events by name;
//! 3. a span that is there twice, exactly, is there once;
//! 4. children outside of their parent's time, and spans without their parent, get a warning (`clock_skew.rs`);
//! 5. `ip` and `peer.ipv4` as numbers become addresses;
//! 6. what describes the SDK moves from spans to their resource;
//! 7. links to no trace go, with a warning.
//!
//! Warnings travel as an attribute, as in Jaeger; v1 has a field for them.

mod clock_skew;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use weir_otlp::proto::common::v1::any_value::Value;
use weir_otlp::proto::common::v1::{AnyValue, ArrayValue, KeyValue};
use weir_otlp::proto::resource::v1::Resource;
use weir_otlp::proto::trace::v1::span::SpanKind;
use weir_otlp::proto::trace::v1::{ResourceSpans, Span};

/// The attribute that Jaeger keeps a span's warnings in.
pub(crate) const WARNINGS: &str = "@jaeger@warnings";

const OF_SDK: [&str; 5] = [
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "telemetry.distro.name",
    "telemetry.distro.version",
];

/// Adjusts one trace.
pub(crate) fn adjust(trace: &mut [ResourceSpans]) {
    tell_server_from_client(trace);
    sort(trace);
    drop_duplicates(trace);
    clock_skew::warn(trace);
    for group in trace.iter_mut() {
        let mut resource = group.resource.take().unwrap_or_default();
        write_addresses(&mut resource.attributes);
        for span in group.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
            write_addresses(&mut span.attributes);
            move_sdk(span, &mut resource);
            drop_empty_links(span);
        }
        group.resource = Some(resource);
    }
}

/// Adds a warning to a span.
pub(crate) fn warn(span: &mut Span, warning: impl Into<String>) {
    let warning = AnyValue { value: Some(Value::StringValue(warning.into())) };
    for attribute in &mut span.attributes {
        if attribute.key == WARNINGS
            && let Some(AnyValue { value: Some(Value::ArrayValue(list)) }) = &mut attribute.value
        {
            list.values.push(warning);
            return;
        }
    }
    let list = Value::ArrayValue(ArrayValue { values: vec![warning] });
    let value = Some(AnyValue { value: Some(list) });
    span.attributes.push(KeyValue { key: WARNINGS.to_owned(), value, key_strindex: 0 });
}

/// A span's warnings, in the order that they were added.
pub(crate) fn warnings(span: &Span) -> Vec<String> {
    let lists = span.attributes.iter().filter(|attribute| attribute.key == WARNINGS);
    let texts = lists.filter_map(|attribute| attribute.value.as_ref()?.value.as_ref()).flat_map(|value| {
        let Value::ArrayValue(list) = value else { return Vec::new() };
        list.values
            .iter()
            .filter_map(|item| match &item.value {
                Some(Value::StringValue(text)) => Some(text.clone()),
                _ => None,
            })
            .collect()
    });
    texts.collect()
}

fn spans(trace: &[ResourceSpans]) -> impl Iterator<Item = &Span> {
    trace.iter().flat_map(|group| &group.scope_spans).flat_map(|scope| &scope.spans)
}

fn spans_mut(trace: &mut [ResourceSpans]) -> impl Iterator<Item = &mut Span> {
    trace.iter_mut().flat_map(|group| &mut group.scope_spans).flat_map(|scope| &mut scope.spans)
}

fn tell_server_from_client(trace: &mut [ResourceSpans]) {
    let ids: HashSet<Vec<u8>> = spans(trace).map(|span| span.span_id.clone()).collect();
    let clients: HashSet<Vec<u8>> = spans(trace)
        .filter(|span| span.kind == SpanKind::Client as i32)
        .map(|span| span.span_id.clone())
        .collect();
    let mut next: u64 = 0;
    let mut renamed: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for span in spans_mut(trace) {
        if span.kind != SpanKind::Server as i32 || !clients.contains(&span.span_id) {
            continue;
        }
        let new = loop {
            next += 1;
            let id = next.to_be_bytes().to_vec();
            if !ids.contains(&id) {
                break id;
            }
        };
        let shared = std::mem::replace(&mut span.span_id, new.clone());
        span.parent_span_id.clone_from(&shared);
        renamed.insert(shared, new);
    }
    for span in spans_mut(trace) {
        if let Some(new) = renamed.get(&span.parent_span_id)
            && *new != span.span_id
        {
            span.parent_span_id.clone_from(new);
        }
    }
}

fn sort(trace: &mut [ResourceSpans]) {
    let by_key = |attributes: &mut Vec<KeyValue>| attributes.sort_by(|a, b| a.key.cmp(&b.key));
    for group in trace {
        if let Some(resource) = &mut group.resource {
            by_key(&mut resource.attributes);
        }
        for scope_group in &mut group.scope_spans {
            if let Some(scope) = &mut scope_group.scope {
                by_key(&mut scope.attributes);
            }
            for span in &mut scope_group.spans {
                by_key(&mut span.attributes);
                span.events.sort_by(|a, b| a.name.cmp(&b.name));
                for event in &mut span.events {
                    by_key(&mut event.attributes);
                }
                for link in &mut span.links {
                    by_key(&mut link.attributes);
                }
            }
        }
    }
}

/// Kept spans that may be equal: place of group, place of scope, span.
type Alike<'a> = Vec<(usize, usize, &'a Span)>;

fn drop_duplicates(trace: &mut [ResourceSpans]) {
    // Candidates by what is cheap to hash, then compared whole.
    let mut known: HashMap<(&[u8], u64), Alike<'_>> = HashMap::new();
    let mut doubles: HashSet<(usize, usize, usize)> = HashSet::new();
    for (group_place, group) in trace.iter().enumerate() {
        for (scope_place, scope_group) in group.scope_spans.iter().enumerate() {
            for (place, span) in scope_group.spans.iter().enumerate() {
                let alike = known.entry((&span.span_id, span.start_time_unix_nano)).or_default();
                let is_known = alike.iter().any(|&(group, scope, known)| {
                    known == span
                        && trace[group].resource == trace[group_place].resource
                        && trace[group].scope_spans[scope].scope == scope_group.scope
                });
                if is_known {
                    doubles.insert((group_place, scope_place, place));
                } else {
                    alike.push((group_place, scope_place, span));
                }
            }
        }
    }
    if doubles.is_empty() {
        return;
    }
    for (group_place, group) in trace.iter_mut().enumerate() {
        for (scope_place, scope_group) in group.scope_spans.iter_mut().enumerate() {
            let mut place = 0;
            scope_group.spans.retain(|_| {
                place += 1;
                !doubles.contains(&(group_place, scope_place, place - 1))
            });
        }
    }
}

fn write_addresses(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        if attribute.key != "ip" && attribute.key != "peer.ipv4" {
            continue;
        }
        let packed = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::IntValue(number)) => *number as u32,
            Some(Value::DoubleValue(number)) => *number as u32,
            _ => continue,
        };
        let text = Ipv4Addr::from_bits(packed).to_string();
        attribute.value = Some(AnyValue { value: Some(Value::StringValue(text)) });
    }
}

fn move_sdk(span: &mut Span, resource: &mut Resource) {
    let mut conflicts = Vec::new();
    span.attributes.retain(|attribute| {
        if !OF_SDK.contains(&attribute.key.as_str()) {
            return true;
        }
        match resource.attributes.iter().find(|known| known.key == attribute.key) {
            Some(known) if known.value != attribute.value => {
                conflicts.push(attribute.key.clone());
                return true;
            }
            Some(_) => {}
            None => resource.attributes.push(attribute.clone()),
        }
        false
    });
    for key in conflicts {
        warn(span, format!("conflicting values between Span and Resource for attribute {key}"));
    }
}

fn drop_empty_links(span: &mut Span) {
    let before = span.links.len();
    span.links.retain(|link| link.trace_id.iter().any(|&byte| byte != 0));
    for _ in span.links.len()..before {
        warn(span, "Invalid span link removed");
    }
}

#[cfg(test)]
mod tests;
