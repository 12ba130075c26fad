//! What `/metrics` shows → OTLP metrics, cumulative since the start, with the connectors' names for what they have.

use prost::Message;
use weir_model::SmolStr;
use weir_otlp::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use weir_otlp::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use weir_otlp::proto::metrics::v1::metric::Data;
use weir_otlp::proto::metrics::v1::number_data_point::Value as Number;
use weir_otlp::proto::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use weir_otlp::proto::resource::v1::Resource;

use crate::metrics::{BOUNDS, Family, Labels, Latency, Shown};

/// Points of one request: with their labels some hundred bytes each.
const MOST_POINTS: usize = 4_096;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Requests with all families, each with how many points it has.
pub(super) fn requests(shown: &Shown, start_ns: i64, now_ns: i64) -> Vec<(u64, Vec<u8>)> {
    let times = Times { start: start_ns.max(0).cast_unsigned(), now: now_ns.max(0).cast_unsigned() };
    let mut metrics = Vec::new();
    for family in shown.families() {
        for points in family.points.chunks(MOST_POINTS) {
            metrics.push((points.len(), whole(&family, points, times)));
        }
    }
    shown.each_histogram(|name, help, series| {
        for some in series.chunks(MOST_POINTS) {
            metrics.push((some.len(), histogram(name, help, some, times)));
        }
    });
    let mut requests: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut together: (usize, Vec<Metric>) = (0, Vec::new());
    for (points, metric) in metrics.into_iter().filter(|(points, _)| *points > 0) {
        if together.0 + points > MOST_POINTS && together.0 > 0 {
            requests.push(request(std::mem::take(&mut together), shown.node()));
        }
        together.0 += points;
        together.1.push(metric);
    }
    if together.0 > 0 {
        requests.push(request(together, shown.node()));
    }
    requests
}

#[derive(Clone, Copy)]
struct Times {
    start: u64,
    now: u64,
}

fn request((points, metrics): (usize, Vec<Metric>), node: &str) -> (u64, Vec<u8>) {
    let attributes = [
        ("service.name", "weir"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", node),
    ];
    let resource = Resource {
        attributes: attributes.map(|(key, value)| attribute(key, value)).into(),
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "weir".to_owned(), ..InstrumentationScope::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let group = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    (points as u64, ExportMetricsServiceRequest { resource_metrics: vec![group] }.encode_to_vec())
}

fn whole(family: &Family, points: &[(Labels, u64)], times: Times) -> Metric {
    let data_points = points.iter().map(|(labels, value)| NumberDataPoint {
        attributes: attributes(family.name, labels),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        value: Some(Number::AsInt(i64::try_from(*value).unwrap_or(i64::MAX))),
        ..NumberDataPoint::default()
    });
    let data_points = data_points.collect();
    let data = if family.is_counter {
        Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
    } else {
        Data::Gauge(Gauge { data_points })
    };
    let suffix = if family.is_counter && !is_of_spans(family.name) { "_total" } else { "" };
    metric(format!("{}{suffix}", name(family.name)), family.help, "", data)
}

fn histogram(base: &str, help: &str, series: &[(&Labels, &Latency)], times: Times) -> Metric {
    let data_points = series.iter().map(|(labels, latency)| HistogramDataPoint {
        attributes: attributes(base, labels),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        count: latency.count(),
        sum: Some(latency.sum),
        bucket_counts: latency.counts.to_vec(),
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    });
    let data = Histogram { data_points: data_points.collect(), aggregation_temporality: CUMULATIVE };
    let suffix = if is_of_spans(base) { "" } else { "_seconds" };
    metric(format!("{}{suffix}", name(base)), help, "s", Data::Histogram(data))
}

fn metric(name: String, help: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name,
        description: help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The span metrics connector writes its names with dots; the service graph connector does not.
fn is_of_spans(name: &str) -> bool {
    name.starts_with("traces_span_metrics_")
}

fn name(base: &str) -> String {
    if is_of_spans(base) { base.replace('_', ".") } else { base.to_owned() }
}

fn attributes(base: &str, labels: &Labels) -> Vec<KeyValue> {
    let of = |(name, value): &(&'static str, SmolStr)| {
        let name = if is_of_spans(base) { name.replace('_', ".") } else { (*name).to_owned() };
        attribute(&name, value)
    };
    labels.iter().map(of).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), key_strindex: 0 }
}
