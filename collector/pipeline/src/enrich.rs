//! Enrich: an end's address, or its pod's UID, → who it was at the row's own time, before the row is made durable.
//!
//! | file         | subject                                                                        |
//! |--------------|--------------------------------------------------------------------------------|
//! | `columns.rs` | a batch's columns with the names filled in; what could not be told               |
//! | `texts.rs`   | a text column as keys into its distinct texts                                     |
//! | `tables.rs`  | which columns of which table tell of an end                                      |
//! | `watch.rs`   | Kubernetes' API → history, and rows of `k8s_objects`                              |
//! | `restore.rs` | rows of `k8s_objects` → the history that there was before a restart               |
//! | `status.rs`  | whether the watch is current, and since when                                      |
//!
//! A pod's first rows can come before its object does: a batch that has a pod which nobody told of yet, and rows that are
//! young enough, is held back until it is told of, at most [`HOLD`] beyond the row's time. Then it goes on as it is, and is
//! counted. **Invariant**: no row is lost or doubled here; what a row says already is kept, but a pod's UID for its name.

mod columns;
mod restore;
pub(crate) mod status;
mod tables;
mod texts;
pub(crate) mod watch;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch as signal;
use tokio::time::Instant;
use weir_identity::{Fixed, History};
use weir_model::SmolStr;
use weir_model::kubernetes::KubernetesState;
use weir_store::{Part, Store};

use crate::StartError;
use crate::config::IdentityConfig;
use crate::counters::Counters;
use columns::Missing;
use status::Status;

/// How old a row may become while its pod isn't known.
pub(crate) const HOLD: Duration = Duration::from_secs(3);

/// Pods that were waited for in vain, and are not waited for again; about 100 bytes each.
const MOST_GIVEN_UP: usize = 10_000;

/// Rows up to which naming takes less than handing them to another thread.
const INLINE_ROWS: usize = 64;

/// The stage's memory.
#[derive(Debug)]
pub(crate) struct Enricher {
    pub(crate) history: RwLock<History>,
    fixed: Fixed,
    /// Kubernetes' watch, where there is one.
    pub(crate) status: Option<Arc<Status>>,
    /// Rises with each change of the history.
    pub(crate) changed: signal::Sender<u64>,
    given_up: Mutex<HashSet<SmolStr>>,
}

impl Enricher {
    /// Reads what is fixed, and the history that the store has.
    ///
    /// # Errors
    /// [`StartError::Identity`] where the map can't be read, with all of its mistakes.
    pub(crate) async fn open(
        config: &IdentityConfig,
        status: Option<Arc<Status>>,
        store: &Store,
    ) -> Result<Enricher, StartError> {
        let enricher = Enricher::new(config, status)?;
        if enricher.status.is_some() {
            *enricher.history.write() = restore::history(store, config.limits, crate::stage::now()).await;
        }
        Ok(enricher)
    }

    fn new(config: &IdentityConfig, status: Option<Arc<Status>>) -> Result<Enricher, StartError> {
        let mut fixed = Fixed::default();
        if let Some(path) = &config.hosts {
            // None is no mistake: containers often have none.
            fixed.read_hosts(&fs::read_to_string(path).unwrap_or_default());
        }
        if let Some(path) = &config.map {
            let wrong = |wrong| StartError::Identity { path: PathBuf::from(path), wrong };
            let text = fs::read_to_string(path).map_err(|err| wrong(err.to_string()))?;
            fixed
                .read_map(&text)
                .map_err(|bad| wrong(bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        }
        Ok(Enricher {
            history: RwLock::new(History::new(config.limits)),
            fixed,
            status,
            changed: signal::Sender::new(0),
            given_up: Mutex::default(),
        })
    }

    /// The batch with its names. Waits for pods that are about to be told of.
    pub(crate) async fn enrich(self: &Arc<Self>, part: Part, counters: &Counters) -> Part {
        let Some(table) = tables::of(&part.meta.table).filter(|_| self.has_anything()) else { return part };
        let received = Instant::now();
        let now = crate::stage::now();
        let mut changed = self.changed.subscribe();
        let mut is_held = false;
        loop {
            changed.mark_unchanged();
            let (named, missing) = self.clone().name(part.batch.clone(), table).await;
            let latest = self.wait_for(&missing);
            // A row's time is its node's: one that is ahead waits no longer than others.
            let left = latest.map_or(0, |latest| latest.min(now) - now + HOLD.as_nanos() as i64);
            let deadline = received + Duration::from_nanos(left.max(0) as u64);
            let is_told = async { changed.changed().await.is_ok() };
            if left > 0 && tokio::time::timeout_at(deadline, is_told).await == Ok(true) {
                is_held = true;
                continue;
            }
            counters.named(u64::from(is_held || left > 0), missing.ends);
            self.give_up(missing.pods);
            return match named {
                Some(batch) => Part { batch, ipc: None, ..part },
                None => part,
            };
        }
    }

    /// How the view of Kubernetes is.
    pub(crate) fn kubernetes(&self) -> KubernetesState {
        let history = self.history.read();
        self.status
            .as_ref()
            .map_or_else(KubernetesState::off, |status| status.read(|kind| history.count(kind)))
    }

    fn has_anything(&self) -> bool {
        self.status.is_some() || !self.fixed.is_empty() || !self.history.read().is_empty()
    }

    async fn name(
        self: Arc<Self>,
        batch: RecordBatch,
        table: &'static tables::Ends,
    ) -> (Option<RecordBatch>, Missing) {
        let rows = batch.num_rows();
        let name =
            move || columns::name(&batch, table, &self.history.read(), &self.fixed, self.status.is_some());
        if rows <= INLINE_ROWS {
            return name();
        }
        tokio::task::spawn_blocking(name).await.expect("naming does not panic")
    }

    /// The time of the newest row that is worth waiting for.
    fn wait_for(&self, missing: &Missing) -> Option<i64> {
        let status = self.status.as_ref()?;
        if !status.is_expected() {
            return None;
        }
        let given_up = self.given_up.lock();
        let pods = missing.pods.iter().filter(|(pod, _)| !given_up.contains(*pod)).map(|(_, time)| *time);
        pods.max()
    }

    fn give_up(&self, pods: HashMap<SmolStr, i64>) {
        if pods.is_empty() {
            return;
        }
        let mut given_up = self.given_up.lock();
        if given_up.len() + pods.len() > MOST_GIVEN_UP {
            given_up.clear();
        }
        given_up.extend(pods.into_keys());
    }
}

#[cfg(test)]
mod tests;
