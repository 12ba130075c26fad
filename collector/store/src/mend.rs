//! A data folder that was left in a hurry, at the next start: what a crash or a bad disk did to its files. Where several
//! writers share a store it is [`crate::shared`] that looks.

use std::collections::HashSet;
use std::fs;
use std::path::Path as FsPath;

use tracing::{info, warn};

use crate::catalog::{Catalog, Commit, FileEntry, LostRows};
use crate::store::Opened;
use crate::{StoreError, quarantine};

/// Deletes what a crash left between writing a file and naming it.
pub(crate) fn delete_orphans(dir: &FsPath, catalog: &Catalog) -> Result<(), StoreError> {
    let named: HashSet<&str> = catalog.state().paths().collect();
    let mut folders = vec![dir.join("tables"), dir.join("rollups")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(StoreError::io(&folder))? {
            let path = entry.map_err(StoreError::io(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(dir).ok().and_then(FsPath::to_str);
            if relative.is_some_and(|relative| named.contains(relative)) {
                continue;
            }
            info!(path = %path.display(), "deleting a file that no commit names; its rows are in the log, or in other files");
            fs::remove_file(&path).map_err(StoreError::io(&path))?;
        }
    }
    Ok(())
}

/// Takes files that are damaged at first sight out of their tables.
pub(crate) async fn set_damaged_aside(
    dir: &FsPath,
    writer: &str,
    catalog: &mut Catalog,
    opened: &mut Opened,
) -> Result<(), StoreError> {
    without_damaged_rollups(dir, writer, catalog).await?;
    let mut damaged: Vec<(FileEntry, String)> = Vec::new();
    for file in catalog.state().files() {
        let fault = quarantine::first_sight(&dir.join(&file.path), file.size);
        damaged.extend(fault.map(|fault| (file.clone(), fault)));
    }
    if damaged.is_empty() {
        return Ok(());
    }
    let remove = damaged.iter().map(|(file, _)| file.path.clone()).collect();
    let lost = damaged.iter().map(|(file, _)| LostRows::of(file)).collect();
    catalog.commit(Commit { remove, lost, ..Commit::of(writer) }).await?;
    for (file, fault) in damaged {
        warn!(path = file.path, rows = file.rows, fault, "a damaged file is taken out of its table");
        let from = dir.join(&file.path);
        if from.exists() {
            let to = quarantine::place(dir, &file.path);
            quarantine::set_aside(&from, &to).map_err(StoreError::io(&from))?;
        }
        opened.quarantined_rows += file.rows;
        opened.quarantined.push((file.path, fault));
    }
    Ok(())
}

/// Files whose roll-ups are damaged at first sight go on without them: a roll-up says nothing that its file doesn't.
async fn without_damaged_rollups(
    dir: &FsPath,
    writer: &str,
    catalog: &mut Catalog,
) -> Result<(), StoreError> {
    let fault = |file: &&FileEntry| {
        let rollup = file.rollup.as_ref();
        rollup.is_some_and(|rollup| quarantine::first_sight(&dir.join(&rollup.path), rollup.size).is_some())
    };
    let damaged: Vec<FileEntry> = catalog.state().files().filter(fault).cloned().collect();
    if damaged.is_empty() {
        return Ok(());
    }
    for rollup in damaged.iter().filter_map(|file| file.rollup.as_ref()) {
        warn!(path = rollup.path, "a damaged roll-up is deleted; its file answers by itself");
        // It may be gone already.
        let _ = fs::remove_file(dir.join(&rollup.path));
    }
    let remove = damaged.iter().map(|file| file.path.clone()).collect();
    let add = damaged.into_iter().map(|file| FileEntry { rollup: None, ..file }).collect();
    catalog.commit(Commit { add, remove, ..Commit::of(writer) }).await.map(|_| ())
}
