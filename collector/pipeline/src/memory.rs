//! How the memory that a process may take is divided, and the room for what is under way.
//!
//! Each part has its share and a way to stay within it:
//!
//! | part | what it holds | where it is full |
//! |---|---|---|
//! | rows | the newest rows, until they are in files | the largest table is sealed; then appends wait |
//! | sealing | one column at a time, and the files; or files that are merged | [`StoreConfig::seal_bytes`] are sealed at a time, few files merged, and only while rows leave room |
//! | intake | batches and requests, from when they are read until they are durable | senders are asked to come again |
//! | traces | exchanges until their trace is known | the oldest get the trace that is known by then, and are counted |
//! | metrics | requests and connections until all that may tell of them did, for the service graph | the oldest are counted by what is known |
//! | pairing | what was told of connections, and rows that wait for their other half | the oldest is forgotten, and counted |
//! | names | Kubernetes' objects and their history | what ended first is forgotten, and counted |
//! | queries | sorting, grouping, joining | it is spilled into files; then the question fails |
//!
//! The limit is for what the process has of its own: pages of its program that lie in memory are the system's to take back.
//! Whatever a full part makes senders wait for stays with them: nothing is taken that can't be kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_stitch::traces;
use weir_store::{Compaction, StoreConfig};

/// What isn't divided: threads, what senders have sent in part, a probe in the same process.
const PROGRAM_BYTES: usize = 112 << 20;
/// Of two bytes, one is the allocator's, who has room left in its pages, and what values take beside their bytes.
const USABLE: (usize, usize) = (1, 2);
/// A waiting turn with both its ends, and four that are remembered.
const TURN_BYTES: usize = 6 << 10;
/// A request that waits for its other spans, a connection that waits for its other end, and one that is remembered.
const REQUEST_BYTES: usize = 2 << 10;
/// What merging takes in all, of the memory that the newest rows don't need at the time.
const MERGING_BYTES: usize = 48 << 20;
/// A file that is merged with others: its keys' pages, and where its pages are.
const MERGED_BYTES: usize = 1 << 20;
/// A version of an object of Kubernetes', with its claims.
const OBJECT_BYTES: usize = 1 << 10;
/// The largest batch: a collector with little memory takes what probes send all the same, one at a time.
const MOST_BATCH_BYTES: (usize, usize) = (16 << 20, 64 << 20);

/// The memory of a process, divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The newest rows, bytes.
    pub rows: usize,
    /// Batches and requests under way, bytes.
    pub intake: usize,
    /// Exchanges whose trace isn't known yet, bytes.
    pub traces: usize,
    /// What `/metrics` waits for, bytes.
    pub metrics: usize,
    /// What pairing remembers, bytes.
    pub pairing: usize,
    /// Kubernetes' objects, bytes.
    pub names: usize,
    /// Questions, bytes.
    pub queries: usize,
    /// Rows on their way into files, and files on their way into larger ones, bytes.
    pub sealing: usize,
}

impl Shares {
    /// The least that everything works with.
    pub const LEAST: usize = 256 << 20;
    /// What is enough for most nodes and small clusters.
    pub const DEFAULT: usize = 1 << 30;

    /// The shares of a process that may take `limit` bytes in all; less than [`Shares::LEAST`] is taken for that.
    pub fn of(limit: usize) -> Shares {
        let usable = (limit.max(Shares::LEAST) - PROGRAM_BYTES) / USABLE.1 * USABLE.0;
        let part = usable / 16;
        Shares {
            rows: part * 4,
            intake: part * 2,
            traces: part * 3 / 2,
            metrics: part / 2,
            pairing: part,
            names: part * 2,
            queries: part * 3,
            sealing: part * 2,
        }
    }

    /// A store in `dir` that keeps to it.
    pub fn store(&self, dir: PathBuf) -> StoreConfig {
        let whole = StoreConfig::default();
        let seal_bytes = whole.seal_bytes.min(self.rows / 4);
        // Merging has sealing's memory when that has not, but for what it keeps of each file.
        let most_files = (self.sealing / MERGED_BYTES).clamp(4, whole.compaction.most_files);
        let pressed_bytes = self.rows.saturating_sub(MERGING_BYTES).clamp(self.rows / 16, self.rows / 4);
        let compaction = Compaction { most_files, pressed_bytes, ..whole.compaction };
        StoreConfig { dir, seal_bytes, memory_bytes: self.rows, compaction, ..whole }
    }

    /// What one batch may be.
    pub fn batch(&self) -> weir_wire::Limits {
        let max_batch_bytes = (self.intake / FOLLOWS).clamp(MOST_BATCH_BYTES.0, MOST_BATCH_BYTES.1);
        weir_wire::Limits { max_batch_bytes, ..weir_wire::Limits::default() }
    }

    /// How many turns are kept.
    pub fn traces(&self) -> traces::Limits {
        traces::Limits { turns: self.traces / TURN_BYTES, ..traces::Limits::default() }
    }

    /// How many requests and connections wait to be counted whole.
    pub fn requests(&self) -> usize {
        self.metrics / REQUEST_BYTES
    }

    /// How many objects are kept.
    pub fn identity(&self) -> weir_identity::Limits {
        let objects = self.names / OBJECT_BYTES;
        let whole = weir_identity::Limits::default();
        weir_identity::Limits {
            live: whole.live.min(objects / 4 * 3),
            ended: whole.ended.min(objects / 4),
            ..whole
        }
    }
}

/// How often a batch's rows are there until it is durable: as they came, with their names, and what follows from them.
pub(crate) const FOLLOWS: usize = 3;

/// How long a sender's batch may wait here for room: it smooths what comes in bursts. Then it waits at the sender.
const PATIENCE: Duration = Duration::from_secs(1);
/// When a sender is asked to come again.
pub(crate) const RETRY: Duration = Duration::from_secs(1);
/// What a permit stands for.
const PERMIT_BYTES: usize = 1 << 10;

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    /// There never will be.
    #[error(
        "it takes {bytes} bytes until it is stored, and there is memory for {most}: send fewer at a time"
    )]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What there is.
        most: usize,
    },
    /// Others have it.
    #[error("the memory for what is under way is full: send it again later")]
    Busy,
}

/// Room for what is under way, all senders together.
#[derive(Debug)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    most: usize,
    waiting: AtomicUsize,
    patience: Duration,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        let most = bytes.max(PERMIT_BYTES);
        Budget {
            room: Arc::new(Semaphore::new(most / PERMIT_BYTES)),
            most,
            waiting: AtomicUsize::new(0),
            patience: PATIENCE,
        }
    }

    /// The most that there ever is.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Room for so many bytes, given back when the permit is dropped. Waits a little where there is none, unless as much
    /// as fits waits already: what waits takes memory, too.
    pub(crate) async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, NoRoom> {
        let permits = self.permits(bytes)?;
        if let Ok(permit) = self.room.clone().try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        let waits = Waits::begin(&self.waiting, bytes);
        if waits.before + bytes > self.most {
            return Err(NoRoom::Busy);
        }
        let acquired = self.room.clone().acquire_many_owned(permits);
        match tokio::time::timeout(self.patience, acquired).await {
            Ok(permit) => Ok(permit.expect("nobody closes it")),
            Err(_) => Err(NoRoom::Busy),
        }
    }

    /// Room for so many bytes more, if there is any now.
    pub(crate) fn grow(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), NoRoom> {
        let permits = self.permits(bytes)?;
        let more = self.room.clone().try_acquire_many_owned(permits).map_err(|_| NoRoom::Busy)?;
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    fn permits(&self, bytes: usize) -> Result<u32, NoRoom> {
        if bytes > self.most {
            return Err(NoRoom::TooLarge { bytes, most: self.most });
        }
        Ok((bytes / PERMIT_BYTES) as u32)
    }
}

/// Bytes that wait; counted for as long as they do.
struct Waits<'a> {
    waiting: &'a AtomicUsize,
    bytes: usize,
    before: usize,
}

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize, bytes: usize) -> Waits<'a> {
        let before = waiting.fetch_add(bytes, Ordering::Relaxed);
        Waits { waiting, bytes, before }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_no_more_than_the_whole() {
        for limit in [0, Shares::LEAST, Shares::DEFAULT, 64 << 30] {
            let Shares { rows, intake, traces, metrics, pairing, names, queries, sealing } =
                Shares::of(limit);
            let all = rows + intake + traces + metrics + pairing + names + queries + sealing + PROGRAM_BYTES;
            assert!(all < limit.max(Shares::LEAST), "{all} of {limit}");
        }
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_and_no_more_wait_than_fit() {
        let patience = Duration::from_hours(1);
        let budget = Arc::new(Budget { patience, ..Budget::new(100 << 10) });
        let too_large = NoRoom::TooLarge { bytes: 101 << 10, most: 100 << 10 };
        assert_eq!(budget.room(101 << 10).await.err(), Some(too_large));
        let all = budget.room(100 << 10).await.expect("room");
        let second = tokio::spawn({
            let budget = budget.clone();
            async move { budget.room(60 << 10).await }
        });
        while budget.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(budget.room(60 << 10).await.err(), Some(NoRoom::Busy), "as much as fits waits already");
        drop(all);
        drop(second.await.expect("asked").expect("room"));
        assert!(budget.room(100 << 10).await.is_ok(), "all of it is back");
        assert_eq!(budget.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_sent_away() {
        let budget = Budget { patience: Duration::from_millis(1), ..Budget::new(100 << 10) };
        let _most = budget.room(60 << 10).await.expect("room");
        assert_eq!(budget.room(60 << 10).await.err(), Some(NoRoom::Busy));
        assert!(budget.room(40 << 10).await.is_ok(), "who needs less has it");
    }

    #[test]
    fn a_request_that_grows_takes_what_it_has_grown_by() {
        let budget = Budget::new(100 << 10);
        let mut held = None;
        budget.grow(&mut held, 60 << 10).expect("room");
        budget.grow(&mut held, 40 << 10).expect("room");
        assert_eq!(budget.grow(&mut None, 1 << 10), Err(NoRoom::Busy));
        drop(held);
        budget.grow(&mut None, 100 << 10).expect("all of it is back");
    }
}
