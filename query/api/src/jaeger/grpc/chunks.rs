//! A trace → messages that clients don't refuse: gRPC's take 4 MiB, unless they are told otherwise. A message has spans of
//! one trace only, and is never empty. A span that is alone too large goes without what makes it so, and says it.

use prost::Message;
use weir_otlp::proto::common::v1::InstrumentationScope;
use weir_otlp::proto::resource::v1::Resource;
use weir_otlp::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};

use super::proto::api_v2::{self, SpansResponseChunk};
use crate::jaeger::{adjust, model};

/// Bytes that a message has some of at most, so that a reader begins before a large trace has ended.
const USUAL_BYTES: usize = 1 << 20;
/// Bytes of a message that every client takes: 4 MiB, less what is around it.
const MOST_BYTES: usize = (4 << 20) - (16 << 10);
/// What a field's tag and length take beside its content.
const AROUND: usize = 8;
/// Bytes of a name or a message that is far too long.
const CUT_TEXT: usize = 1 << 10;

/// In OpenTelemetry's form.
pub(super) fn of_otlp(groups: Vec<ResourceSpans>) -> Vec<TracesData> {
    let mut chunks = Chunks::default();
    for group in groups {
        for scope_group in group.scope_spans {
            let shared = Shared {
                resource: group.resource.clone(),
                resource_url: group.schema_url.clone(),
                scope: scope_group.scope,
                scope_url: scope_group.schema_url,
            };
            chunks.add(&shared, scope_group.spans);
        }
    }
    chunks.done
}

/// In Jaeger's own form.
pub(super) fn of_api_v2(groups: &[ResourceSpans]) -> Vec<SpansResponseChunk> {
    let mut done = Vec::new();
    for trace in model::traces(groups) {
        let processes = trace.processes;
        let spans = trace.spans.into_iter().map(|(place, mut span)| {
            span.process = processes.get(place).cloned();
            fitting(span)
        });
        done.extend(split(spans, Message::encoded_len).into_iter().map(|spans| SpansResponseChunk { spans }));
    }
    done
}

/// Items in runs of some bytes.
pub(super) fn split<T>(items: impl IntoIterator<Item = T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut runs: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let more = size(&item) + AROUND;
        match runs.last_mut() {
            Some(run) if bytes + more <= USUAL_BYTES => {
                run.push(item);
                bytes += more;
            }
            _ => {
                runs.push(vec![item]);
                bytes = more;
            }
        }
    }
    runs
}

/// What the spans of one group have in common.
struct Shared {
    resource: Option<Resource>,
    resource_url: String,
    scope: Option<InstrumentationScope>,
    scope_url: String,
}

impl Shared {
    fn with(&self, spans: Vec<Span>) -> ResourceSpans {
        let scope = ScopeSpans { scope: self.scope.clone(), spans, schema_url: self.scope_url.clone() };
        let (resource, schema_url) = (self.resource.clone(), self.resource_url.clone());
        ResourceSpans { resource, scope_spans: vec![scope], schema_url }
    }
}

#[derive(Default)]
struct Chunks {
    done: Vec<TracesData>,
    /// Of the last one.
    bytes: usize,
}

impl Chunks {
    fn add(&mut self, shared: &Shared, spans: Vec<Span>) {
        let shared_bytes = shared.with(Vec::new()).encoded_len() + AROUND;
        // Whether the last message has this group already.
        let mut is_open = false;
        for span in spans {
            let span_bytes = span.encoded_len() + AROUND;
            if shared_bytes + span_bytes > MOST_BYTES {
                self.done.push(TracesData { resource_spans: vec![slimmed(shared.with(vec![span]))] });
                // Nothing more goes in there.
                self.bytes = MOST_BYTES;
                is_open = false;
                continue;
            }
            let more = span_bytes + if is_open { 0 } else { shared_bytes };
            let has_room = !self.done.is_empty() && self.bytes + more <= USUAL_BYTES;
            match self.done.last_mut() {
                Some(chunk) if has_room && is_open => {
                    let scope =
                        chunk.resource_spans.last_mut().and_then(|group| group.scope_spans.last_mut());
                    scope.expect("the group that is open").spans.push(span);
                    self.bytes += more;
                }
                Some(chunk) if has_room => {
                    chunk.resource_spans.push(shared.with(vec![span]));
                    self.bytes += more;
                }
                _ => {
                    self.done.push(TracesData { resource_spans: vec![shared.with(vec![span])] });
                    self.bytes = shared_bytes + span_bytes;
                }
            }
            is_open = true;
        }
    }
}

/// A group of one span, without as much of it as has to go.
fn slimmed(mut group: ResourceSpans) -> ResourceSpans {
    type Step = (&'static str, fn(&mut ResourceSpans));
    let steps: [Step; 6] = [
        ("events", |group| {
            for span in spans(group) {
                span.dropped_events_count += std::mem::take(&mut span.events).len() as u32;
            }
        }),
        ("links", |group| {
            for span in spans(group) {
                span.dropped_links_count += std::mem::take(&mut span.links).len() as u32;
            }
        }),
        ("attributes", |group| {
            for span in spans(group) {
                span.dropped_attributes_count += std::mem::take(&mut span.attributes).len() as u32;
            }
        }),
        ("scope", |group| {
            for scope in &mut group.scope_spans {
                *scope = ScopeSpans { spans: std::mem::take(&mut scope.spans), ..ScopeSpans::default() };
            }
        }),
        ("resource but for its service", |group| {
            group.schema_url.clear();
            if let Some(resource) = &mut group.resource {
                resource.entity_refs.clear();
                resource.attributes.retain(|attribute| {
                    attribute.key == "service.name" && attribute.encoded_len() < MOST_BYTES / 2
                });
            }
        }),
        ("texts beyond their first kilobyte", |group| {
            for span in spans(group) {
                cut(&mut span.name);
                cut(&mut span.trace_state);
                if let Some(status) = &mut span.status {
                    cut(&mut status.message);
                }
            }
        }),
    ];
    let bytes = group.encoded_len();
    let mut left_out = Vec::new();
    for (what, step) in steps {
        if group.encoded_len() + AROUND <= MOST_BYTES {
            break;
        }
        step(&mut group);
        left_out.push(what);
    }
    for span in spans(&mut group) {
        adjust::warn(span, too_large(bytes, &left_out));
    }
    group
}

fn spans(group: &mut ResourceSpans) -> impl Iterator<Item = &mut Span> {
    group.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans)
}

/// The span, without as much of it as has to go.
fn fitting(mut span: api_v2::Span) -> api_v2::Span {
    type Step = (&'static str, fn(&mut api_v2::Span));
    let steps: [Step; 5] = [
        ("logs", |span| span.logs.clear()),
        ("tags", |span| span.tags.clear()),
        ("references", |span| span.references.truncate(1)),
        ("process' tags", |span| {
            if let Some(process) = &mut span.process {
                process.tags.clear();
                cut(&mut process.service_name);
            }
        }),
        ("texts beyond their first kilobyte", |span| {
            cut(&mut span.operation_name);
            span.warnings.iter_mut().for_each(cut);
        }),
    ];
    let bytes = span.encoded_len();
    let mut left_out = Vec::new();
    for (what, step) in steps {
        if span.encoded_len() + AROUND <= MOST_BYTES {
            break;
        }
        step(&mut span);
        left_out.push(what);
    }
    if !left_out.is_empty() {
        span.warnings.push(too_large(bytes, &left_out));
    }
    span
}

fn too_large(bytes: usize, left_out: &[&str]) -> String {
    format!("the span is too large for gRPC ({bytes} bytes): left out are its {}", left_out.join(", "))
}

fn cut(text: &mut String) {
    if text.len() > CUT_TEXT {
        text.truncate(text.floor_char_boundary(CUT_TEXT));
    }
}

#[cfg(test)]
mod tests;
