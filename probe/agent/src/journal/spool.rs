//! The reading end of the journal: batches in the order that they were written, first those of earlier runs.
//!
//! The files on disk are the queue, in good times too: a batch is read back a moment after it was written, from the
//! page cache. When they take more than the bound, the oldest file is given up and its unsent rows are counted.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;
use weir_model::{Table, tables};
use weir_wire::Encoded;

use super::entry::{Batch, Entry, Item, items};
use super::segment::Segment;
use super::state::Acked;

/// The reading end; clones share it.
#[derive(Clone)]
pub(crate) struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    limit_bytes: u64,
    inner: Mutex<Inner>,
    /// Something was written, or settled.
    changed: Notify,
}

struct Inner {
    /// Oldest first; the last is being written.
    files: VecDeque<Held>,
    /// The file that is being read, by number, and how far.
    reading: u64,
    at: u64,
    /// Batches of an entry that was read.
    ready: VecDeque<Batch>,
    acked: Vec<Acked>,
    /// Indexes into `acked` that no entry says yet.
    unsaid: Vec<usize>,
    dropped_rows: u64,
    /// This run, and its first file.
    boot_id: String,
    first_own: u64,
}

/// A file, and what of it is still under way.
struct Held {
    segment: Arc<Segment>,
    /// Rows handed out, or settled in an earlier run.
    rows_out: u64,
    /// Batches handed out and not settled.
    unsettled: u64,
}

/// A batch on its way; [`Spool::settled`] ends it.
pub(crate) struct Queued {
    pub(crate) table: &'static Table,
    pub(crate) boot_id: String,
    pub(crate) sequence: u64,
    pub(crate) batch: Encoded,
    file: u64,
}

/// Names a batch to [`Spool::settled`].
pub(crate) struct Ticket {
    table: &'static Table,
    boot_id: String,
    sequence: u64,
    file: u64,
}

impl Queued {
    /// What to give back once the batch is settled.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { table: self.table, boot_id: self.boot_id.clone(), sequence: self.sequence, file: self.file }
    }
}

impl Spool {
    pub(super) fn new(
        limit_bytes: u64,
        older: Vec<Segment>,
        acked: Vec<Acked>,
        boot_id: &str,
        active: Arc<Segment>,
    ) -> Spool {
        let first_own = active.number;
        let files = older.into_iter().map(Arc::new).chain([active]);
        let files: VecDeque<Held> =
            files.map(|segment| Held { segment, rows_out: 0, unsettled: 0 }).collect();
        let reading = files.front().map_or(0, |held| held.segment.number);
        let inner = Inner {
            files,
            reading,
            at: 0,
            ready: VecDeque::new(),
            acked,
            unsaid: Vec::new(),
            dropped_rows: 0,
            boot_id: boot_id.to_owned(),
            first_own,
        };
        Spool { shared: Arc::new(Shared { limit_bytes, inner: Mutex::new(inner), changed: Notify::new() }) }
    }

    /// A new file is being written from now on.
    pub(super) fn begin(&self, active: Arc<Segment>) {
        let mut inner = self.shared.inner.lock();
        inner.files.push_back(Held { segment: active, rows_out: 0, unsettled: 0 });
        if inner.files.iter().all(|held| held.segment.number >= inner.first_own) {
            inner.forget_earlier_runs();
        }
    }

    /// An entry was written: gives up the oldest file where there is too much, and tells the reader.
    pub(super) fn written(&self) {
        let mut inner = self.shared.inner.lock();
        while inner.files.len() > 1 && inner.bytes() > self.shared.limit_bytes {
            inner.give_up_oldest();
        }
        drop(inner);
        self.shared.changed.notify_waiters();
    }

    /// Puts what was settled since the last entry into this one.
    pub(super) fn note_acked(&self, entry: &mut Entry) {
        let mut inner = self.shared.inner.lock();
        for index in std::mem::take(&mut inner.unsaid) {
            let Acked { table, boot_id, sequence } = &inner.acked[index];
            entry.acked(table, boot_id, *sequence);
        }
    }

    /// Puts everything that is settled into a file's first entry.
    pub(super) fn note_all_acked(&self, entry: &mut Entry) {
        for Acked { table, boot_id, sequence } in &self.shared.inner.lock().acked {
            entry.acked(table, boot_id, *sequence);
        }
    }

    /// The next batch; waits until there is one.
    pub(crate) async fn next(&self) -> Queued {
        loop {
            let changed = self.shared.changed.notified();
            let spool = self.clone();
            // Reads a file: mostly from memory, but after an outage from the disk.
            let next = tokio::task::spawn_blocking(move || spool.try_next()).await;
            match next {
                Ok(Ok(Some(queued))) => return queued,
                Ok(Ok(None)) => changed.await,
                Ok(Err(error)) => warn!(%error, "a file of the spool can't be read: its rows are lost"),
                Err(error) => warn!(%error, "reading the spool"),
            }
        }
    }

    fn try_next(&self) -> io::Result<Option<Queued>> {
        let mut inner = self.shared.inner.lock();
        loop {
            while let Some(batch) = inner.ready.pop_front() {
                if let Some(queued) = inner.hand_out(batch) {
                    return Ok(Some(queued));
                }
            }
            let reading = inner.reading;
            let Some(segment) = inner.file(reading).map(|held| held.segment.clone()) else {
                return Ok(None);
            };
            match segment.next_entry(inner.at) {
                Ok(Some((entry, next))) => {
                    inner.at = next;
                    inner.ready.extend(items(Bytes::from(entry)).filter_map(|item| match item {
                        Item::Batch(batch) => Some(batch),
                        _ => None,
                    }));
                }
                Ok(None) if !inner.read_next_file() => return Ok(None),
                Ok(None) => {}
                Err(error) => {
                    inner.skip_file();
                    return Err(error);
                }
            }
        }
    }

    /// A batch is durable, or refused for good.
    pub(crate) fn settled(&self, ticket: &Ticket) {
        let mut inner = self.shared.inner.lock();
        if let Some(held) = inner.file(ticket.file) {
            held.unsettled -= 1;
        }
        inner.note_settled(ticket.table.name, &ticket.boot_id, ticket.sequence);
        inner.delete_settled();
        drop(inner);
        self.shared.changed.notify_waiters();
    }

    /// Rows given up since the start, because there was no room.
    pub(crate) fn dropped_rows(&self) -> u64 {
        self.shared.inner.lock().dropped_rows
    }

    /// Rows that wait.
    pub(crate) fn waiting_rows(&self) -> u64 {
        let inner = self.shared.inner.lock();
        inner.files.iter().map(|held| held.segment.rows().saturating_sub(held.rows_out)).sum()
    }

    /// Returns when all that was written so far is settled.
    pub(crate) async fn empty(&self) {
        loop {
            let changed = self.shared.changed.notified();
            let is_empty = {
                let inner = self.shared.inner.lock();
                inner.files.iter().all(|held| held.unsettled == 0 && held.rows_out >= held.segment.rows())
            };
            if is_empty {
                return;
            }
            changed.await;
        }
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|held| held.segment.len()).sum()
    }

    fn file(&mut self, number: u64) -> Option<&mut Held> {
        self.files.iter_mut().find(|held| held.segment.number == number)
    }

    /// A batch out of the file that is being read; `None` if an earlier run settled it, or its table is unknown.
    fn hand_out(&mut self, batch: Batch) -> Option<Queued> {
        let file = self.reading;
        let is_settled = self.acked.iter().any(|acked| {
            acked.table == batch.table && acked.boot_id == batch.boot_id && acked.sequence >= batch.sequence
        });
        let table = tables::by_name(&batch.table);
        let encoded = Encoded::from_bytes(batch.bytes);
        let held = self.file(file)?;
        held.rows_out += u64::from(batch.rows);
        if is_settled {
            return None;
        }
        let (Some(table), Some(encoded)) = (table, encoded) else {
            self.dropped_rows += u64::from(batch.rows);
            return None;
        };
        held.unsettled += 1;
        Some(Queued { table, boot_id: batch.boot_id, sequence: batch.sequence, batch: encoded, file })
    }

    /// Goes on to the file after the one that was read to its end, if there is one.
    fn read_next_file(&mut self) -> bool {
        let next = self.files.iter().map(|held| held.segment.number).find(|number| *number > self.reading);
        let Some(next) = next else { return false };
        self.reading = next;
        self.at = 0;
        self.delete_settled();
        true
    }

    /// Gives up what is left of the file that can't be read.
    fn skip_file(&mut self) {
        let reading = self.reading;
        if let Some(held) = self.file(reading) {
            let left = held.segment.rows().saturating_sub(held.rows_out);
            held.rows_out += left;
            self.dropped_rows += left;
        }
        if !self.read_next_file() {
            self.at = u64::MAX;
        }
    }

    fn give_up_oldest(&mut self) {
        let Some(held) = self.files.pop_front() else { return };
        let number = held.segment.number;
        self.dropped_rows += held.segment.rows().saturating_sub(held.rows_out);
        if let Err(error) = held.segment.delete() {
            warn!(%error, "a file of the spool can't be deleted");
        }
        if self.reading == number {
            // Not handed out yet, so among those that were just counted.
            self.ready.clear();
            self.read_next_file();
        }
    }

    /// All batches of earlier runs are gone, so nobody asks whether they are settled.
    fn forget_earlier_runs(&mut self) {
        let Inner { acked, unsaid, boot_id, .. } = self;
        if acked.iter().any(|acked| acked.boot_id != *boot_id) {
            acked.retain(|acked| acked.boot_id == *boot_id);
            *unsaid = (0..acked.len()).collect();
        }
    }

    fn note_settled(&mut self, table: &str, boot_id: &str, sequence: u64) {
        let known = self.acked.iter().position(|acked| acked.table == table && acked.boot_id == boot_id);
        let index = known.unwrap_or_else(|| {
            self.acked.push(Acked { table: table.to_owned(), boot_id: boot_id.to_owned(), sequence });
            self.acked.len() - 1
        });
        self.acked[index].sequence = self.acked[index].sequence.max(sequence);
        if !self.unsaid.contains(&index) {
            self.unsaid.push(index);
        }
    }

    /// Deletes files of which all is settled, but not the one that is being written: it has the state.
    fn delete_settled(&mut self) {
        while self.files.len() > 1
            && let Some(oldest) = self.files.front()
            && oldest.unsettled == 0
            && oldest.segment.number < self.reading
        {
            if let Err(error) = oldest.segment.delete() {
                warn!(%error, "a file of the spool can't be deleted");
            }
            self.files.pop_front();
        }
    }
}
