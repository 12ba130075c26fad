//! The queue → the receiver: one request after the other, each until it is answered for good.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::queue::{Kind, Record};
use super::receiver::Outcome;
use super::{Exporter, measure};
use crate::metrics::Shown;

/// After the first failure, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two syncs of the queue to the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Sends what is queued, until `stop`; what is left then is sent by the next run.
pub(crate) async fn run(exporter: Arc<Exporter>, metrics: Shown, stop: CancellationToken) {
    tokio::join!(
        deliver(&exporter, &stop),
        measure_now_and_then(&exporter, &metrics, &stop),
        keep_synced(&exporter, &stop)
    );
}

async fn deliver(exporter: &Arc<Exporter>, stop: &CancellationToken) {
    let channel = exporter.receiver.channel();
    let mut failing = Failing::default();
    while !stop.is_cancelled() {
        let record = match next(exporter).await {
            Ok(Some(record)) => record,
            Ok(None) => {
                tokio::select! {
                    () = exporter.grown.notified() => continue,
                    () = stop.cancelled() => return,
                }
            }
            Err(err) => {
                warn!(%err, "the export queue can't be read; tried again");
                failing.wait(None, stop).await;
                continue;
            }
        };
        let outcome = tokio::select! {
            outcome = exporter.receiver.send(channel.clone(), &record) => outcome,
            () = stop.cancelled() => return,
        };
        match outcome {
            Outcome::Later { after, why } => {
                exporter.counts.retries.fetch_add(1, Ordering::Relaxed);
                failing.tell(&exporter.receiver.url(), &why);
                failing.wait(after, stop).await;
                continue;
            }
            Outcome::Taken { rejected, why } => {
                failing.over(&exporter.receiver.url());
                let rejected = rejected.min(record.items);
                if rejected > 0 {
                    warn!(rejected, why, "the receiver of exports rejects some for good");
                }
                exporter.lose(record.kind, "rejected", rejected);
                let sent = &exporter.counts.sent[record.kind as usize];
                sent.fetch_add(record.items - rejected, Ordering::Relaxed);
            }
            Outcome::Refused { reason, why } => {
                // A tracing backend takes no metrics: told once, and no reason to stop.
                if !(record.kind == Kind::Points && failing.is_same(&why)) {
                    warn!(
                        reason,
                        why,
                        items = record.items,
                        "the receiver refuses exports for good: they are lost"
                    );
                }
                exporter.lose(record.kind, reason, record.items);
            }
        }
        done(exporter, record).await;
    }
}

async fn next(exporter: &Arc<Exporter>) -> std::io::Result<Option<Record>> {
    let exporter = exporter.clone();
    let read = tokio::task::spawn_blocking(move || exporter.queue.lock().peek()).await;
    read.expect("a record is read without a panic")
}

async fn done(exporter: &Arc<Exporter>, record: Record) {
    let exporter = exporter.clone();
    let noted = tokio::task::spawn_blocking(move || exporter.queue.lock().done(&record)).await;
    if let Err(err) = noted.expect("it is noted without a panic") {
        warn!(%err, "where the export queue was read to can't be noted: after a restart some is sent twice");
    }
}

/// A receiver that doesn't answer, and how patient we are with it.
#[derive(Debug, Default)]
struct Failing {
    times: u32,
    since: Option<Instant>,
    told: String,
}

impl Failing {
    /// Says so once, and again when the reason is another one.
    fn tell(&mut self, url: &str, why: &str) {
        self.since.get_or_insert_with(Instant::now);
        if !self.is_same(why) {
            warn!(url, why, "exports wait: the receiver does not take them");
        }
    }

    fn is_same(&mut self, why: &str) -> bool {
        let is_same = self.told == why;
        why.clone_into(&mut self.told);
        is_same
    }

    fn over(&mut self, url: &str) {
        if let Some(since) = self.since.take() {
            info!(url, after = ?since.elapsed(), "exports go on");
            self.told.clear();
        }
        self.times = 0;
    }

    /// Twice as long each time, and not all exporters at the same moment; or as long as the receiver says.
    async fn wait(&mut self, asked: Option<Duration>, stop: &CancellationToken) {
        let usual = FIRST_WAIT.saturating_mul(1 << self.times.min(16)).min(LONGEST_WAIT);
        self.times = self.times.saturating_add(1);
        let spread = f64::from(crate::stage::now().unsigned_abs() as u32 % 1_000) / 1_000.0;
        let wait = asked.unwrap_or_default().min(LONGEST_WAIT).max(usual.mul_f64(0.75 + spread / 2.0));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn measure_now_and_then(exporter: &Arc<Exporter>, metrics: &Shown, stop: &CancellationToken) {
    if exporter.metrics_every.is_zero() {
        return;
    }
    let started = crate::stage::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(exporter.metrics_every) => {}
            () = stop.cancelled() => return,
        }
        let (exporter, metrics) = (exporter.clone(), metrics.clone());
        let queued = tokio::task::spawn_blocking(move || {
            for (points, request) in measure::requests(&metrics, started, crate::stage::now()) {
                exporter.push(Kind::Points, points, &request);
            }
            exporter.grown.notify_one();
        });
        queued.await.expect("metrics are encoded without a panic");
    }
}

async fn keep_synced(exporter: &Arc<Exporter>, stop: &CancellationToken) {
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(SYNC_EVERY) => false,
            () = stop.cancelled() => true,
        };
        let exporter = exporter.clone();
        let synced = tokio::task::spawn_blocking(move || {
            // Not under the lock: who brings spans must not wait for the disk.
            let file = exporter.queue.lock().sync()?;
            file.map_or(Ok(()), |file| file.sync_data())
        });
        if let Err(err) = synced.await.expect("a file is synced without a panic") {
            warn!(%err, "the export queue can't be brought to the disk");
        }
        if is_last {
            return;
        }
    }
}
