//! The store's files once more, as tables of Delta Lake: `<table>/_delta_log/00000000000000000000.json` beside the Parquet files
//! that it names, so that whoever reads Delta reads exactly the files of one commit.
//!
//! Delta's timestamps have microseconds, ours nanoseconds. Declared as timestamps, readers would cut them or refuse the files, so
//! times are declared as what is in the files: whole nanoseconds since 1970, `long`. `date`, by which the files lie in folders, is
//! the partition column. Format: the Delta transaction log protocol, reader version 1, writer version 2.

use std::collections::HashSet;
use std::io;
use std::path::{Path as FsPath, PathBuf};

use object_store::path::Path;
use serde_json::{Value, json};
use weir_model::{DataKind, Table, tables};

use crate::catalog::{Catalog, FileEntry};
use crate::objects::{Objects, is_missing};
use crate::{Shared, StoreError, commit};

/// How often it is begun again where a running Weir has replaced files meanwhile.
const PASSES: usize = 10;
/// The first commit of a Delta table.
const LOG: &str = "_delta_log/00000000000000000000.json";

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub struct Export {
    /// The data folder.
    pub dir: PathBuf,
    /// Where several writers share the store, if so.
    pub shared: Option<Shared>,
    /// The folder that gets a folder for each table; nothing may be in it yet.
    pub to: PathBuf,
    /// Hard links to the store's files, which cost no room, in place of copies.
    pub is_linked: bool,
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Tables that have files.
    pub tables: Vec<ExportedTable>,
}

/// One table's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedTable {
    /// Its name, and its folder's.
    pub table: &'static str,
    /// Files.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Exports all rows that are in files, as one commit of the catalog has them; also beside a running Weir, whose newest rows are in
/// no file yet. `progress` is told of files done and of all.
///
/// # Errors
/// Where something is in the folder already, the catalog can't be read, or a file can't be copied or linked.
pub async fn export_delta(export: &Export, progress: impl Fn(u64, u64)) -> Result<Exported, StoreError> {
    let objects = Objects::open(&export.dir, export.shared.as_ref())?;
    make_empty(&export.to)?;
    let mut copied: HashSet<String> = HashSet::new();
    let mut passes = 0;
    let files = loop {
        passes += 1;
        let catalog = Catalog::read(objects.clone()).await?;
        let files: Vec<FileEntry> = catalog.state().files().cloned().collect();
        match copy(&objects, export, &files, &mut copied, &progress).await {
            Ok(()) => break files,
            // It was merged with others, or deleted for its age: the catalog says with which.
            Err(err) if is_gone(&err) && passes < PASSES => {}
            Err(err) => return Err(err),
        }
    };
    let named: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for path in copied.iter().filter(|path| !named.contains(path.as_str())) {
        let path = place(&export.to, path);
        std::fs::remove_file(&path).map_err(StoreError::io(&path))?;
    }
    let mut exported = Exported::default();
    for table in tables::ALL {
        let files: Vec<&FileEntry> = files.iter().filter(|file| file.table == table.name).collect();
        if files.is_empty() {
            continue;
        }
        write_log(table, &files, &export.to.join(table.name).join(LOG))?;
        exported.tables.push(ExportedTable {
            table: table.name,
            files: files.len() as u64,
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.size).sum(),
        });
    }
    Ok(exported)
}

/// The folder, which others' files must not be in.
fn make_empty(folder: &FsPath) -> Result<(), StoreError> {
    std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
    match std::fs::read_dir(folder).map_err(StoreError::io(folder))?.next() {
        None => Ok(()),
        Some(_) => Err(StoreError::io(folder)(io::Error::new(
            io::ErrorKind::DirectoryNotEmpty,
            "something is in there already: name a new folder",
        ))),
    }
}

async fn copy(
    objects: &Objects,
    export: &Export,
    files: &[FileEntry],
    copied: &mut HashSet<String>,
    progress: &impl Fn(u64, u64),
) -> Result<(), StoreError> {
    for file in files {
        if !copied.contains(&file.path) {
            let to = place(&export.to, &file.path);
            let folder = to.parent().unwrap_or(&export.to);
            std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
            let path = Path::from(file.path.as_str());
            match objects.on_disk(&path).filter(|_| export.is_linked) {
                Some(from) => std::fs::hard_link(&from, &to).map_err(StoreError::io(&from))?,
                None => objects.copy_out(&path, &to).await?,
            }
            copied.insert(file.path.clone());
        }
        progress(copied.len() as u64, copied.len().max(files.len()) as u64);
    }
    Ok(())
}

fn is_gone(err: &StoreError) -> bool {
    is_missing(err)
        || matches!(err, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Where a file of the store goes.
fn place(to: &FsPath, path: &str) -> PathBuf {
    to.join(path.strip_prefix("tables/").unwrap_or(path))
}

/// The table's only commit: what it is, and which files it has.
fn write_log(table: &'static Table, files: &[&FileEntry], path: &FsPath) -> Result<(), StoreError> {
    let now = commit::now() / 1_000_000;
    let mut lines = vec![
        json!({ "protocol": { "minReaderVersion": 1, "minWriterVersion": 2 } }),
        json!({ "metaData": {
            "id": id_of(table, files),
            "name": table.name,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema(table).to_string(),
            "partitionColumns": ["date"],
            "configuration": {},
            "createdTime": now,
        } }),
    ];
    for file in files {
        let inside = file.path.strip_prefix(&format!("tables/{}/", table.name)).unwrap_or(&file.path);
        let date = inside.strip_prefix("date=").and_then(|rest| rest.split('/').next());
        let stats = json!({
            "numRecords": file.rows,
            "minValues": { table.time_column(): file.min_time },
            "maxValues": { table.time_column(): file.max_time },
            "nullCount": { table.time_column(): 0 },
        });
        lines.push(json!({ "add": {
            "path": inside,
            "partitionValues": { "date": date },
            "size": file.size,
            "modificationTime": now,
            "dataChange": true,
            "stats": stats.to_string(),
        } }));
    }
    let mut text: String = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    text.push('\n');
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(StoreError::io(folder))?;
    std::fs::write(path, text).map_err(StoreError::io(path))
}

/// An id in the form of a UUID: the same for the same files.
fn id_of(table: &Table, files: &[&FileEntry]) -> String {
    let sum =
        |salt: u32| files.iter().fold(salt, |sum, file| crc32c::crc32c_append(sum, file.path.as_bytes()));
    let name = crc32c::crc32c(table.name.as_bytes());
    let (first, second, third) = (sum(name), sum(!name), files.len() as u32);
    format!(
        "{first:08x}-{:04x}-8{:03x}-8{:03x}-{third:04x}{name:08x}",
        second >> 16,
        second >> 4 & 0xfff,
        second & 0xfff
    )
}

/// Delta's words for the table's columns, and for the day by which files lie in folders.
fn schema(table: &'static Table) -> Value {
    let column = |name: &str, kind: Value, is_nullable: bool, comment: String| json!({ "name": name, "type": kind, "nullable": is_nullable, "metadata": { "comment": comment } });
    let columns = table.columns.iter().map(|of| {
        let comment = match of.kind {
            DataKind::Time | DataKind::OptTime => format!("{} (ns since 1970, UTC)", of.description),
            _ => of.description.to_owned(),
        };
        // A file that is older than a column lacks it, whatever it is.
        column(of.name, kind(of.kind), of.name != table.time_column(), comment)
    });
    let date = column("date", json!("date"), true, "day (UTC) of the row's time".to_owned());
    json!({ "type": "struct", "fields": columns.chain([date]).collect::<Vec<_>>() })
}

fn kind(kind: DataKind) -> Value {
    match kind {
        DataKind::Time | DataKind::OptTime | DataKind::Int | DataKind::Count => json!("long"),
        DataKind::Port => json!("integer"),
        DataKind::Text | DataKind::Str => json!("string"),
        DataKind::Bool => json!("boolean"),
        DataKind::Float => json!("double"),
        DataKind::TextList => json!({ "type": "array", "elementType": "string", "containsNull": true }),
        DataKind::Map => json!({
            "type": "map", "keyType": "string", "valueType": "string", "valueContainsNull": true
        }),
    }
}

#[cfg(test)]
mod tests;
