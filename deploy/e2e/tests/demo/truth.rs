//! The demo's own spans, which know who asked whom, against the spans that Weir made of what it saw.

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;
use weir_e2e::Weir;

/// The demo's services that answer.
const SERVICES: [&str; 3] = ["front", "api", "store"];

/// How far an application's idea of its request's beginning may be from the kernel's, ns.
const APART_NS: i64 = 5_000_000;

struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    service: String,
    is_server: bool,
    peer_port: Option<String>,
    start: i64,
    end: i64,
}

/// How many of the demo's requests, and of the calls in them, Weir tells as they were.
#[derive(Debug, Default)]
pub(crate) struct Score {
    pub(crate) requests: usize,
    pub(crate) whole: usize,
    pub(crate) calls: usize,
    pub(crate) unseen: usize,
    pub(crate) misplaced: usize,
}

impl fmt::Display for Score {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Score { requests, whole, calls, unseen, misplaced } = self;
        let share = *whole as f64 / *requests as f64;
        write!(
            out,
            "{whole} of {requests} requests ({share:.4}) are whole traces; of {calls} calls {unseen} have no span, {misplaced} another parent"
        )
    }
}

/// Of the requests that the demo reported to `truth`, as `weir` saw them. The spans are all there.
pub(crate) async fn score(truth: &Weir, weir: &Weir) -> anyhow::Result<Score> {
    let (mut told, mut seen) = (Vec::new(), Vec::new());
    for service in ["client", "front", "api", "store"] {
        for kind in ["client", "server"] {
            let of_it = format!("service = '{service}' and kind = '{kind}'");
            told.extend(spans(truth, &format!("source = 'otlp' and {of_it}")).await?);
            let exchanges = format!("source = 'stitched' and operation like '% exchange' and {of_it}");
            seen.extend(spans(weir, &exchanges).await?);
        }
    }
    Ok(compare(&told, &seen))
}

async fn spans(weir: &Weir, condition: &str) -> anyhow::Result<Vec<Span>> {
    let sql = format!(
        "select trace_id, span_id, parent_span_id, service, kind, attributes, time::bigint, end_time::bigint from spans where {condition}"
    );
    let rows = weir.sql(&sql).await?;
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default();
    let span = |row: &Vec<Value>| Span {
        trace: text(&row[0]).unwrap_or_default(),
        id: text(&row[1]).unwrap_or_default(),
        parent: text(&row[2]),
        service: text(&row[3]).unwrap_or_default(),
        is_server: row[4] == "server",
        peer_port: text(&row[5]["network.peer.port"]),
        start: number(&row[6]),
        end: number(&row[7]),
    };
    Ok(rows.iter().map(span).collect())
}

fn compare(told: &[Span], seen: &[Span]) -> Score {
    let told_by_id: HashMap<&str, &Span> = told.iter().map(|span| (span.id.as_str(), span)).collect();
    let seen_by_id: HashMap<&str, &Span> = seen.iter().map(|span| (span.id.as_str(), span)).collect();
    let is_request = |span: &&Span| span.is_server && SERVICES.contains(&span.service.as_str());
    // The same request, as the kernel saw it: from that client's port, begun at about the same time.
    let twin = |span: &Span| {
        let fits = |other: &&Span| {
            other.is_server
                && other.service == span.service
                && other.peer_port == span.peer_port
                && other.start <= span.start + APART_NS
                && other.end >= span.start
        };
        seen.iter().filter(fits).min_by_key(|other| (other.start - span.start).abs())
    };
    // The request that this one was made for: past the spans of calls in between.
    let above = |span: &Span, all: &HashMap<&str, &Span>| {
        let mut at = span.parent.clone();
        while let Some(parent) = at.as_deref().and_then(|id| all.get(id)) {
            if parent.is_server {
                return Some(parent.id.clone());
            }
            at.clone_from(&parent.parent);
        }
        None
    };
    let mut score = Score::default();
    let mut traces: HashMap<&str, bool> = HashMap::new();
    for span in told.iter().filter(is_request) {
        score.calls += 1;
        let is_right = match twin(span) {
            None => {
                score.unseen += 1;
                false
            }
            Some(own) => {
                let cause = above(span, &told_by_id).and_then(|id| twin(told_by_id[id.as_str()]));
                let is_right = above(own, &seen_by_id).as_deref() == cause.map(|cause| cause.id.as_str())
                    && cause.is_none_or(|cause| cause.trace == own.trace);
                score.misplaced += usize::from(!is_right);
                is_right
            }
        };
        *traces.entry(&span.trace).or_insert(true) &= is_right;
    }
    score.requests = traces.len();
    score.whole = traces.values().filter(|is_whole| **is_whole).count();
    score
}
