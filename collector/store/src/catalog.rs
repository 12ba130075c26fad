//! Which files a table has. A query never lists a folder and never sees half a commit.
//!
//! | file            | subject                                     |
//! |-----------------|---------------------------------------------|
//! | `catalog.rs`    | load, commit, checkpoint                      |
//! | `catalog/state.rs` | what commits say, and what they add up to   |
//!
//! `catalog/<number, 20 digits>.json` is a commit: files added and removed, how far the log is sealed, and which
//! batches that makes known. It is made with create-if-absent, so that of two writers with one number one wins and
//! the other takes the next. `catalog/<number>.checkpoint.json` adds up all commits to that number. Loading reads
//! the newest readable checkpoint and the commits after it. Never here: what is inside a file.

mod state;

use bytes::Bytes;
use object_store::path::Path;
use tracing::warn;

pub(crate) use state::{Commit, FileEntry, RollUpEntry, State};

use crate::StoreError;
use crate::objects::Objects;

/// Rises when an older version could not read what we write.
pub(crate) const FORMAT: u32 = 1;
/// Commits between two checkpoints.
const CHECKPOINT_EVERY: u64 = 32;

/// The catalog of one store, loaded.
#[derive(Debug)]
pub(crate) struct Catalog {
    objects: Objects,
    state: State,
    /// The number of the last commit.
    last: u64,
    /// The commit after it, which was never finished.
    unfinished: Option<Path>,
}

/// What lies in the catalog's folder.
#[derive(Debug, Default)]
struct Listing {
    commits: Vec<u64>,
    checkpoints: Vec<u64>,
}

impl Catalog {
    pub(crate) async fn load(objects: Objects) -> Result<Catalog, StoreError> {
        let mut catalog = Catalog::read(objects).await?;
        if let Some(path) = catalog.unfinished.take() {
            catalog.objects.delete(&path).await?;
        }
        Ok(catalog)
    }

    /// The same, and nothing is changed.
    pub(crate) async fn read(objects: Objects) -> Result<Catalog, StoreError> {
        let listing = list(&objects).await?;
        let (state, checkpoint) = newest_checkpoint(&objects, &listing).await?;
        let mut catalog = Catalog { objects, state, last: checkpoint, unfinished: None };
        let newest = listing.commits.last().copied().unwrap_or(0);
        for number in listing.commits.into_iter().filter(|number| *number > checkpoint) {
            if number != catalog.last + 1 {
                let path = commit_path(catalog.last + 1).to_string();
                return Err(StoreError::Catalog { path, reason: format!("missing, but {number} is there") });
            }
            if !catalog.read_commit(number, newest).await? {
                break;
            }
        }
        Ok(catalog)
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Forgets senders that went away long before `today`; the next checkpoint is without them.
    pub(crate) fn forget(&mut self, today: i64) {
        self.state.forget(today);
    }

    /// Makes a commit durable, and part of the state.
    pub(crate) async fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        let bytes = encode(&commit);
        loop {
            let number = self.last + 1;
            match self.objects.create(&commit_path(number), bytes.clone()).await {
                Ok(()) => break,
                Err(StoreError::Objects(object_store::Error::AlreadyExists { .. })) => {
                    // Another writer was first: take over what it said, then try the next number.
                    self.read_commit(number, 0).await?;
                }
                Err(err) => return Err(err),
            }
        }
        self.last += 1;
        self.state.apply(commit);
        if self.last.is_multiple_of(CHECKPOINT_EVERY)
            && let Err(err) = self.checkpoint().await
        {
            // Only the next start would have been quicker with it.
            warn!(%err, "catalog checkpoint failed");
        }
        Ok(())
    }

    /// Reads and applies a commit; false where it is the `newest` and was never finished.
    async fn read_commit(&mut self, number: u64, newest: u64) -> Result<bool, StoreError> {
        let path = commit_path(number);
        let bytes = self.objects.read(&path).await?;
        match serde_json::from_slice::<Commit>(&bytes) {
            Ok(commit) => {
                check_format(&path, commit.format)?;
                self.state.apply(commit);
                self.last = number;
                Ok(true)
            }
            // Power was lost while it was written: nobody was told of it, and its rows are still in the log.
            Err(err) if number == newest && is_unfinished(&bytes, &err) => {
                warn!(%path, "the last commit was never finished; its rows come from the log");
                self.unfinished = Some(path);
                Ok(false)
            }
            Err(err) => Err(StoreError::Catalog { path: path.to_string(), reason: err.to_string() }),
        }
    }

    async fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.objects.create(&checkpoint_path(self.last), encode(&self.state)).await?;
        // The one before stays, in case that this one is damaged.
        let keep_from = self.last.saturating_sub(CHECKPOINT_EVERY);
        let listing = list(&self.objects).await?;
        for number in listing.commits.into_iter().filter(|number| *number <= keep_from) {
            self.objects.delete(&commit_path(number)).await?;
        }
        for number in listing.checkpoints.into_iter().filter(|number| *number < keep_from) {
            self.objects.delete(&checkpoint_path(number)).await?;
        }
        Ok(())
    }
}

async fn newest_checkpoint(objects: &Objects, listing: &Listing) -> Result<(State, u64), StoreError> {
    for number in listing.checkpoints.iter().rev().copied() {
        let path = checkpoint_path(number);
        let bytes = objects.read(&path).await?;
        match serde_json::from_slice::<State>(&bytes) {
            Ok(state) => {
                check_format(&path, state.format)?;
                return Ok((state, number));
            }
            Err(err) => warn!(%path, %err, "damaged checkpoint; trying the one before"),
        }
    }
    Ok((State::default(), 0))
}

async fn list(objects: &Objects) -> Result<Listing, StoreError> {
    let mut listing = Listing::default();
    for path in objects.list("catalog").await? {
        let Some(stem) = path.filename().and_then(|name| name.strip_suffix(".json")) else { continue };
        match stem.strip_suffix(".checkpoint") {
            Some(number) => listing.checkpoints.extend(number.parse::<u64>().ok()),
            None => listing.commits.extend(stem.parse::<u64>().ok()),
        }
    }
    listing.commits.sort_unstable();
    listing.checkpoints.sort_unstable();
    Ok(listing)
}

fn check_format(path: &Path, found: u32) -> Result<(), StoreError> {
    if found > FORMAT {
        return Err(StoreError::Format { path: path.to_string(), found, known: FORMAT });
    }
    Ok(())
}

/// Whether JSON of ours ends before its end, or its bytes never reached the disk.
fn is_unfinished(bytes: &[u8], err: &serde_json::Error) -> bool {
    err.is_eof() || bytes.iter().all(|byte| *byte == 0)
}

fn encode(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("plain fields").into()
}

fn commit_path(number: u64) -> Path {
    Path::from(format!("catalog/{number:020}.json"))
}

fn checkpoint_path(number: u64) -> Path {
    Path::from(format!("catalog/{number:020}.checkpoint.json"))
}

#[cfg(test)]
mod tests;
