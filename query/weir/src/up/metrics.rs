//! How much `/metrics` tells apart, as `weir up` is told.

use weir_collector::MetricsLimits;

/// What `/metrics` counts.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Sets of labels that each family of `/metrics` has at most; what is beyond is counted together, under
    /// `otel_metric_overflow="true"`.
    #[arg(long, env = "WEIR_METRICS_SERIES", value_name = "NUMBER", default_value_t = MetricsLimits::default().series)]
    metrics_series: usize,
    /// Seconds that the service graph waits for all that may tell of a request: applications send their spans some seconds late.
    #[arg(long, env = "WEIR_SERVICE_GRAPH_WAIT", value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=600))]
    service_graph_wait: u32,
}

impl Args {
    /// As the collector wants it, with as many `requests` under way as there is memory for.
    pub(crate) fn limits(&self, requests: usize) -> MetricsLimits {
        let mut limits = MetricsLimits { series: self.metrics_series, ..MetricsLimits::default() };
        limits.graph.requests = requests;
        limits.graph.hold_ns = i64::from(self.service_graph_wait) * 1_000_000_000;
        limits
    }
}
