//! The services' spans, posted to Weir as OTLP/HTTP JSON by the parent: the services can't reach the loopback
//! of this machine from their namespaces.
//!
//! Spans are an extra: when nobody listens they are counted and let go, and the demo runs on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::report::{Side, Span};

/// How long spans are gathered before they are posted: short, since people look for them at once.
const GATHER: Duration = Duration::from_millis(500);
const MAX_BATCH: usize = 512;
const PATIENCE: Duration = Duration::from_secs(3);

/// Where spans go; full or off, it drops them.
pub(super) struct Relay {
    queue: Option<mpsc::Sender<(&'static str, Span)>>,
    task: Option<JoinHandle<Outcome>>,
}

#[derive(Default)]
struct Outcome {
    accepted: usize,
    refused: usize,
    why: String,
}

impl Relay {
    /// Starts posting to `endpoint` (without `/v1/traces`); an empty one turns it off.
    pub(super) fn start(endpoint: &str) -> Self {
        if endpoint.is_empty() {
            return Self { queue: None, task: None };
        }
        let (queue, spans) = mpsc::channel(4 * MAX_BATCH);
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        Self { queue: Some(queue), task: Some(tokio::spawn(post_all(url, spans))) }
    }

    pub(super) fn send(&self, service: &'static str, span: Span) {
        if let Some(queue) = &self.queue {
            let _ = queue.try_send((service, span));
        }
    }

    /// Posts what is left and says in a phrase what became of the spans.
    pub(super) async fn finish(&mut self) -> String {
        self.queue = None;
        let Some(task) = self.task.take() else { return "no spans sent".into() };
        match timeout(PATIENCE, task).await {
            Ok(Ok(Outcome { accepted, refused: 0, .. })) => format!("{accepted} spans sent"),
            Ok(Ok(Outcome { accepted, refused, why })) => {
                format!("{accepted} spans sent, {refused} not ({why})")
            }
            _ => "spans not sent in time".into(),
        }
    }
}

async fn post_all(url: String, mut spans: mpsc::Receiver<(&'static str, Span)>) -> Outcome {
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap_or_default();
    let mut outcome = Outcome::default();
    while let Some(first) = spans.recv().await {
        let mut batch = vec![first];
        let end = Instant::now() + GATHER;
        while batch.len() < MAX_BATCH {
            let Ok(Some(next)) = timeout_at(end, spans.recv()).await else { break };
            batch.push(next);
        }
        let sent = client.post(&url).json(&request(&batch)).send().await;
        match sent.and_then(reqwest::Response::error_for_status) {
            Ok(_) => outcome.accepted += batch.len(),
            Err(err) => {
                outcome.refused += batch.len();
                outcome.why = err.to_string();
            }
        }
    }
    outcome
}

/// `ExportTraceServiceRequest` in OTLP's JSON encoding: one resource a service.
fn request(batch: &[(&'static str, Span)]) -> Value {
    let mut services: Vec<&str> = batch.iter().map(|(service, _)| *service).collect();
    services.sort_unstable();
    services.dedup();
    let resources = services.iter().map(|service| {
        let own = batch.iter().filter(|(of, _)| of == service);
        let spans: Vec<Value> = own.map(|(_, item)| span(item)).collect();
        json!({
            "resource": { "attributes": [
                text("service.name", service),
                text("service.namespace", "weir-demo"),
            ] },
            "scopeSpans": [{ "scope": { "name": "weir-demo" }, "spans": spans }],
        })
    });
    json!({ "resourceSpans": resources.collect::<Vec<_>>() })
}

fn span(span: &Span) -> Value {
    let server = span.side == Side::Server;
    let mut attributes = vec![text("http.request.method", &span.method), text("url.path", &span.path)];
    if let Some(status) = span.status {
        attributes.push(integer("http.response.status_code", status));
    }
    if let Some(peer) = span.peer {
        attributes.push(text("network.peer.address", &peer.ip().to_string()));
        attributes.push(integer("network.peer.port", peer.port()));
    }
    let failed = span.error.is_some() || span.status.is_some_and(|status| status >= 500);
    json!({
        "traceId": span.trace,
        "spanId": span.id,
        "parentSpanId": span.parent,
        "name": span.name,
        "kind": if server { 2 } else { 3 },
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.to_string(),
        "attributes": attributes,
        "status": if failed {
            json!({ "code": 2, "message": span.error.clone().unwrap_or_default() })
        } else {
            json!({})
        },
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn integer(key: &str, value: u16) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}
