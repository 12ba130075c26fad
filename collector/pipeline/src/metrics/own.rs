//! The collector's own counters: what came in, what was refused or lost and why, and what waits.

use weir_model::SmolStr;

use super::show::{Family, Points};
use crate::export::Exporter;
use crate::stage::Stage;

/// Families of counters and gauges, each with its series.
pub(super) fn families(stage: &Stage) -> Vec<Family> {
    let counts = stage.counts();
    let metrics = stage.metrics();
    let (overflowed, (held, hurried, unpaired), lost) =
        metrics.with(|totals| (totals.overflowed(), totals.held(), totals.lost.clone()));
    let traces = stage.assembly().counts();
    let lag = stage.lag();
    let by = |name: &'static str, all: Vec<(SmolStr, u64)>| {
        all.into_iter().map(|(label, count)| (vec![(name, label)], count)).collect::<Points>()
    };
    let one = |value: u64| vec![(Vec::new(), value)];
    let lost = lost.into_iter().map(|([component, counter, kind], count)| {
        (vec![("component", component), ("reason", counter), ("kind", kind)], count)
    });
    let overflowed = overflowed.into_iter().map(|(family, count)| (family.into(), count)).collect();
    let mut families = vec![
        Family::counter(
            "weir_ingest_rows",
            "Rows made durable",
            by("table", stage.counters().rows_by_table()),
        ),
        Family::counter("weir_ingest_batches", "Batches made durable", one(counts.batches)),
        Family::counter(
            "weir_ingest_duplicates",
            "Batches that had been stored before",
            one(counts.duplicates),
        ),
        Family::counter(
            "weir_ingest_refused",
            "Batches, or single spans and records, refused, by why",
            by("reason", stage.counters().refused_by_reason()),
        ),
        Family::counter(
            "weir_lost",
            "What probes, imports and the collector told that they lost, shed or left out, by what",
            lost.collect(),
        ),
        Family::counter("weir_stitch_spans", "Spans made of what the network saw", one(counts.stitched)),
        Family::gauge("weir_stitch_waiting", "Exchanges that wait for their trace", one(traces.waiting)),
        Family::counter("weir_identity_held", "Batches that waited for Kubernetes", one(counts.held)),
        Family::counter(
            "weir_identity_unknown_ends",
            "Ends that Kubernetes had not told of",
            one(counts.unknown_ends),
        ),
        Family::gauge(
            "weir_wal_bytes",
            "Bytes of the log that are not sealed into files",
            one(lag.wal_bytes),
        ),
        Family::gauge("weir_store_queue_batches", "Appends that wait for the log", one(lag.queued as u64)),
        Family::gauge(
            "weir_metrics_queue_batches",
            "Batches that wait to be counted",
            one(metrics.waiting() as u64),
        ),
        Family::gauge(
            "weir_metrics_held",
            "Requests and connections that wait for what others tell of them",
            one(held),
        ),
        Family::counter(
            "weir_metrics_hurried",
            "Requests and connections counted before all was told of them",
            one(hurried),
        ),
        Family::counter(
            "traces_service_graph_unpaired_spans",
            "Server spans below a span that nobody sent",
            one(unpaired),
        ),
        Family::counter(
            "weir_metrics_overflowed",
            "Events that had no room for a series of their own, by family",
            by("family", overflowed),
        ),
    ];
    families.extend(stage.exporter().into_iter().flat_map(|exporter| exported(exporter)));
    families
}

/// What is sent on to another receiver.
fn exported(exporter: &Exporter) -> [Family; 4] {
    let sent = exporter.sent().map(|(signal, count)| (vec![("signal", signal.into())], count));
    let lost = exporter
        .lost()
        .into_iter()
        .map(|(signal, reason, count)| (vec![("signal", signal.into()), ("reason", reason.into())], count));
    [
        Family::counter("weir_export_sent", "Spans and points that the receiver of exports has", sent.into()),
        Family::counter(
            "weir_export_lost",
            "Spans and points that it won't ever have, by why",
            lost.collect(),
        ),
        Family::counter(
            "weir_export_retries",
            "Requests that were sent again",
            vec![(Vec::new(), exporter.retries())],
        ),
        Family::gauge(
            "weir_export_queue_bytes",
            "Bytes that wait on disk to be sent",
            vec![(Vec::new(), exporter.queued_bytes())],
        ),
    ]
}
