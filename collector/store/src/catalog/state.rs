//! What commits say, and what they add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::seen::{Seen, SeenEntry};
use crate::wal::Position;

/// One file of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) table: String,
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) rows: u64,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    /// When the last of its rows came into a file, ns; 0 where that wasn't kept.
    #[serde(default)]
    pub(crate) came: i64,
    /// Where the file has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rollup: Option<RollUpEntry>,
}

/// A file's roll-up, which lives as long as the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RollUpEntry {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) rows: u64,
    /// [`weir_model::rollup::RollUp::version`] of what it was made by.
    pub(crate) version: u32,
}

/// One step of the catalog; happens as a whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) format: u32,
    /// Whose log `sealed` speaks of.
    pub(crate) writer: String,
    /// Files that their tables have from now on.
    pub(crate) add: Vec<FileEntry>,
    /// Paths of files that they don't have any more.
    pub(crate) remove: Vec<String>,
    /// Table → the place in the writer's log before which all its rows are in files.
    pub(crate) sealed: BTreeMap<String, Position>,
    /// Senders whose batches changed since the writer's commit before.
    pub(crate) seen: Vec<SeenEntry>,
    /// Table → rows of this time (ns) and earlier are deleted with the files that are removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) retired: BTreeMap<String, i64>,
}

impl Commit {
    /// One that changes nothing yet.
    pub(crate) fn of(writer: &str) -> Commit {
        Commit {
            format: FORMAT,
            writer: writer.to_owned(),
            add: Vec::new(),
            remove: Vec::new(),
            sealed: BTreeMap::new(),
            seen: Vec::new(),
            retired: BTreeMap::new(),
        }
    }
}

/// All commits added up; a checkpoint is this as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    files: BTreeMap<String, FileEntry>,
    /// Writer → table → sealed up to here.
    sealed: BTreeMap<String, BTreeMap<String, Position>>,
    #[serde(with = "seen_entries")]
    seen: Seen,
    /// Table → rows of this time (ns) and earlier were deleted.
    #[serde(default)]
    retired: BTreeMap<String, i64>,
}

impl Default for State {
    fn default() -> State {
        State {
            format: FORMAT,
            files: BTreeMap::new(),
            sealed: BTreeMap::new(),
            seen: Seen::default(),
            retired: BTreeMap::new(),
        }
    }
}

impl State {
    pub(super) fn apply(&mut self, commit: Commit) {
        for path in &commit.remove {
            self.files.remove(path);
        }
        self.files.extend(commit.add.into_iter().map(|file| (file.path.clone(), file)));
        self.sealed.entry(commit.writer).or_default().extend(commit.sealed);
        for entry in commit.seen {
            self.seen.restore(entry);
        }
        for (table, time) in commit.retired {
            let known = self.retired.entry(table).or_insert(time);
            *known = time.max(*known);
        }
    }

    /// Rows of this time (ns) and earlier were deleted from `table`.
    pub(crate) fn retired(&self, table: &str) -> Option<i64> {
        self.retired.get(table).copied()
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &FileEntry> {
        self.files.values()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Paths of everything that is of a table: files, and their roll-ups.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.values().flat_map(|file| {
            let rollup = file.rollup.as_ref().map(|rollup| rollup.path.as_str());
            std::iter::once(file.path.as_str()).chain(rollup)
        })
    }

    /// How far `writer`'s log is sealed, by table.
    pub(crate) fn sealed(&self, writer: &str) -> BTreeMap<String, Position> {
        self.sealed.get(writer).cloned().unwrap_or_default()
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Forgets senders that went away; the next checkpoint is without them.
    pub(crate) fn forget(&mut self, today: i64) {
        self.seen.forget(today);
    }
}

/// [`Seen`] as the list of its entries.
mod seen_entries {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::seen::{Seen, SeenEntry};

    pub(super) fn serialize<S: Serializer>(seen: &Seen, serializer: S) -> Result<S::Ok, S::Error> {
        seen.entries().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Seen, D::Error> {
        let mut seen = Seen::default();
        for entry in Vec::<SeenEntry>::deserialize(deserializer)? {
            seen.restore(entry);
        }
        Ok(seen)
    }
}
