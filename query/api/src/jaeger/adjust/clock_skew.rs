//! Children outside of their parent's time: two hosts' clocks differ. Like Jaeger out of the box, nothing is moved: the
//! span says by how much it would have been.

use std::collections::HashMap;

use weir_otlp::proto::common::v1::any_value::Value;
use weir_otlp::proto::resource::v1::Resource;
use weir_otlp::proto::trace::v1::ResourceSpans;

use super::{spans, spans_mut};
use crate::jaeger::go_duration;

/// A span as far as its clock matters.
struct Node {
    id: Vec<u8>,
    parent: Vec<u8>,
    /// Empty where the resource doesn't name its host.
    host: String,
    start: i64,
    end: i64,
    children: Vec<usize>,
    warnings: Vec<String>,
}

/// Adds the warnings to one trace, whose span ids are unique but for repeated ones.
pub(super) fn warn(trace: &mut [ResourceSpans]) {
    let mut nodes = nodes(trace);
    let mut by_id: HashMap<Vec<u8>, usize> = HashMap::new();
    for (place, node) in nodes.iter_mut().enumerate() {
        if by_id.contains_key(&node.id) {
            node.warnings.push("duplicate span IDs; skipping clock skew adjustment".to_owned());
        } else {
            by_id.insert(node.id.clone(), place);
        }
    }
    let mut roots = Vec::new();
    for place in 0..nodes.len() {
        if by_id.get(&nodes[place].id) != Some(&place) {
            continue;
        }
        if nodes[place].parent.iter().all(|&byte| byte == 0) {
            roots.push(place);
        } else if let Some(&parent) = by_id.get(&nodes[place].parent) {
            nodes[parent].children.push(place);
        } else {
            let parent = hex::encode(&nodes[place].parent);
            nodes[place]
                .warnings
                .push(format!("parent span ID={parent} is not in the trace; skipping clock skew adjustment"));
            roots.push(place);
        }
    }
    // Not recursion: a trace may be as deep as it is long.
    let mut open: Vec<(usize, Option<usize>, String, i64)> =
        roots.into_iter().map(|root| (root, None, nodes[root].host.clone(), 0)).collect();
    while let Some((place, parent, mut host, mut delta)) = open.pop() {
        let node = &nodes[place];
        if let Some(parent) = parent
            && (node.host != host || node.host.is_empty())
        {
            delta = skew(node, &nodes[parent]);
            host.clone_from(&node.host);
        }
        if delta != 0 {
            let delta = go_duration::text(delta);
            nodes[place]
                .warnings
                .push(format!("clock skew adjustment disabled; not applying calculated delta of {delta}"));
        }
        open.extend(nodes[place].children.iter().map(|&child| (child, Some(place), host.clone(), delta)));
    }
    for (span, node) in spans_mut(trace).zip(nodes) {
        for warning in node.warnings {
            super::warn(span, warning);
        }
    }
}

fn nodes(trace: &[ResourceSpans]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for group in trace {
        let host = group.resource.as_ref().map(host).unwrap_or_default();
        nodes.extend(spans(std::slice::from_ref(group)).map(|span| Node {
            id: span.span_id.clone(),
            parent: span.parent_span_id.clone(),
            host: host.clone(),
            start: span.start_time_unix_nano as i64,
            end: span.end_time_unix_nano as i64,
            children: Vec::new(),
            warnings: Vec::new(),
        }));
    }
    nodes
}

/// What tells a host from another, as far as the resource says it.
fn host(resource: &Resource) -> String {
    for key in ["host.id", "host.ip", "host.name"] {
        let Some(attribute) = resource.attributes.iter().find(|attribute| attribute.key == key) else {
            continue;
        };
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        let first = match value {
            Some(Value::ArrayValue(list)) if key == "host.ip" => {
                list.values.first().and_then(|value| value.value.as_ref())
            }
            other => other,
        };
        return match first {
            Some(Value::StringValue(text)) => text.clone(),
            _ => String::new(),
        };
    }
    String::new()
}

/// By how much the child's clock seems to be wrong, if its parent's is right.
fn skew(child: &Node, parent: &Node) -> i64 {
    let [child_length, parent_length] = [child, parent].map(|node| node.end.saturating_sub(node.start));
    if child_length > parent_length {
        // It went on after its parent, or its parent gave up: all that is sure is that it didn't start before.
        return parent.start.saturating_sub(child.start).max(0);
    }
    if child.start >= parent.start && child.end <= parent.end {
        return 0;
    }
    // There and back took equally long.
    let latency = (parent_length - child_length) / 2;
    parent.start.saturating_add(latency).saturating_sub(child.start)
}
