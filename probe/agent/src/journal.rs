//! What survives the probe's own end: rows that the collector has not acknowledged, and what was reported of each
//! connection so far. A probe that is killed and started again loses no row and counts no byte twice.
//!
//! | file         | subject                                                                        |
//! |--------------|--------------------------------------------------------------------------------|
//! | `entry.rs`   | what one entry holds, as bytes                                                    |
//! | `segment.rs` | one file of entries; cut where it is torn                                         |
//! | `spool.rs`   | the reading end: batches in order, given up from the oldest when there's no room  |
//! | `state.rs`   | what the next run takes over                                                      |
//!
//! `<state dir>/<number>.log` is a run of `length: u32le | crc32c: u32le | entry`. One entry has the rows of one commit,
//! what changed of the connections that they are about, and how far the kernel's ring was read: all of it, or, where
//! the write was torn, nothing. Each file begins with the whole state, so that older files can go once their batches are
//! settled. `kill -9` loses nothing that was written; a power cut may, as no file is synced: whoever lost the machine
//! lost its connections too. Never here: what a row means.

mod entry;
mod segment;
mod spool;
mod state;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use nix::fcntl::{Flock, FlockArg};
use weir_model::schema::SCHEMA_VERSION;
use weir_model::{BatchMeta, Table};
use weir_wire::Encoded;

pub(crate) use entry::Entry;
pub(crate) use spool::{Queued, Spool};
pub(crate) use state::{Acked, ConnState, Restored, UdpState};

use segment::Segment;

/// Files are this part of the spool's bound, so that giving up the oldest gives up little.
const SEGMENTS: u64 = 16;
const SMALLEST_SEGMENT: u64 = 64 << 10;
const LARGEST_SEGMENT: u64 = 16 << 20;

/// Why nothing can be kept on disk; the probe goes on in memory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The directory can't be used.
    #[error("state directory {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another probe keeps its state there.
    #[error("state directory {path} is in use by another probe: give each its own --state-dir")]
    InUse {
        /// Which.
        path: PathBuf,
    },
}

/// Who writes, and what their numbers refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// This node's name.
    pub(crate) node: String,
    /// This run of the probe: senders' boot id.
    pub(crate) boot_id: String,
    /// This boot of the kernel: socket cookies are its.
    pub(crate) kernel_boot: String,
    /// These kernel programs and maps, which may outlive the probe: positions in the ring are theirs.
    pub(crate) instance: String,
}

/// The writing end.
pub(crate) struct Journal {
    directory: Option<PathBuf>,
    identity: Identity,
    segment_bytes: u64,
    active: Arc<Segment>,
    spool: Spool,
    /// Each table's last sequence.
    sequences: HashMap<&'static str, u64>,
    /// The last write failed: what the file says may lack changes, so the next begins anew.
    is_broken: bool,
    /// Held while we run: one probe a directory.
    _lock: Option<Flock<File>>,
}

/// A state directory that is ours, and what an earlier run left in it.
pub(crate) struct Opened {
    directory: PathBuf,
    lock: Flock<File>,
    segments: Vec<Segment>,
}

impl Opened {
    /// Locks the directory and reads what is there.
    ///
    /// # Errors
    /// [`JournalError`]: it can't be used, or is.
    pub(crate) fn open(directory: &Path, kernel_boot: &str) -> Result<(Opened, Restored), JournalError> {
        let failed = |source| JournalError::Directory { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::create(directory.join("lock")).map_err(failed)?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
            nix::errno::Errno::EWOULDBLOCK => JournalError::InUse { path: directory.to_owned() },
            error => failed(error.into()),
        })?;
        let mut restored = Restored::new(kernel_boot);
        let mut segments = Vec::new();
        for number in numbers(directory).map_err(failed)? {
            let segment = Segment::open(directory, number).map_err(failed)?;
            segment.read(|entry| restored.apply(entry)).map_err(failed)?;
            segments.push(segment);
        }
        Ok((Opened { directory: directory.to_owned(), lock, segments }, restored))
    }
}

/// The numbers of the files there, in order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = fs::read_dir(directory)?
        .filter_map(|file| file.ok()?.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl Journal {
    /// Goes on in a directory; its batches of earlier runs are sent first, but for the settled ones. `whole` writes the
    /// state as it is now.
    ///
    /// # Errors
    /// The first file can't be written.
    pub(crate) fn on_disk(
        opened: Opened,
        settled: Vec<Acked>,
        identity: Identity,
        limit_bytes: u64,
        whole: impl FnOnce(&mut Entry),
    ) -> Result<Journal, JournalError> {
        let Opened { directory, lock, segments } = opened;
        let next = segments.last().map_or(1, |last| last.number + 1);
        let failed = |source| JournalError::Directory { path: directory.clone(), source };
        let active = Arc::new(Segment::create(Some(&directory), next).map_err(failed)?);
        let spool = Spool::new(limit_bytes, segments, settled, &identity.boot_id, active.clone());
        let mut journal = Journal {
            directory: Some(directory.clone()),
            identity,
            segment_bytes: segment_bytes(limit_bytes),
            active,
            spool,
            sequences: HashMap::new(),
            is_broken: false,
            _lock: Some(lock),
        };
        journal.begin_file(whole, Entry::new()).map_err(failed)?;
        Ok(journal)
    }

    /// Keeps everything in memory: nothing survives this process.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub(crate) fn in_memory(identity: Identity, limit_bytes: u64) -> io::Result<Journal> {
        let active = Arc::new(Segment::create(None, 1)?);
        let spool = Spool::new(limit_bytes, Vec::new(), Vec::new(), &identity.boot_id, active.clone());
        let segment_bytes = segment_bytes(limit_bytes);
        let mut journal = Journal {
            directory: None,
            identity,
            segment_bytes,
            active,
            spool,
            sequences: HashMap::new(),
            is_broken: false,
            _lock: None,
        };
        journal.begin_file(|_| {}, Entry::new())?;
        Ok(journal)
    }

    /// Where batches come out.
    pub(crate) fn spool(&self) -> Spool {
        self.spool.clone()
    }

    /// Puts a batch into an entry, with its metadata.
    pub(crate) fn batch(&mut self, entry: &mut Entry, table: &'static Table, mut batch: Encoded) {
        let sequence = self.sequences.entry(table.name).or_default();
        *sequence += 1;
        batch.stamp(&BatchMeta {
            schema_version: SCHEMA_VERSION,
            table: table.name.to_owned(),
            node: self.identity.node.clone(),
            boot_id: self.identity.boot_id.clone(),
            sequence: *sequence,
        });
        entry.batch(table, &self.identity.boot_id, *sequence, &batch);
    }

    /// Writes an entry: all of it, or nothing. `whole` is asked for the state, this entry's changes included, when a new
    /// file begins.
    ///
    /// # Errors
    /// The entry is not written: its rows are lost.
    pub(crate) fn append(&mut self, mut entry: Entry, whole: impl FnOnce(&mut Entry)) -> io::Result<()> {
        self.spool.note_acked(&mut entry);
        if self.is_broken {
            // In one entry with the state, which has its changes already: either both are there or neither.
            self.begin_file(whole, entry)?;
            self.spool.written();
            return Ok(());
        }
        if let Err(error) = self.active.append(entry.bytes(), entry.rows()) {
            self.is_broken = true;
            return Err(error);
        }
        self.spool.written();
        if self.active.len() >= self.segment_bytes {
            // The entry is safe; if no new file can be begun, the next entry finds out.
            self.is_broken = self.begin_file(whole, Entry::new()).is_err();
        }
        Ok(())
    }

    /// A new file with the whole state and, behind it, `entry`.
    fn begin_file(&mut self, whole: impl FnOnce(&mut Entry), entry: Entry) -> io::Result<()> {
        // One that stayed empty, since the disk is full, is tried again.
        if self.active.len() > 0 {
            let next = Segment::create(self.directory.as_deref(), self.active.number + 1)?;
            self.active = Arc::new(next);
            self.spool.begin(self.active.clone());
        }
        let mut first = Entry::new();
        first.start(&self.identity);
        whole(&mut first);
        self.spool.note_all_acked(&mut first);
        first.extend(entry);
        self.active.append(first.bytes(), first.rows())?;
        self.is_broken = false;
        Ok(())
    }
}

fn segment_bytes(limit_bytes: u64) -> u64 {
    (limit_bytes / SEGMENTS).clamp(SMALLEST_SEGMENT, LARGEST_SEGMENT)
}

#[cfg(test)]
mod tests;
