//! What came in and what was refused, and the `probe_health` rows that say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weir_model::{ProbeHealthRow, Row, SmolStr, format_smolstr};

use crate::metrics::Counted;
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
    /// Of each table.
    rows_by_table: Mutex<BTreeMap<SmolStr, u64>>,
    refused_by_reason: Mutex<BTreeMap<&'static str, u64>>,
    /// (sender, reason) → how many; bounded, since a sender may call itself anything.
    unreported: Mutex<Unreported>,
    noted: Mutex<Unreported>,
}

type Unreported = BTreeMap<(SmolStr, &'static str), u64>;

/// Senders that are told apart in one report; the rest is counted together.
const MOST_SENDERS: usize = 256;

impl Counters {
    pub(crate) fn stored(&self, table: &str, rows: u64, stitched: u64, duplicates: u64) {
        self.rows_of(table, rows);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.stitched.fetch_add(stitched, Ordering::Relaxed);
        self.duplicates.fetch_add(duplicates, Ordering::Relaxed);
    }

    fn rows_of(&self, table: &str, rows: u64) {
        let mut by_table = self.rows_by_table.lock();
        match by_table.get_mut(table) {
            Some(total) => *total += rows,
            None => drop(by_table.insert(SmolStr::new(table), rows)),
        }
    }

    /// Rows of each table, stitched spans not counted.
    pub(crate) fn rows_by_table(&self) -> Vec<(SmolStr, u64)> {
        self.rows_by_table.lock().iter().map(|(table, rows)| (table.clone(), *rows)).collect()
    }

    /// What was refused, by why.
    pub(crate) fn refused_by_reason(&self) -> Vec<(SmolStr, u64)> {
        self.refused_by_reason.lock().iter().map(|(reason, count)| ((*reason).into(), *count)).collect()
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

    /// Counts what was refused; whether it is the first of that kind since the last report.
    pub(crate) fn refused(&self, sender: &str, reason: &'static str, count: u64) -> bool {
        self.refused.fetch_add(count, Ordering::Relaxed);
        *self.refused_by_reason.lock().entry(reason).or_default() += count;
        add(&mut self.unreported.lock(), sender, reason, count)
    }

    /// Counts what was taken, but not understood in all its parts.
    pub(crate) fn noted(&self, sender: &str, what: &'static str, count: u64) {
        add(&mut self.noted.lock(), sender, what, count);
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

    /// What was refused, and what was noted.
    fn take(&self) -> [Unreported; 2] {
        [&self.unreported, &self.noted].map(|counted| std::mem::take(&mut *counted.lock()))
    }

    fn put_back(&self, taken: [Unreported; 2]) {
        for (counted, taken) in [&self.unreported, &self.noted].into_iter().zip(taken) {
            let mut counted = counted.lock();
            for (key, count) in taken {
                *counted.entry(key).or_default() += count;
            }
        }
    }
}

fn add(counted: &mut Unreported, sender: &str, reason: &'static str, count: u64) -> bool {
    let sender = if counted.len() < MOST_SENDERS { SmolStr::new(sender) } else { "others".into() };
    let total = counted.entry((sender, reason)).or_default();
    let is_first = *total == 0;
    *total += count;
    is_first
}

fn rows_of([refused, noted]: &[Unreported; 2], time: i64, boot_id: &str) -> Vec<ProbeHealthRow> {
    let note = |((sender, what), count): (&(SmolStr, &'static str), &u64)| ProbeHealthRow {
        time,
        node: Some(sender.clone()),
        boot_id: Some(boot_id.into()),
        component: Some("collector".into()),
        counter: Some(SmolStr::new_static(what)),
        value: *count as i64,
        kind: Some("gauge".into()),
        message: Some(format_smolstr!(
            "{sender} told {count} that nobody here knows: the rest is there all the same"
        )),
    };
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
    refused.iter().map(row).chain(noted.iter().map(note)).collect()
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

/// Rows of what the receiver of exports won't ever have.
fn rows_of_unexported(stage: &Stage, lost: &BTreeMap<&'static str, u64>) -> Vec<ProbeHealthRow> {
    let row = |(reason, count): (&&'static str, &u64)| ProbeHealthRow {
        time: stage.now(),
        node: Some(stage.node().into()),
        boot_id: Some(stage.boot_id().into()),
        component: Some("export".into()),
        counter: Some(format_smolstr!("export_{reason}")),
        value: *count as i64,
        // They are in the store: no answer is less complete for it.
        kind: Some("gauge".into()),
        message: Some(format_smolstr!("spans were not exported ({reason}): the log says why")),
    };
    lost.iter().map(row).collect()
}

/// Writes what was refused into `probe_health`, every `every` and once more at the end.
pub(crate) async fn report(stage: Arc<Stage>, every: Duration, stop: CancellationToken) {
    let mut reported = [0; TOTALS];
    let mut clocks = BTreeMap::new();
    let mut unexported = BTreeMap::new();
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(every) => false,
        };
        let taken = stage.counters().take();
        let mut rows = rows_of(&taken, stage.now(), stage.boot_id());
        for (reason, count) in stage.exporter().map(|exporter| exporter.take_lost()).unwrap_or_default() {
            *unexported.entry(reason).or_default() += count;
        }
        rows.extend(rows_of_unexported(&stage, &unexported));
        let totals = totals(&stage);
        rows.extend(rows_of_totals(&stage, &totals, &reported));
        rows.extend(rows_of_clocks(&stage, &mut clocks));
        let stored = if rows.is_empty() { Ok(()) } else { stage.append_own(&rows).await };
        match stored {
            Ok(()) => {
                if !rows.is_empty() {
                    stage.metrics().count(Counted::Health(ProbeHealthRow::to_batch(&rows))).await;
                }
                reported = totals.map(|total| total.value);
                unexported.clear();
            }
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
