//! What commits say, and what they add up to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FORMAT;
use crate::seen::{Seen, SeenEntry};
use crate::wal::Position;

/// How long it is known of a file that it left its table, ns; longer than anybody waits before it is deleted.
const GONE_NS: i64 = 24 * 3600 * 1_000_000_000;

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

/// Rows that are in no table any more, since their file is damaged or gone. It was set aside in `quarantine/`, if it was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRows {
    /// The table that had them.
    pub table: String,
    /// Their file, as the table had it.
    pub path: String,
    /// How many.
    pub rows: u64,
    /// The earliest row's time, ns.
    pub min_time: i64,
    /// The latest row's time, ns.
    pub max_time: i64,
}

impl LostRows {
    pub(crate) fn of(file: &FileEntry) -> LostRows {
        let FileEntry { table, path, rows, min_time, max_time, .. } = file.clone();
        LostRows { table, path, rows, min_time, max_time }
    }
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
    /// Of the files that are removed, those that are damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lost: Vec<LostRows>,
    /// When it was made, ns, by its writer's clock, and no two of one writer at the same time; 0 where there is one writer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) at: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &i64) -> bool {
    *number == 0
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
            lost: Vec::new(),
            at: 0,
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
    /// Until they would have been deleted for their age.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<LostRows>,
    /// Files, and their roll-ups, that left their tables → when, ns. None where there is one writer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    gone: BTreeMap<String, i64>,
    /// Writer → when it committed last, ns. None where there is one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    writers: BTreeMap<String, i64>,
}

impl Default for State {
    fn default() -> State {
        State {
            format: FORMAT,
            files: BTreeMap::new(),
            sealed: BTreeMap::new(),
            seen: Seen::default(),
            retired: BTreeMap::new(),
            lost: Vec::new(),
            gone: BTreeMap::new(),
            writers: BTreeMap::new(),
        }
    }
}

impl State {
    pub(super) fn apply(&mut self, commit: Commit) {
        let removed: Vec<FileEntry> =
            commit.remove.iter().filter_map(|path| self.files.remove(path)).collect();
        if commit.at > 0 {
            self.gone.extend(removed.iter().flat_map(paths_of).map(|path| (path.to_owned(), commit.at)));
            for path in commit.add.iter().flat_map(paths_of) {
                self.gone.remove(path);
            }
            self.gone.retain(|_, since| since.saturating_add(GONE_NS) > commit.at);
            self.writers.insert(commit.writer.clone(), commit.at);
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
        self.lost.extend(commit.lost);
        self.lost.retain(|lost| self.retired.get(&lost.table).is_none_or(|retired| lost.max_time > *retired));
    }

    /// Rows that were lost with their files.
    pub(crate) fn lost(&self) -> &[LostRows] {
        &self.lost
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
        self.files.values().flat_map(paths_of)
    }

    /// When the file of this path left its table, ns.
    pub(crate) fn gone(&self, path: &str) -> Option<i64> {
        self.gone.get(path).copied()
    }

    /// When `writer` committed last, ns; 0 if it never did.
    pub(crate) fn last_of(&self, writer: &str) -> i64 {
        self.writers.get(writer).copied().unwrap_or_default()
    }

    /// Those who committed after `since`, ns.
    pub(crate) fn writers_since(&self, since: i64) -> impl Iterator<Item = &str> {
        self.writers.iter().filter(move |(_, at)| **at > since).map(|(writer, _)| writer.as_str())
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

/// A file's path, and its roll-up's.
fn paths_of(file: &FileEntry) -> impl Iterator<Item = &str> {
    let rollup = file.rollup.as_ref().map(|rollup| rollup.path.as_str());
    std::iter::once(file.path.as_str()).chain(rollup)
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
