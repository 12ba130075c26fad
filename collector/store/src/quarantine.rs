//! Damaged files are set aside and reported; the rest stays readable.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use object_store::path::Path as ObjectPath;
use tracing::warn;
use weir_model::tables;

use crate::catalog::{FileEntry, LostRows};
use crate::objects::is_missing;
use crate::replace::{self, Replacement};
use crate::scan::{Fate, Segment};
use crate::store::Inner;
use crate::view::index_of_name;
use crate::{StoreError, check};

/// A Parquet file begins and ends with this.
const PARQUET_MAGIC: &[u8; 4] = b"PAR1";

/// Where a damaged file goes: its own path, flattened, so that nothing is overwritten by its namesake.
pub(crate) fn place(root: &Path, relative: &str) -> PathBuf {
    root.join("quarantine").join(flattened(relative))
}

fn flattened(relative: &str) -> String {
    relative.replace('/', "~")
}

/// What was found in a file that gave trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examined {
    /// Nothing is wrong with it, or it isn't its table's any more.
    Whole,
    /// It answers by itself now: its roll-up was damaged.
    WithoutRollUp,
    /// It was set aside, and its rows are lost.
    SetAside,
}

/// Looks whether a file is damaged, and acts on it.
pub(crate) async fn examine(inner: &Inner, segment: &Segment) -> Result<Examined, StoreError> {
    if let Some(why) = check::fault(&inner.objects, segment).await? {
        let is_out = take_out(inner, &segment.path, &why).await?;
        return Ok(if is_out { Examined::SetAside } else { Examined::Whole });
    }
    let Some(rollup) = &segment.rollup else { return Ok(Examined::Whole) };
    let Some(why) = check::fault_of_rollup(&inner.objects, rollup).await? else { return Ok(Examined::Whole) };
    let found = {
        let catalog = inner.catalog.lock().await;
        catalog.log.state().files().find(|file| file.path == segment.path.as_ref()).cloned()
    };
    let Some(entry) = found.filter(|file| file.rollup.is_some()) else { return Ok(Examined::Whole) };
    let table = index_of_name(&entry.table).expect("a segment is of a table");
    let replacement = Replacement {
        add: vec![FileEntry { rollup: None, ..entry }],
        remove: vec![segment.path.clone()],
        ..Replacement::default()
    };
    let fate = |_: &Segment| Fate::Deleted(inner.objects.on_disk(&rollup.path).into_iter().collect());
    replace::commit(inner, table, replacement, fate).await?;
    warn!(path = %rollup.path, why, "a damaged roll-up is deleted; its file answers by itself");
    Ok(Examined::WithoutRollUp)
}

/// Takes a file that turned out to be damaged out of its table; false where no table has it (any more).
pub(crate) async fn take_out(inner: &Inner, path: &ObjectPath, why: &str) -> Result<bool, StoreError> {
    let of = |(table, segments): (usize, &[Segment])| {
        let found = segments.iter().find(|segment| &segment.path == path)?;
        let Segment { rows, min_time, max_time, .. } = *found;
        let (table_name, path) = (tables::ALL[table].name.to_owned(), path.to_string());
        Some((table, LostRows { table: table_name, path, rows, min_time, max_time }))
    };
    let found = {
        let view = inner.view.read();
        view.tables.iter().map(|table| table.segments.as_slice()).enumerate().find_map(of)
    };
    let Some((table, lost)) = found else { return Ok(false) };
    let rows = lost.rows;
    let name = flattened(path.as_ref());
    if inner.objects.is_shared() {
        // The file itself is deleted some time after it left its table.
        match inner.objects.copy(path, &ObjectPath::from(format!("quarantine/{name}"))).await {
            Err(err) if !is_missing(&err) => return Err(err),
            _ => {}
        }
    }
    let to = inner.config.dir.join("quarantine").join(&name);
    let fate = |segment: &Segment| {
        let on_disk = |path| inner.objects.on_disk(path).unwrap_or_default();
        let rollup = segment.rollup.as_ref().map(|rollup| on_disk(&rollup.path));
        Fate::SetAside { from: on_disk(path), to: to.clone(), rollup }
    };
    let replacement = Replacement { remove: vec![path.clone()], lost: vec![lost], ..Replacement::default() };
    let is_done = replace::commit(inner, table, replacement, fate).await?;
    if is_done {
        warn!(%path, rows, why, to = %format_args!("quarantine/{name}"), "a damaged file is taken out of its table");
    }
    Ok(is_done)
}

/// Moves a file out of the way.
pub(crate) fn set_aside(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::rename(from, to)
}

/// Keeps a copy of a file that stays in use.
pub(crate) fn keep_copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).map(|_| ())
}

/// What is wrong with a Parquet file at first sight (its size and its two ends); `None` where nothing is.
pub(crate) fn first_sight(path: &Path, size: u64) -> Option<String> {
    match ends(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Some("the file is gone".to_owned()),
        Err(err) => Some(err.to_string()),
        Ok((found, _)) if found != size => Some(format!("{found} bytes, the catalog says {size}")),
        Ok((_, false)) => Some("it does not begin and end as Parquet".to_owned()),
        Ok((_, true)) => None,
    }
}

/// Size, and whether both ends are Parquet's.
fn ends(path: &Path) -> io::Result<(u64, bool)> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut magic = [0; 4];
    if size < 12 {
        return Ok((size, false));
    }
    file.read_exact(&mut magic)?;
    let begins = &magic == PARQUET_MAGIC;
    file.seek(SeekFrom::End(-4))?;
    file.read_exact(&mut magic)?;
    Ok((size, begins && &magic == PARQUET_MAGIC))
}
