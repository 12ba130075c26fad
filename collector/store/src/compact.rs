//! Many small files → few large ones. Files of one day are merged where there are several of about one size, so that a row
//! is written again a few times at most; once a day is over and quiet, all that is small in it. A merge reads files that
//! stay as they are, writes one that nobody names yet, then one commit names it in their place: a crash before that leaves
//! a file that the next start deletes. Who reads meanwhile has a snapshot, and the files that it names.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use object_store::path::Path;
use tracing::{debug, warn};
use weir_model::rollup::RollUp;
use weir_model::{Table, tables, time};

use crate::catalog::{FileEntry, RollUpEntry};
use crate::objects::{Upload, is_missing};
use crate::replace::{self, Replacement};
use crate::scan::Segment;
use crate::segment::{Merge, MergeError, Merged};
use crate::store::Inner;
use crate::view::index_of;
use crate::{StoreError, commit, quarantine, shared};

/// How often it is looked for what to merge.
const TICK: Duration = Duration::from_secs(5);
/// How often it is looked whether rows come slower again.
const PRESSED: Duration = Duration::from_millis(200);
/// The pause after a merge that failed.
const AFTER_FAILURE: Duration = Duration::from_mins(1);
/// Each size class is so many times the one before.
const CLASS: u64 = 8;
/// Up to here files are of the smallest class, bytes.
const SMALLEST: u64 = 64 << 10;

/// When files are merged, and into how large ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Whether it is done beside everything else. Without, it is done when [`crate::Store::compact`] is called.
    pub is_on: bool,
    /// A file of so many bytes is large enough.
    pub enough_bytes: u64,
    /// No file becomes larger than about this.
    pub most_bytes: u64,
    /// Files of one size class that are merged.
    pub several: usize,
    /// Files that are merged at a time, at most.
    pub most_files: usize,
    /// While rows in memory take more than so many bytes, it waits, and they have the memory.
    pub pressed_bytes: usize,
    /// A day is quiet when it is over, and nothing came, for so long.
    pub quiet: Duration,
}

impl Default for Compaction {
    fn default() -> Compaction {
        Compaction {
            is_on: true,
            enough_bytes: 128 << 20,
            most_bytes: 512 << 20,
            several: 8,
            most_files: 32,
            pressed_bytes: 64 << 20,
            quiet: Duration::from_hours(1),
        }
    }
}

/// What merging did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Merges.
    pub merges: u64,
    /// Files that were merged.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Bytes of what they became.
    pub bytes_written: u64,
}

/// Which of a table's files are merged next.
struct Choice<'a> {
    sizes: &'a Compaction,
    /// Files that can't be merged.
    passed_over: &'a HashSet<Path>,
    now: i64,
    /// All that is small, whatever comes.
    is_everything: bool,
}

impl Choice<'_> {
    fn of(&self, segments: &[Segment]) -> Option<Vec<Segment>> {
        let mut days: BTreeMap<String, Vec<&Segment>> = BTreeMap::new();
        for segment in segments {
            let is_small = segment.size < self.sizes.enough_bytes;
            if is_small && !self.passed_over.contains(&segment.path) {
                days.entry(folder_of(&segment.path)).or_default().push(segment);
            }
        }
        days.into_values().find_map(|files| self.of_day(files))
    }

    fn of_day(&self, mut files: Vec<&Segment>) -> Option<Vec<Segment>> {
        // Neighbours in time are merged, so that what comes of them covers a short time too.
        files.sort_unstable_by_key(|file| (file.min_time, file.max_time, file.path.clone()));
        let mut classes: BTreeMap<u32, Vec<&Segment>> = BTreeMap::new();
        for file in &files {
            classes.entry(class_of(file.size)).or_default().push(file);
        }
        let mut several = classes.into_values().filter(|files| files.len() >= self.sizes.several.max(2));
        several
            .find_map(|files| self.first(files, self.sizes.several.max(2)))
            .or_else(|| if self.is_quiet(&files) { self.first(files, 2) } else { None })
    }

    /// The first of `files` that fit into one, if these are at least so many.
    fn first(&self, files: Vec<&Segment>, least: usize) -> Option<Vec<Segment>> {
        let mut bytes = 0;
        let fit = files.into_iter().take(self.sizes.most_files.max(2)).take_while(|file| {
            bytes += file.size;
            bytes <= self.sizes.most_bytes
        });
        let fit: Vec<Segment> = fit.cloned().collect();
        (fit.len() >= least).then_some(fit)
    }

    fn is_quiet(&self, files: &[&Segment]) -> bool {
        let quiet = i64::try_from(self.sizes.quiet.as_nanos()).unwrap_or(i64::MAX);
        let newest = files.iter().map(|file| file.came).max().unwrap_or_default();
        let latest = files.iter().map(|file| file.max_time).max().unwrap_or_default();
        let is_over = time::day(latest) < time::day(self.now.saturating_sub(quiet));
        self.is_everything || (is_over && newest < self.now.saturating_sub(quiet))
    }
}

fn folder_of(path: &Path) -> String {
    path.as_ref().rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
}

fn class_of(size: u64) -> u32 {
    (size / SMALLEST).checked_ilog(CLASS).map_or(0, |class| class + 1)
}

/// Merges what is due for as long as the store lives.
pub(crate) async fn run(store: Weak<Inner>) {
    let mut passed_over = HashSet::new();
    let beside = How { is_everything: false, is_hurried: false };
    loop {
        let mut pause = TICK;
        if let Some(inner) = store.upgrade().filter(|inner| !inner.is_closing()) {
            wait_for_quiet(&inner).await;
            match next(&inner, &mut passed_over, beside).await {
                Ok(true) => pause = Duration::ZERO,
                Ok(false) => {}
                Err(err) => {
                    warn!(%err, "files could not be merged; they stay as they are");
                    pause = AFTER_FAILURE;
                }
            }
        } else {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Merges all that is small, or what is due anyway, at full speed.
pub(crate) async fn at_once(inner: &Arc<Inner>, is_everything: bool) -> Result<(), StoreError> {
    let mut passed_over = HashSet::new();
    let how = How { is_everything, is_hurried: true };
    while next(inner, &mut passed_over, how).await? {}
    Ok(())
}

/// How files are merged.
#[derive(Clone, Copy)]
struct How {
    /// All that is small, whatever comes.
    is_everything: bool,
    /// Without pauses.
    is_hurried: bool,
}

/// One merge, where one is due.
async fn next(
    inner: &Arc<Inner>,
    passed_over: &mut HashSet<Path>,
    How { is_everything, is_hurried }: How,
) -> Result<bool, StoreError> {
    // One at a time; and a store that is being closed waits for it.
    let _one_at_a_time = inner.merging.lock().await;
    if inner.is_closing() {
        return Ok(false);
    }
    for table in tables::ALL {
        let segments = ours(inner, table, is_everything).await;
        let choice =
            Choice { sizes: &inner.config.compaction, passed_over, now: commit::now(), is_everything };
        let Some(files) = choice.of(&segments) else { continue };
        drop(segments);
        match merge(inner, table, &files, is_hurried).await {
            Ok(()) => return Ok(true),
            Err(MergeError::LeftAlone { input, why }) => {
                let path = &files[input].path;
                warn!(%path, why, "a file is not merged with others");
                passed_over.insert(path.clone());
                return Ok(true);
            }
            Err(MergeError::Damaged { input, why }) => {
                quarantine::take_out(inner, &files[input].path, &why).await?;
                return Ok(true);
            }
            Err(MergeError::Write(err)) => return Err(err),
        }
    }
    Ok(false)
}

/// The table's files that are this writer's to merge.
async fn ours(inner: &Inner, table: &'static Table, is_everything: bool) -> Arc<Vec<Segment>> {
    let segments = inner.view.read().of(table).segments.clone();
    if !inner.objects.is_shared() || is_everything {
        return segments;
    }
    let (catalog, now) = (inner.catalog.lock().await, commit::now());
    let merges = |folder: &str| shared::merges(catalog.log.state(), &inner.writer, folder, now);
    let ours = segments.iter().filter(|segment| merges(&folder_of(&segment.path)));
    Arc::new(ours.cloned().collect())
}

async fn merge(
    inner: &Arc<Inner>,
    table: &'static Table,
    files: &[Segment],
    is_hurried: bool,
) -> Result<(), MergeError> {
    let started = Instant::now();
    let came = files.iter().map(|file| file.came).max().unwrap_or_default();
    let folder = folder_of(&files[0].path);
    let (now, attempt) = (commit::now(), inner.next_attempt());
    let path = format!("{folder}/{}-merged-{now}-{attempt}.parquet", inner.writer);
    let mut upload = inner.objects.begin(&Path::from(path.as_str())).await?;
    let merged = match write(inner, table, files, &mut upload, is_hurried).await {
        Ok(Some(merged)) => merged,
        outcome => {
            // What was written so far is nobody's.
            upload.abort().await;
            return outcome.map(|_| ());
        }
    };
    let size = upload.finish().await?;
    let Merged { rows, min_time, max_time, rollup, .. } = merged;
    let expected: u64 = files.iter().map(|file| file.rows).sum();
    if rows != expected {
        inner.objects.delete(&Path::from(path.as_str())).await?;
        let why = format!("merging {expected} rows of {} made {rows}", table.name);
        return Err(StoreError::Wal(why).into());
    }
    let rollup = match (rollup, weir_model::rollup::of(table)) {
        (Some((bytes, rows)), Some(RollUp { version, .. })) => {
            let path = path.replacen("tables/", "rollups/", 1);
            let size = bytes.len() as u64;
            inner.objects.create(&Path::from(path.as_str()), bytes).await?;
            Some(RollUpEntry { path, size, rows, version: *version })
        }
        _ => None,
    };
    let rollup_path = rollup.as_ref().map(|rollup| rollup.path.clone());
    let entry = FileEntry {
        table: table.name.to_owned(),
        path: path.clone(),
        size,
        rows,
        min_time,
        max_time,
        came,
        rollup,
    };
    let remove = files.iter().map(|file| file.path.clone()).collect();
    let replacement = Replacement { add: vec![entry], remove, ..Replacement::default() };
    if !replace::commit(inner, index_of(table), replacement, |file| replace::deleted(inner, file)).await? {
        for path in std::iter::once(path).chain(rollup_path) {
            inner.objects.delete(&Path::from(path)).await?;
        }
        return Ok(());
    }
    let read = files.iter().map(|file| file.size).sum::<u64>();
    debug!(table = table.name, files = files.len(), rows, read, written = size, took = ?started.elapsed(), "merged");
    let mut compacted = inner.compacted.lock();
    compacted.merges += 1;
    compacted.files += files.len() as u64;
    compacted.rows += rows;
    compacted.bytes_read += read;
    compacted.bytes_written += size;
    Ok(())
}

/// Writes the new file; `None` where the store is being closed.
async fn write(
    inner: &Inner,
    table: &'static Table,
    files: &[Segment],
    upload: &mut Upload,
    is_hurried: bool,
) -> Result<Option<Merged>, MergeError> {
    let most_bytes = inner.config.seal_bytes;
    let mut inputs = Vec::with_capacity(files.len());
    for (input, file) in files.iter().enumerate() {
        if inner.is_closing() {
            return Ok(None);
        }
        match inner.objects.fetch(&file.path).await {
            Ok(fetched) => inputs.push(fetched),
            Err(err) if is_missing(&err) => {
                return Err(MergeError::Damaged { input, why: "the file is gone".to_owned() });
            }
            Err(err) => return Err(err.into()),
        }
    }
    // Copies stay until all is read.
    let paths: Vec<_> = inputs.iter().map(|file| file.as_ref().to_owned()).collect();
    let mut merge = blocking(move || Merge::open(table, &paths, most_bytes)).await?;
    loop {
        if inner.is_closing() {
            return Ok(None);
        }
        if !is_hurried {
            wait_for_quiet(inner).await;
        }
        // Sealing and merging take turns: each takes memory.
        let turn = inner.sealing.lock().await;
        let began = Instant::now();
        let (again, group) = blocking(move || {
            let group = merge.group()?;
            Ok((merge, group))
        })
        .await?;
        drop(turn);
        merge = again;
        let Some(bytes) = group else { break };
        upload.write(bytes).await?;
        if !is_hurried {
            // Whoever sends or asks comes first: it works half of the time.
            tokio::time::sleep(began.elapsed()).await;
        }
    }
    let merged = blocking(move || Ok(merge.finish()?)).await?;
    upload.write(merged.rest.clone()).await?;
    Ok(Some(merged))
}

/// Waits while the newest rows need the memory: merging can wait, senders can't.
async fn wait_for_quiet(inner: &Inner) {
    while inner.view.read().bytes() > inner.config.compaction.pressed_bytes && !inner.is_closing() {
        tokio::time::sleep(PRESSED).await;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MergeError> + Send + 'static,
) -> Result<T, MergeError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|err| Err(StoreError::Wal(format!("merging panicked: {err}")).into()))
}

#[cfg(test)]
mod tests;
