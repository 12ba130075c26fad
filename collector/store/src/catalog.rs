//! Which files a table has. A query never lists a folder and never sees half a commit.
//!
//! | file            | subject                                     |
//! |-----------------|---------------------------------------------|
//! | `catalog.rs`    | load, commit, checkpoint                      |
//! | `catalog/state.rs` | what commits say, and what they add up to   |
//!
//! `catalog/<number, 20 digits>.json` is a commit: files added and removed, how far the log is sealed, and which
//! batches that makes known. It is made with create-if-absent, so that of two writers with one number one wins and
//! the other takes the next, unless a file is gone by then that it was to remove. `catalog/<number>.checkpoint.json` adds up
//! all commits to that number. Loading reads the newest readable checkpoint and the commits after it. Never here: what is
//! inside a file.

mod state;

use bytes::Bytes;
use object_store::path::Path;
use tracing::warn;

pub use state::LostRows;
pub(crate) use state::{Commit, FileEntry, RollUpEntry, State};

use crate::objects::{Claimed, Objects, is_missing};
use crate::seen::SeenEntry;
use crate::{StoreError, commit};

/// Rises when an older version could not read what we write.
pub(crate) const FORMAT: u32 = 1;
/// Commits between two checkpoints.
const CHECKPOINT_EVERY: u64 = 32;

/// How often the catalog is looked at once more when others removed old commits meanwhile.
const LOOKS: usize = 5;

/// The catalog of one store, loaded.
#[derive(Debug)]
pub(crate) struct Catalog {
    objects: Objects,
    state: State,
    /// The number of the last commit.
    last: u64,
    /// The commit after it, which was never finished.
    unfinished: Option<Path>,
    /// Who this is, where there are others.
    writer: Option<String>,
    news: Option<News>,
    /// It isn't known whether the last commit was made: the next start knows.
    is_unsure: bool,
}

/// What others committed since it was asked for last.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Batches that they have.
    pub(crate) seen: Vec<SeenEntry>,
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
        let mut looks = 0;
        loop {
            looks += 1;
            match Catalog::look(objects.clone()).await {
                // A checkpoint took the place of what was listed, or what was being made was listed in part.
                Err(err) if is_missing(&err) && looks < LOOKS => {}
                Err(StoreError::Catalog { .. }) if looks < LOOKS => {}
                looked => return looked,
            }
        }
    }

    async fn look(objects: Objects) -> Result<Catalog, StoreError> {
        let listing = list(&objects).await?;
        let (state, checkpoint) = newest_checkpoint(&objects, &listing).await?;
        let mut catalog = Catalog {
            objects,
            state,
            last: checkpoint,
            unfinished: None,
            writer: None,
            news: None,
            is_unsure: false,
        };
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
        catalog.news = None;
        Ok(catalog)
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Forgets senders that went away long before `today`; the next checkpoint is without them.
    pub(crate) fn forget(&mut self, today: i64) {
        self.state.forget(today);
    }

    /// Begins to write as one of several. From here on no request of a process before this one can be carried out any more:
    /// the number that it wanted is taken.
    pub(crate) async fn enter(&mut self, writer: &str) -> Result<(), StoreError> {
        self.commit(Commit::of(writer)).await?;
        let path = commit_path(self.last);
        let bytes = self.objects.read(&path).await?;
        if self.objects.create(&path, bytes).await.is_ok() {
            // It didn't mind that there is one: writers would overwrite each other's commits.
            return Err(StoreError::Unconditional);
        }
        self.writer = Some(writer.to_owned());
        Ok(())
    }

    /// What others committed since this was asked last, if anything.
    pub(crate) fn news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Makes a commit durable, and part of the state; false, and nothing is changed, where a file that it removes is not
    /// there any more: another writer was faster.
    pub(crate) async fn commit(&mut self, commit: Commit) -> Result<bool, StoreError> {
        if self.is_unsure {
            return Err(StoreError::Closed);
        }
        let outcome = self.commit_surely(commit).await;
        self.is_unsure = matches!(outcome, Err(StoreError::Unsure(_)));
        outcome
    }

    async fn commit_surely(&mut self, mut commit: Commit) -> Result<bool, StoreError> {
        if self.objects.is_shared() {
            commit.at = commit::now().max(self.state.last_of(&commit.writer) + 1);
        }
        let bytes = encode(&commit);
        loop {
            if !commit.remove.iter().all(|path| self.state.has(path)) {
                return Ok(false);
            }
            let number = self.last + 1;
            match self.objects.claim(&commit_path(number), &bytes).await? {
                Claimed::Ours if self.is_new(number).await? => break,
                // So many commits were missed that this one's number may have been free again: nobody reads it there.
                Claimed::Ours => {
                    self.start_over_patiently().await?;
                    if self.state.last_of(&commit.writer) == commit.at {
                        return Ok(true);
                    }
                    self.objects.delete(&commit_path(number)).await?;
                }
                // Another writer was first: take over what it said, then try the next number.
                Claimed::Theirs(found) => {
                    self.take_over(number, &found, 0)?;
                }
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
        Ok(true)
    }

    /// Takes over what others committed; `is_thorough`: also where so much was missed that it isn't there any more.
    pub(crate) async fn refresh(&mut self, is_thorough: bool) -> Result<(), StoreError> {
        while let Some(found) = self.objects.find(&commit_path(self.last + 1)).await? {
            self.take_over(self.last + 1, &found, 0)?;
        }
        if is_thorough {
            let after = self.objects.list_after("catalog", &commit_path(self.last)).await?;
            let numbers = after.iter().filter_map(|object| number_of(&object.location));
            if numbers.max().is_some_and(|newest| newest > self.last + 1) {
                self.start_over().await?;
            }
        }
        Ok(())
    }

    /// Whether a commit's number was never another's: commits are removed only once there is a checkpoint beyond them.
    async fn is_new(&self, number: u64) -> Result<bool, StoreError> {
        if !self.objects.is_shared() {
            return Ok(true);
        }
        let mut patience = self.objects.patience();
        loop {
            match self.objects.list_after("catalog", &commit_path(number)).await {
                Ok(later) => return Ok(later.iter().all(|object| checkpoint_of(&object.location).is_none())),
                Err(err) => patience.wait(err).await?,
            }
        }
    }

    async fn start_over_patiently(&mut self) -> Result<(), StoreError> {
        let objects = self.objects.clone();
        let mut patience = objects.patience();
        while let Err(err) = self.start_over().await {
            patience.wait(err).await?;
        }
        Ok(())
    }

    /// Reads everything again.
    async fn start_over(&mut self) -> Result<(), StoreError> {
        let Catalog { state, last, .. } = Catalog::read(self.objects.clone()).await?;
        (self.state, self.last) = (state, last);
        self.news = Some(News { seen: self.state.seen().entries() });
        Ok(())
    }

    /// Reads and applies a commit; false where it is the `newest` and was never finished.
    async fn read_commit(&mut self, number: u64, newest: u64) -> Result<bool, StoreError> {
        let bytes = self.objects.read(&commit_path(number)).await?;
        self.take_over(number, &bytes, newest)
    }

    /// Applies another's commit.
    fn take_over(&mut self, number: u64, bytes: &[u8], newest: u64) -> Result<bool, StoreError> {
        let path = commit_path(number);
        match serde_json::from_slice::<Commit>(bytes) {
            Ok(commit) => {
                check_format(&path, commit.format)?;
                if self.writer.as_ref() == Some(&commit.writer) {
                    return Err(StoreError::Twice { writer: commit.writer });
                }
                self.news.get_or_insert_default().seen.extend(commit.seen.iter().cloned());
                self.state.apply(commit);
                self.last = number;
                Ok(true)
            }
            // Power was lost while it was written: nobody was told of it, and its rows are still in the log.
            Err(err) if number == newest && is_unfinished(bytes, &err) => {
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
    for object in objects.list("catalog").await? {
        listing.checkpoints.extend(checkpoint_of(&object.location));
        listing.commits.extend(number_of(&object.location));
    }
    listing.commits.sort_unstable();
    listing.checkpoints.sort_unstable();
    Ok(listing)
}

/// A commit's number.
fn number_of(path: &Path) -> Option<u64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

/// A checkpoint's number.
fn checkpoint_of(path: &Path) -> Option<u64> {
    path.filename()?.strip_suffix(".checkpoint.json")?.parse().ok()
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
