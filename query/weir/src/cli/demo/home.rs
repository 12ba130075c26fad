//! The run's directory below `/run/weir-demo`, and the lock in it that says whether the run is alive.
//!
//! The kernel drops the lock with the process, however it ended, so a directory whose lock is free belongs to a
//! dead run: its namespaces and files are removed. A reused process id can't fool that.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use nix::fcntl::{Flock, FlockArg};

use super::network;

const ROOT: &str = "/run/weir-demo";
const LOCK: &str = "lock";

/// The directory of this run: certificates and the links that services are started from. Removed on drop.
pub(super) struct Home {
    path: PathBuf,
    id: u32,
    _lock: Flock<File>,
}

impl Home {
    /// Clears what dead runs left behind (their number is returned) and makes this run's directory.
    pub(super) fn create() -> anyhow::Result<(Self, usize)> {
        let root = Path::new(ROOT);
        private_dir(root)?;
        // One demo at a time looks around and creates: a directory made but not yet locked looks dead.
        let _starting = lock(&root.join("starting"), FlockArg::LockExclusive)?;
        let cleared = clear(root)?;
        let id = std::process::id();
        let path = root.join(id.to_string());
        private_dir(&path)?;
        let lock = lock(&path.join(LOCK), FlockArg::LockExclusiveNonblock)?;
        Ok((Self { path, id, _lock: lock }, cleared))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(err) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %err, "demo directory not removed");
        }
    }
}

fn clear(root: &Path) -> anyhow::Result<usize> {
    let mut cleared = 0;
    for entry in fs::read_dir(root).with_context(|| format!("list {ROOT}"))? {
        let path = entry?.path();
        let Some(id) = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else { continue };
        if lock(&path.join(LOCK), FlockArg::LockExclusiveNonblock).is_ok() {
            network::remove(id)?;
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
            cleared += 1;
        }
    }
    // Namespaces without a directory: the run died between removing one and the other.
    for id in network::owners()? {
        if !root.join(id.to_string()).exists() {
            network::remove(id)?;
            cleared += 1;
        }
    }
    Ok(cleared)
}

/// Private: the keys of the demo's certificates lie in there.
fn private_dir(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make {} (is /run writable?)", path.display()))
}

fn lock(path: &Path, how: FlockArg) -> anyhow::Result<Flock<File>> {
    let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
    Flock::lock(file, how).map_err(|(_, err)| anyhow!(err).context(format!("lock {}", path.display())))
}
