//! Spans, calls and flows → series.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use weir_model::{FlowRow, ProbeHealthRow, SmolStr, SpanRow, format_smolstr};
use weir_stitch::graph::{Call, Graph, Link, Links, Traffic};

use super::Limits;
use super::series::{Bounded, Counter, Labels, Latency, example, example_of, moment, one_more, value};

/// All that was counted.
#[derive(Debug)]
pub(crate) struct Totals {
    graph: Graph,
    links: Links,
    /// Spans by service, name, kind and status.
    pub(crate) spans: Bounded<Spans>,
    /// Requests by who asked whom.
    pub(crate) requests: Bounded<Requests>,
    /// What went between two services.
    pub(crate) traffic: Bounded<Traffic>,
    /// Connections between them that failed, by why.
    pub(crate) failures: Bounded<u64>,
    /// What probes and imports lost, by who, what and how: these are bounded by what counters there are.
    pub(crate) lost: BTreeMap<[SmolStr; 3], u64>,
}

/// Spans of one name.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    pub(super) calls: Counter,
    pub(crate) latency: Latency,
}

/// Requests from one service to another.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(super) total: Counter,
    pub(crate) failed: u64,
    /// By what the client saw, and by what the server did.
    pub(crate) client: Latency,
    pub(crate) server: Latency,
}

impl Requests {
    pub(crate) fn count(&self) -> u64 {
        self.total.get().0
    }
}

/// Counters of probes that are told apart.
const MOST_COUNTERS: usize = 1_000;

impl Totals {
    pub(super) fn new(limits: Limits) -> Totals {
        Totals {
            graph: Graph::new(limits.graph),
            links: Links::new(limits.graph),
            spans: Bounded::new(limits.series),
            requests: Bounded::new(limits.series),
            traffic: Bounded::new(limits.series),
            failures: Bounded::new(limits.series),
            lost: BTreeMap::new(),
        }
    }

    pub(super) fn add_spans(&mut self, spans: &[SpanRow], now_ns: i64) {
        for span in spans {
            self.graph.add(span, now_ns);
            // The network's part of a request that counts already, or of none.
            if span.request == Some(false) {
                continue;
            }
            let spans = self.spans.of(labels(span), Spans::default);
            one_more(&spans.calls, example(span));
            spans.latency.add(span.duration_ns, example(span));
        }
    }

    pub(super) fn add_flows(&mut self, flows: &[FlowRow], now_ns: i64) {
        for flow in flows {
            self.links.add(flow, now_ns);
        }
    }

    pub(super) fn add_health(&mut self, rows: &[ProbeHealthRow]) {
        for row in rows.iter().filter(|row| matches!(row.kind.as_deref(), Some("lost" | "shed" | "meant"))) {
            let text = |text: &Option<SmolStr>| value(text.as_ref());
            let mut key = [text(&row.component), text(&row.counter), text(&row.kind)];
            if self.lost.len() >= MOST_COUNTERS && !self.lost.contains_key(&key) {
                key = [text(&row.component), "others".into(), text(&row.kind)];
            }
            *self.lost.entry(key).or_default() += u64::try_from(row.value).unwrap_or_default();
        }
    }

    /// What is whole at `now_ns`.
    pub(super) fn settle(&mut self, now_ns: i64) {
        for call in self.graph.settle(now_ns) {
            self.add_call(&call);
        }
        for link in self.links.settle(now_ns) {
            self.add_link(&link);
        }
    }

    /// Events that had no room for a series of their own, by family.
    pub(super) fn overflowed(&self) -> [(&'static str, u64); 4] {
        [
            ("spans", self.spans.overflowed()),
            ("requests", self.requests.overflowed()),
            ("traffic", self.traffic.overflowed()),
            ("failures", self.failures.overflowed()),
        ]
    }

    /// Requests and connections that wait; those that went early, for want of room; and spans of whom nobody knows who asked.
    pub(super) fn held(&self) -> (u64, u64, u64) {
        let (graph, (waiting, hurried)) = (self.graph.counts(), self.links.counts());
        (graph.waiting + waiting, graph.hurried + hurried, graph.unpaired)
    }

    fn add_call(&mut self, call: &Call) {
        let kind = match (call.is_virtual, call.is_message) {
            (true, _) => "virtual_node",
            (false, true) => "messaging_system",
            (false, false) => "",
        };
        let mut labels = ends(&call.client, &call.server);
        labels.push(("connection_type", SmolStr::new_static(kind)));
        let requests = self.requests.of(labels, Requests::default);
        let example = || Some((example_of(&call.trace_id, &call.span_id), moment(call.end_ns)));
        one_more(&requests.total, example());
        requests.failed += u64::from(call.is_error);
        if let Some(ns) = call.client_ns {
            requests.client.add(ns, example());
        }
        if let Some(ns) = call.server_ns {
            requests.server.add(ns, example());
        }
    }

    fn add_link(&mut self, Link { client, server, traffic, failure }: &Link) {
        let total = self.traffic.of(ends(client, server), Traffic::default);
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut total.client_bytes, traffic.client_bytes);
        add(&mut total.server_bytes, traffic.server_bytes);
        add(&mut total.client_retransmits, traffic.client_retransmits);
        add(&mut total.server_retransmits, traffic.server_retransmits);
        add(&mut total.connections, traffic.connections);
        if let Some(failure) = failure {
            let mut labels = ends(client, server);
            labels.push(("reason", failure.clone()));
            *self.failures.of(labels, u64::default) += 1;
        }
    }
}

fn ends(client: &SmolStr, server: &SmolStr) -> Labels {
    vec![("client", value(Some(client))), ("server", value(Some(server)))]
}

/// As the span metrics connector has them.
fn labels(span: &SpanRow) -> Labels {
    let constant = |prefix: &str, word: Option<&SmolStr>| {
        word.map_or_else(SmolStr::default, |word| format_smolstr!("{prefix}{}", word.to_uppercase()))
    };
    vec![
        ("service_name", value(span.service.as_ref())),
        ("span_name", value(span.operation.as_ref())),
        ("span_kind", constant("SPAN_KIND_", span.kind.as_ref())),
        ("status_code", constant("STATUS_CODE_", span.status.as_ref())),
    ]
}

/// Only what is counted: a flow has many more columns.
pub(super) fn columns_of_flows(batch: &RecordBatch) -> RecordBatch {
    const COLUMNS: [&str; 20] = [
        "connection_id",
        "state",
        "close_reason",
        "observer",
        "protocol",
        "client_ip",
        "client_port",
        "server_ip",
        "server_port",
        "client_bytes",
        "server_bytes",
        "client_retransmits",
        "server_retransmits",
        "client_process",
        "client_workload",
        "client_workload_kind",
        "server_process",
        "server_workload",
        "server_workload_kind",
        "source",
    ];
    let schema = batch.schema_ref();
    let names = COLUMNS.iter().chain(&["client_name", "server_name"]);
    let places: Vec<usize> = names.filter_map(|name| schema.index_of(name).ok()).collect();
    batch.project(&places).expect("places of the batch's own columns")
}
