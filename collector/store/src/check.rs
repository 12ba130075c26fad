//! Is everything readable? Reads all that the catalog names, changes nothing, and asks nobody: also beside a running Weir.

use std::collections::{HashMap, HashSet};
use std::path::Path as FsPath;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use arrow::error::ArrowError;
use object_store::path::Path;
use parquet::errors::ParquetError;
use weir_model::tables;

use crate::catalog::{Catalog, FileEntry};
use crate::objects::Objects;
use crate::read::of_file;
use crate::shared::listed;
use crate::{RollUpFile, Segment, Shared, StoreError};

/// How often it is looked again what a running Weir has made meanwhile.
const PASSES: usize = 10;

/// What a folder has, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Tables that have files.
    pub tables: Vec<CheckedTable>,
    /// Files that can't be read as the catalog says: path and why.
    pub damaged: Vec<(String, String)>,
    /// Files below `tables/` that the catalog doesn't name: a running Weir is writing them, or the next start deletes them.
    pub unnamed: Vec<String>,
    /// Damaged files that were set aside earlier.
    pub quarantined: u64,
}

/// One table's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTable {
    /// Its name.
    pub table: String,
    /// Files.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The earliest row's time, ns.
    pub min_time: i64,
    /// The latest row's time, ns.
    pub max_time: i64,
}

/// Reads every file of the store in `dir`, or of the one that several writers share, column by column, and compares it with
/// what the catalog says. `progress` is told of files done and of all.
///
/// # Errors
/// Where the catalog can't be read.
pub async fn check(
    dir: &FsPath,
    shared: Option<&Shared>,
    progress: impl Fn(u64, u64),
) -> Result<Checked, StoreError> {
    let objects = Objects::open(dir, shared)?;
    // Files that were read, and what is wrong with them.
    let mut read: HashMap<String, Option<String>> = HashMap::new();
    let mut files = named(&objects).await?;
    for _ in 0..PASSES {
        let missing: Vec<FileEntry> =
            files.iter().filter(|file| !read.contains_key(&file.path)).cloned().collect();
        for entry in missing {
            let found = fault(&objects, &Segment::of(&entry)).await;
            read.insert(entry.path, found.unwrap_or_else(|err| Some(err.to_string())));
            progress(read.len() as u64, read.len().max(files.len()) as u64);
        }
        // A running Weir may have sealed, merged or deleted meanwhile: what counts is what it has now.
        files = named(&objects).await?;
        if files.iter().all(|file| read.contains_key(&file.path)) {
            break;
        }
    }
    let fault_of = |file: &FileEntry| Some((file.path.clone(), read.get(&file.path)?.clone()?));
    let mut damaged: Vec<(String, String)> = files.iter().filter_map(fault_of).collect();
    for rollup in files.iter().filter_map(|file| file.rollup.as_ref()) {
        let found = fault_of_rollup(&objects, &RollUpFile::of(rollup)).await;
        let found = found.unwrap_or_else(|err| Some(err.to_string()));
        damaged.extend(found.map(|fault| (rollup.path.clone(), fault)));
    }
    let rollups = files.iter().filter_map(|file| file.rollup.as_ref());
    let named = files.iter().map(|file| &file.path).chain(rollups.map(|rollup| &rollup.path));
    let named: HashSet<&str> = named.map(String::as_str).collect();
    let found = listed(&objects).await?.into_iter().map(|object| object.location.to_string());
    let mut unnamed: Vec<String> = found.filter(|path| !named.contains(path.as_str())).collect();
    unnamed.sort_unstable();
    let quarantined = objects.list("quarantine").await?.len() as u64;
    Ok(Checked { tables: of_tables(&files), damaged, unnamed, quarantined })
}

async fn named(objects: &Objects) -> Result<Vec<FileEntry>, StoreError> {
    let catalog = Catalog::read(objects.clone()).await?;
    Ok(catalog.state().files().cloned().collect())
}

fn of_tables(files: &[FileEntry]) -> Vec<CheckedTable> {
    let of = |table: &&weir_model::Table| {
        let files: Vec<&FileEntry> = files.iter().filter(|file| file.table == table.name).collect();
        Some(CheckedTable {
            table: table.name.to_owned(),
            files: files.len() as u64,
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.size).sum(),
            min_time: files.iter().map(|file| file.min_time).min()?,
            max_time: files.iter().map(|file| file.max_time).max()?,
        })
    };
    tables::ALL.iter().filter_map(of).collect()
}

/// What is wrong with a file; an error where that can't be known now.
pub(crate) async fn fault(objects: &Objects, segment: &Segment) -> Result<Option<String>, StoreError> {
    if let Some(fault) = first_sight(objects, &segment.path, segment.size).await? {
        return Ok(Some(fault));
    }
    let Segment { rows, min_time, max_time, .. } = *segment;
    let (found, min, max) = match times(objects, segment).await {
        Ok(found) => found,
        Err(err) if has_no_answer(objects, &err) => return Err(err),
        Err(err) => return Ok(Some(err.to_string())),
    };
    Ok(if found != rows {
        Some(format!("{found} rows, the catalog says {rows}"))
    } else if (min, max) != (min_time, max_time) {
        Some(format!("rows of {min} to {max} ns, the catalog says {min_time} to {max_time}"))
    } else {
        None
    })
}

/// The same of a roll-up.
pub(crate) async fn fault_of_rollup(
    objects: &Objects,
    rollup: &RollUpFile,
) -> Result<Option<String>, StoreError> {
    if let Some(fault) = first_sight(objects, &rollup.path, rollup.size).await? {
        return Ok(Some(fault));
    }
    let file = rollup.as_segment();
    match of_file(objects, &file, &[], i64::MIN, usize::MAX, |batch| vec![batch.num_rows() as u64]).await {
        Err(err) if has_no_answer(objects, &err) => Err(err),
        Err(err) => Ok(Some(err.to_string())),
        Ok(found) if found.iter().sum::<u64>() != rollup.rows => {
            let found: u64 = found.iter().sum();
            Ok(Some(format!("{found} rows, the catalog says {}", rollup.rows)))
        }
        Ok(_) => Ok(None),
    }
}

/// At first sight: its size and its ends; its size only, where it is on no disk of this machine's.
async fn first_sight(objects: &Objects, path: &Path, size: u64) -> Result<Option<String>, StoreError> {
    match objects.on_disk(path) {
        Some(file) => Ok(crate::quarantine::first_sight(&file, size)),
        None => fault_of_size(objects, path, size).await,
    }
}

/// What is wrong with an object's size.
pub(crate) async fn fault_of_size(
    objects: &Objects,
    path: &Path,
    size: u64,
) -> Result<Option<String>, StoreError> {
    Ok(match objects.size(path).await? {
        None => Some("the file is gone".to_owned()),
        Some(found) if found != size => Some(format!("{found} bytes, the catalog says {size}")),
        Some(_) => None,
    })
}

/// Whether an error says nothing of the file: another machine didn't answer.
fn has_no_answer(objects: &Objects, err: &StoreError) -> bool {
    let is_remote = objects.on_disk(&Path::default()).is_none();
    let is_of_store = match err {
        // The latter as the reader of batches hands it on.
        StoreError::Objects(_) | StoreError::Arrow(ArrowError::ExternalError(_)) => true,
        StoreError::Parquet(ParquetError::External(err)) => err.is::<object_store::Error>(),
        _ => false,
    };
    is_remote && is_of_store
}

/// Decodes everything; rows, earliest and latest time.
async fn times(objects: &Objects, segment: &Segment) -> Result<(u64, i64, i64), StoreError> {
    let of_batch = |batch: &RecordBatch| {
        let times = batch.column(0).as_primitive_opt::<TimestampNanosecondType>();
        let times = times.map(|times| times.values().iter().copied());
        vec![times.map(|times| {
            times.fold((0, i64::MAX, i64::MIN), |(rows, min, max), time| {
                (rows + 1, time.min(min), time.max(max))
            })
        })]
    };
    let found = of_file(objects, segment, &[], i64::MIN, usize::MAX, of_batch).await?;
    let found: Option<Vec<(u64, i64, i64)>> = found.into_iter().collect();
    let found = found.ok_or_else(|| StoreError::Wal("its first column is no time".to_owned()))?;
    Ok(found.into_iter().fold((0, i64::MAX, i64::MIN), |(rows, min, max), batch| {
        (rows + batch.0, min.min(batch.1), max.max(batch.2))
    }))
}
