//! Damaged files are set aside and reported; the rest stays readable.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A Parquet file begins and ends with this.
const PARQUET_MAGIC: &[u8; 4] = b"PAR1";

/// Where a damaged file goes: its own path, flattened, so that nothing is overwritten by its namesake.
pub(crate) fn place(root: &Path, relative: &str) -> PathBuf {
    root.join("quarantine").join(relative.replace('/', "~"))
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
