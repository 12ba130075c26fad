//! Damaged files are set aside and reported; the rest stays readable.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use object_store::path::Path as ObjectPath;
use tracing::warn;

use crate::StoreError;
use crate::replace::{self, Replacement};
use crate::scan::Fate;
use crate::store::Inner;

/// A Parquet file begins and ends with this.
const PARQUET_MAGIC: &[u8; 4] = b"PAR1";

/// Where a damaged file goes: its own path, flattened, so that nothing is overwritten by its namesake.
pub(crate) fn place(root: &Path, relative: &str) -> PathBuf {
    root.join("quarantine").join(relative.replace('/', "~"))
}

/// Takes a file that turned out to be damaged out of its table; false where no table has it (any more).
pub(crate) async fn take_out(inner: &Inner, path: &ObjectPath, why: &str) -> Result<bool, StoreError> {
    let of = |(table, segments): (usize, &[crate::Segment])| {
        let segment = segments.iter().find(|segment| &segment.path == path)?;
        Some((table, segment.rows))
    };
    let found = {
        let view = inner.view.read();
        view.tables.iter().map(|table| table.segments.as_slice()).enumerate().find_map(of)
    };
    let Some((table, rows)) = found else { return Ok(false) };
    let to = place(&inner.config.dir, path.as_ref());
    let fate = |segment: &crate::Segment| Fate::SetAside {
        from: inner.objects.on_disk(path),
        to: to.clone(),
        rollup: segment.rollup.as_ref().map(|rollup| inner.objects.on_disk(&rollup.path)),
    };
    let replacement = Replacement { remove: vec![path.clone()], ..Replacement::default() };
    let is_done = replace::commit(inner, table, replacement, fate).await?;
    if is_done {
        warn!(%path, rows, why, to = %to.display(), "a damaged file is taken out of its table");
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
