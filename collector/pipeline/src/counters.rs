//! What came in and what was refused, and the `probe_health` rows that say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weir_model::{ProbeHealthRow, SmolStr, format_smolstr};

use crate::stage::Stage;

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Batches made durable (those sent twice included).
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Batches among them, spans included, that had been stored before.
    pub duplicates: u64,
    /// Spans stitched from them.
    pub stitched: u64,
    /// Batches, or single spans, refused.
    pub refused: u64,
    /// Batches and requests that found no room in memory: their senders keep them and come again.
    pub put_off: u64,
    /// Batches that waited for Kubernetes to tell of a pod.
    pub held: u64,
    /// Ends of rows whose pod or address Kubernetes had not told of, after the wait.
    pub unknown_ends: u64,
    /// Kubernetes' objects that could not be read.
    pub unreadable_objects: u64,
}

/// The counters behind [`Counts`], and what was refused by whom and why since the last report.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    batches: AtomicU64,
    rows: AtomicU64,
    duplicates: AtomicU64,
    stitched: AtomicU64,
    refused: AtomicU64,
    put_off: AtomicU64,
    held: AtomicU64,
    unknown_ends: AtomicU64,
    unreadable_objects: AtomicU64,
    /// (sender, reason) → how many; bounded, since a sender may call itself anything.
    unreported: Mutex<Unreported>,
}

type Unreported = BTreeMap<(SmolStr, &'static str), u64>;

/// Senders that are told apart in one report; the rest is counted together.
const MOST_SENDERS: usize = 256;

impl Counters {
    pub(crate) fn stored(&self, rows: u64, stitched: u64, duplicates: u64) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.stitched.fetch_add(stitched, Ordering::Relaxed);
        self.duplicates.fetch_add(duplicates, Ordering::Relaxed);
    }

    /// Spans that follow from several batches.
    pub(crate) fn stitched(&self, spans: u64) {
        self.stitched.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn put_off(&self) {
        self.put_off.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn named(&self, held: u64, unknown_ends: u64) {
        self.held.fetch_add(held, Ordering::Relaxed);
        self.unknown_ends.fetch_add(unknown_ends, Ordering::Relaxed);
    }

    pub(crate) fn unreadable_object(&self) {
        self.unreadable_objects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, sender: &str, reason: &'static str, count: u64) {
        self.refused.fetch_add(count, Ordering::Relaxed);
        let mut unreported = self.unreported.lock();
        let sender = if unreported.len() < MOST_SENDERS { SmolStr::new(sender) } else { "others".into() };
        *unreported.entry((sender, reason)).or_default() += count;
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            batches: self.batches.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            stitched: self.stitched.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            put_off: self.put_off.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            unknown_ends: self.unknown_ends.load(Ordering::Relaxed),
            unreadable_objects: self.unreadable_objects.load(Ordering::Relaxed),
        }
    }

    fn take(&self) -> Unreported {
        std::mem::take(&mut *self.unreported.lock())
    }

    fn put_back(&self, taken: Unreported) {
        let mut unreported = self.unreported.lock();
        for (key, count) in taken {
            *unreported.entry(key).or_default() += count;
        }
    }
}

fn rows_of(taken: &Unreported, time: i64, boot_id: &str) -> Vec<ProbeHealthRow> {
    let row = |((sender, reason), count): (&(SmolStr, &'static str), &u64)| ProbeHealthRow {
        time,
        node: Some(sender.clone()),
        boot_id: Some(boot_id.into()),
        component: Some("collector".into()),
        counter: Some(format_smolstr!("refused_{reason}")),
        value: *count as i64,
        kind: Some("lost".into()),
        message: Some(format_smolstr!(
            "the collector refused {count} from {sender} ({reason}): its log says why"
        )),
    };
    taken.iter().map(row).collect()
}

/// How many there are.
const TOTALS: usize = 9;

/// What a stage could not do so far.
#[derive(Clone, Copy, Debug)]
struct Total {
    counter: &'static str,
    value: u64,
    kind: &'static str,
    message: &'static str,
}

/// What the collector could not do at once, or not well.
fn totals(stage: &Stage) -> [Total; TOTALS] {
    let Counts { put_off, held, unknown_ends, unreadable_objects, .. } = stage.counts();
    let losses = stage.enricher().history.read().losses();
    let traces = stage.assembly().counts();
    let total = |counter, value, kind, message| Total { counter, value, kind, message };
    [
        total(
            "intake_full",
            put_off,
            "gauge",
            "batches or requests found no memory left: senders were asked to send them again (--memory-limit)",
        ),
        total("identity_held", held, "gauge", "batches waited for Kubernetes to tell of a pod"),
        total(
            "identity_unknown",
            unknown_ends,
            "gauge",
            "ends of rows keep their pod's UID or their address alone: Kubernetes had not told of them in time",
        ),
        total("k8s_unreadable", unreadable_objects, "gauge", "objects of Kubernetes had no name or no UID"),
        total(
            "identity_evicted",
            losses.evicted,
            "shed",
            "who had an address was forgotten before its time, for want of room: late rows may lack names",
        ),
        total(
            "identity_refused",
            losses.refused,
            "shed",
            "objects of Kubernetes beyond a million were not taken in",
        ),
        total(
            "pairing_hurried",
            stage.pairing_hurried(),
            "shed",
            "what was told of connections was forgotten before a minute, for want of room: halves that come late may count twice",
        ),
        total(
            "traces_hurried",
            traces.hurried,
            "shed",
            "exchanges got their trace before all around them were told of, for want of room: traces may be split",
        ),
        total(
            "traces_orphaned",
            traces.orphaned,
            "gauge",
            "exchanges were made for one that nobody told of in time: a trace begins at them",
        ),
    ]
}

/// Rows of what rose since the last report.
fn rows_of_totals(stage: &Stage, totals: &[Total], reported: &[u64]) -> Vec<ProbeHealthRow> {
    let risen = totals.iter().zip(reported).filter(|(total, reported)| total.value > **reported);
    let row = |(total, reported): (&Total, &u64)| ProbeHealthRow {
        time: stage.now(),
        node: Some(stage.node().into()),
        boot_id: Some(stage.boot_id().into()),
        component: Some("collector".into()),
        counter: Some(SmolStr::new_static(total.counter)),
        value: (total.value - reported) as i64,
        kind: Some(SmolStr::new_static(total.kind)),
        message: Some(SmolStr::new_static(total.message)),
    };
    risen.map(row).collect()
}

/// Clocks that are nearer than this are not worth a line, µs.
const WORTH_TELLING_US: i64 = 5_000;

/// Rows of nodes whose clocks moved against the others' since they were told of.
fn rows_of_clocks(stage: &Stage, told: &mut BTreeMap<SmolStr, i64>) -> Vec<ProbeHealthRow> {
    let corrections = stage.clock_corrections();
    let mut rows = Vec::new();
    for (node, by) in corrections {
        let ahead_us = -by / 1_000;
        let before = told.get(&node).copied().unwrap_or_default();
        if (ahead_us - before).abs() < WORTH_TELLING_US {
            continue;
        }
        told.insert(node.clone(), ahead_us);
        let (by, how) = (ahead_us.abs() / 1_000, if ahead_us > 0 { "ahead of" } else { "behind" });
        rows.push(ProbeHealthRow {
            time: stage.now(),
            node: Some(node),
            boot_id: Some(stage.boot_id().into()),
            component: Some("collector".into()),
            counter: Some("clock_ahead_us".into()),
            value: ahead_us,
            kind: Some("gauge".into()),
            message: Some(format_smolstr!(
                "this node's clock is {by} ms {how} the others', by TCP handshakes: is its time synchronised?"
            )),
        });
    }
    rows
}

/// Writes what was refused into `probe_health`, every `every` and once more at the end.
pub(crate) async fn report(stage: Arc<Stage>, every: Duration, stop: CancellationToken) {
    let mut reported = [0; TOTALS];
    let mut clocks = BTreeMap::new();
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(every) => false,
        };
        let taken = stage.counters().take();
        let mut rows = rows_of(&taken, stage.now(), stage.boot_id());
        let totals = totals(&stage);
        rows.extend(rows_of_totals(&stage, &totals, &reported));
        rows.extend(rows_of_clocks(&stage, &mut clocks));
        let stored = if rows.is_empty() { Ok(()) } else { stage.append_own(&rows).await };
        match stored {
            Ok(()) => reported = totals.map(|total| total.value),
            Err(err) => {
                warn!(%err, "the collector's own counters could not be stored; they are kept for the next report");
                stage.counters().put_back(taken);
            }
        }
        if is_last {
            return;
        }
    }
}
