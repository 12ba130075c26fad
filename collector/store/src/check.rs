//! Is everything readable? Reads all that the catalog names, changes nothing, and asks nobody: also beside a running Weir.

use std::collections::{HashMap, HashSet};
use std::path::{Path as FsPath, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::TimestampNanosecondType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_model::tables;

use crate::StoreError;
use crate::catalog::{Catalog, FileEntry, RollUpEntry};
use crate::objects::Objects;
use crate::source::Source;

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
    pub unnamed: Vec<PathBuf>,
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

/// Reads every file of the store in `dir`, column by column, and compares it with what the catalog says. `progress` is told
/// of files done and of all.
///
/// # Errors
/// Where the catalog can't be read.
pub async fn check(dir: &FsPath, progress: impl Fn(u64, u64)) -> Result<Checked, StoreError> {
    // Files that were read, and what is wrong with them.
    let mut read: HashMap<String, Option<String>> = HashMap::new();
    let mut files = named(dir).await?;
    for _ in 0..PASSES {
        let missing: Vec<FileEntry> =
            files.iter().filter(|file| !read.contains_key(&file.path)).cloned().collect();
        for entry in missing {
            let (name, path) = (entry.path.clone(), dir.join(&entry.path));
            let found = tokio::task::spawn_blocking(move || fault(&path, &entry)).await;
            read.insert(name, found.unwrap_or_else(|err| Some(format!("reading it failed: {err}"))));
            progress(read.len() as u64, read.len().max(files.len()) as u64);
        }
        // A running Weir may have sealed, merged or deleted meanwhile: what counts is what it has now.
        files = named(dir).await?;
        if files.iter().all(|file| read.contains_key(&file.path)) {
            break;
        }
    }
    let fault_of = |file: &FileEntry| Some((file.path.clone(), read.get(&file.path)?.clone()?));
    let rollups = files.iter().filter_map(|file| file.rollup.as_ref());
    let named = files.iter().map(|file| &file.path).chain(rollups.clone().map(|rollup| &rollup.path));
    let named: HashSet<PathBuf> = named.map(|path| dir.join(path)).collect();
    let damaged_rollup = |rollup: &RollUpEntry| {
        let fault = crate::quarantine::first_sight(&dir.join(&rollup.path), rollup.size)?;
        Some((rollup.path.clone(), fault))
    };
    Ok(Checked {
        tables: of_tables(&files),
        damaged: files.iter().filter_map(fault_of).chain(rollups.filter_map(damaged_rollup)).collect(),
        unnamed: ["tables", "rollups"]
            .into_iter()
            .flat_map(|folder| below(&dir.join(folder)))
            .filter(|path| !named.contains(path))
            .collect(),
        quarantined: below(&dir.join("quarantine")).len() as u64,
    })
}

async fn named(dir: &FsPath) -> Result<Vec<FileEntry>, StoreError> {
    let catalog = Catalog::read(Objects::open(dir)?).await?;
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

/// What is wrong with a file.
fn fault(path: &FsPath, entry: &FileEntry) -> Option<String> {
    if let Some(fault) = crate::quarantine::first_sight(path, entry.size) {
        return Some(fault);
    }
    match times(path) {
        Err(err) => Some(err.to_string()),
        Ok((rows, ..)) if rows != entry.rows => Some(format!("{rows} rows, the catalog says {}", entry.rows)),
        Ok((_, min, max)) if (min, max) != (entry.min_time, entry.max_time) => Some(format!(
            "rows of {min} to {max} ns, the catalog says {} to {}",
            entry.min_time, entry.max_time
        )),
        Ok(_) => None,
    }
}

/// Decodes everything; rows, earliest and latest time.
fn times(path: &FsPath) -> Result<(u64, i64, i64), StoreError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Source::open(path)?)?.build()?;
    let (mut rows, mut min, mut max) = (0, i64::MAX, i64::MIN);
    for batch in reader {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        let Some(times) = batch.column(0).as_primitive_opt::<TimestampNanosecondType>() else {
            return Err(StoreError::Wal("its first column is no time".to_owned()));
        };
        min = times.values().iter().copied().fold(min, i64::min);
        max = times.values().iter().copied().fold(max, i64::max);
    }
    Ok((rows, min, max))
}

fn below(folder: &FsPath) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort_unstable();
    found
}
