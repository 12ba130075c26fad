//! Series → families: the names, types and labels that scrapes and exports have.
//!
//! Names follow OpenTelemetry's span metrics and service graph connectors, so that dashboards for these, and Jaeger's Monitor
//! tab, find them; what those have no name for is `weir_service_graph_…`.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use weir_model::SmolStr;

use super::own;
use super::series::{Bounded, Labels, Latency};
use super::totals::{Requests, Spans, Totals};
use crate::stage::Stage;

/// One family of series that have no exemplars.
#[derive(Debug)]
pub(crate) struct Family {
    /// Without `_total`.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) is_counter: bool,
    pub(crate) points: Points,
}

/// Labels and value of each series.
pub(crate) type Points = Vec<(Labels, u64)>;

impl Family {
    pub(crate) fn counter(name: &'static str, help: &'static str, points: Points) -> Family {
        Family { name, help, is_counter: true, points }
    }

    pub(crate) fn gauge(name: &'static str, help: &'static str, points: Points) -> Family {
        Family { name, help, is_counter: false, points }
    }
}

/// Gives out what was counted: to a scrape, as a [`Collector`] of prometheus-client.
#[derive(Clone, Debug)]
pub struct Metrics(pub(crate) Arc<Stage>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.metrics().with(|totals| show(totals, &mut encoder))?;
        self.0.metrics().with(plain).iter().chain(&own::families(&self.0)).try_for_each(|family| {
            let kind = if family.is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut of_family = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            family.points.iter().try_for_each(|(labels, value)| {
                let labels = shown(labels);
                let of_series = of_family.encode_family(&labels)?;
                if family.is_counter {
                    ConstCounter::new(*value).encode(of_series)
                } else {
                    ConstGauge::new(*value as i64).encode(of_series)
                }
            })
        })
    }
}

impl Metrics {
    /// All families of whole numbers, without examples.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut families = self.0.metrics().with(|totals| {
            let mut families = counters(totals);
            families.extend(plain(totals));
            families
        });
        families.extend(own::families(&self.0));
        families
    }

    /// Looks at each family of durations: its name without the unit, what it means, its series.
    pub(crate) fn each_histogram(&self, mut look: impl FnMut(&str, &str, &[(&Labels, &Latency)])) {
        self.0.metrics().with(|totals| {
            let spans = totals.spans.sorted().into_iter().map(|(labels, spans)| (labels, &spans.latency));
            let [_, (name, help)] = SPANS;
            look(name, help, &spans.collect::<Vec<_>>());
            let requests = |of: fn(&Requests) -> &Latency| {
                let all =
                    totals.requests.sorted().into_iter().map(|(labels, requests)| (labels, of(requests)));
                all.filter(|(_, latency)| latency.count() > 0).collect::<Vec<_>>()
            };
            let [_, (server, of_server), (client, of_client)] = REQUESTS;
            look(server, of_server, &requests(|requests| &requests.server));
            look(client, of_client, &requests(|requests| &requests.client));
        });
    }

    /// Who counts.
    pub(crate) fn node(&self) -> &str {
        self.0.node()
    }
}

fn shown(labels: &Labels) -> Vec<(&'static str, &str)> {
    labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// The families with exemplars.
fn show(totals: &Totals, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    type Of<S> = fn(&S) -> &dyn EncodeMetric;
    fn family<S>(
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&'static str, &'static str),
        kind: MetricType,
        series: &Bounded<S>,
        of: Of<S>,
    ) -> fmt::Result {
        let unit = matches!(kind, MetricType::Histogram).then_some(Unit::Seconds);
        let mut of_family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, series) in series.sorted() {
            let labels = shown(labels);
            of(series).encode(of_family.encode_family(&labels)?)?;
        }
        Ok(())
    }
    let (counter, histogram) = (MetricType::Counter, MetricType::Histogram);
    let [calls, duration] = SPANS;
    family(encoder, calls, counter, &totals.spans, |spans: &Spans| &spans.calls)?;
    family(encoder, duration, histogram, &totals.spans, |spans: &Spans| &spans.latency.shown)?;
    let [total, server, client] = REQUESTS;
    let requests = &totals.requests;
    family(encoder, total, MetricType::Counter, requests, |requests: &Requests| &requests.total)?;
    family(encoder, server, MetricType::Histogram, requests, |requests: &Requests| &requests.server.shown)?;
    family(encoder, client, MetricType::Histogram, requests, |requests: &Requests| &requests.client.shown)
}

/// Name and meaning of what is counted of spans.
const SPANS: [(&str, &str); 2] = [
    ("traces_span_metrics_calls", "Spans, each request of a service once"),
    ("traces_span_metrics_duration", "How long they took"),
];

/// Name and meaning of what is counted of requests between services.
const REQUESTS: [(&str, &str); 3] = [
    ("traces_service_graph_request", "Requests between two services, each once, whoever told of it"),
    ("traces_service_graph_request_server", "How long they took for the server"),
    ("traces_service_graph_request_client", "How long they took for the client"),
];

/// Counters that scrapes show with exemplars and exports without.
fn counters(totals: &Totals) -> Vec<Family> {
    let calls = totals.spans.sorted().into_iter();
    let calls = calls.map(|(labels, spans)| (labels.clone(), spans.latency.count())).collect();
    let requests = totals.requests.sorted().into_iter();
    let requests = requests.map(|(labels, requests)| (labels.clone(), requests.count())).collect();
    vec![
        Family::counter(SPANS[0].0, SPANS[0].1, calls),
        Family::counter(REQUESTS[0].0, REQUESTS[0].1, requests),
    ]
}

/// The families of the service graph that have no exemplars.
fn plain(totals: &Totals) -> Vec<Family> {
    let with = |labels: &Labels, more: &'static str| {
        let mut labels = labels.clone();
        labels.push(("sender", SmolStr::new_static(more)));
        labels
    };
    let failed = totals.requests.sorted().into_iter();
    let failed = failed.map(|(labels, requests)| (labels.clone(), requests.failed)).collect();
    let traffic = totals.traffic.sorted();
    let by_sender = |of: fn(&weir_stitch::graph::Traffic) -> [u64; 2]| {
        let each = traffic.iter().flat_map(|(labels, traffic)| {
            let [client, server] = of(traffic);
            [(with(labels, "client"), client), (with(labels, "server"), server)]
        });
        each.collect()
    };
    let connections =
        traffic.iter().map(|(labels, traffic)| ((*labels).clone(), traffic.connections)).collect();
    let failures = totals.failures.sorted().into_iter();
    let failures = failures.map(|(labels, count)| (labels.clone(), *count)).collect();
    vec![
        Family::counter(
            "traces_service_graph_request_failed",
            "Requests that failed, by what either end says",
            failed,
        ),
        Family::counter(
            "weir_service_graph_bytes",
            "Payload bytes between two services, each once, whoever told of it",
            by_sender(|traffic| [traffic.client_bytes, traffic.server_bytes]),
        ),
        Family::counter(
            "weir_service_graph_retransmits",
            "Segments sent again between two services",
            by_sender(|traffic| [traffic.client_retransmits, traffic.server_retransmits]),
        ),
        Family::counter(
            "weir_service_graph_connections",
            "Connections between two services, those that came to nothing included",
            connections,
        ),
        Family::counter(
            "weir_service_graph_connection_failures",
            "Connections between two services that failed, by why",
            failures,
        ),
    ]
}
