//! `/metrics`: this process, its store and its questions; and what a collector in it counts.
//!
//! OpenMetrics where it is asked for, as Prometheus does: only that has exemplars. Else Prometheus' own text format.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::Api;
use crate::error::ApiError;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers a scrape.
pub(crate) async fn answer(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let wants = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open = wants.contains("application/openmetrics-text");
    // Thousands of series take longer than other requests want to wait.
    let page = tokio::task::spawn_blocking(move || page(api, is_open)).await;
    let page = page.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, if is_open { OPENMETRICS } else { PROMETHEUS })], page))
}

fn page(api: Arc<Api>, is_open: bool) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    if let Some(metrics) = api.info.metrics.clone() {
        registry.register_collector(Box::new(Shared(metrics)));
    }
    registry.register_collector(Box::new(Own(api)));
    let mut page = String::new();
    if is_open {
        text::encode(&mut page, &registry)?;
    } else {
        prometheus_text::encode(&mut page, &registry)?;
    }
    Ok(page)
}

#[derive(Debug)]
struct Shared(Arc<dyn Collector>);

impl Collector for Shared {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// What the API itself knows.
#[derive(Debug)]
struct Own(Arc<Api>);

impl Collector for Own {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Own(api) = self;
        let stats = api.store.stats();
        let mut by_table = |name: &str, help: &str, value: fn(&weir_store::TableStats) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            stats.iter().try_for_each(|table| {
                let labels = [("table", table.table)];
                ConstGauge::new(value(table) as i64).encode(family.encode_family(&labels)?)
            })
        };
        by_table("weir_store_memory_rows", "Rows in memory, not sealed yet", |table| table.rows_memory)?;
        by_table("weir_store_memory_bytes", "Bytes in memory, not sealed yet", |table| table.bytes_memory)?;
        by_table("weir_store_sealed_rows", "Rows in Parquet files", |table| table.rows_sealed)?;
        by_table("weir_store_files", "Parquet files", |table| table.files)?;
        by_table("weir_store_damaged_rows", "Rows whose files were damaged", |table| table.rows_damaged)?;
        by_table("weir_store_sealed_bytes", "Bytes of the Parquet files", |table| table.bytes)?;
        let mut gauge = |name: &str, help: &str, value: usize| {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as i64).encode(family)
        };
        gauge("weir_query_running", "Questions that are worked on now", api.engine.running())?;
        let is_running = api.info.probe.read().state == "running";
        gauge("weir_probe_running", "Whether the probe in this process runs", is_running.into())?;
        let is_current = api.info.kubernetes.state().state == "current";
        gauge("weir_kubernetes_current", "Whether the view of Kubernetes is current", is_current.into())?;
        let mut counter = |name: &str, help: &str, value: u64| {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(family)
        };
        let merged = api.store.compacted();
        counter("weir_store_merged_rows", "Rows of files that were merged into larger ones", merged.rows)?;
        counter("weir_store_merged_bytes", "Bytes of files that were made of others", merged.bytes_written)?;
        counter(
            "weir_store_deleted_rows",
            "Rows deleted for their age, or for want of room",
            api.store.deleted_rows(),
        )?;
        if let Some(spread) = api.engine.spread() {
            let (name, help) =
                ("weir_query_spread", "Questions that executors were asked, and what became of them");
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (outcome, value) in
                [("answered", spread.answered), ("alone", spread.alone), ("broken_off", spread.broken_off)]
            {
                ConstCounter::new(value).encode(family.encode_family(&[("outcome", outcome)])?)?;
            }
        }
        let mut build = encoder.encode_descriptor("weir_build_info", "Version", None, MetricType::Gauge)?;
        let labels = [("version", api.info.version)];
        ConstGauge::new(1_i64).encode(build.encode_family(&labels)?)
    }
}
