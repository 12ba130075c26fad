//! Programs and maps that outlive the process: a probe that is killed and started again finds them at work, and misses
//! nothing. They are pinned below `<pin dir>/<state dir>/<instance>`, where the journal names the instance: without the
//! state that belongs to them they would be counted anew, so then they are taken off.
//!
//! A clean stop takes everything off too, unless `--keep-attached` asks otherwise.

use std::fs;
use std::hash::Hasher as _;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::Wanted;

/// Where one run's programs are, or will be.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    /// All instances that belong to this state directory.
    home: PathBuf,
    /// This one.
    pub(crate) instance: String,
    /// Whether its programs are at work already.
    pub(crate) is_adopted: bool,
}

impl Pins {
    /// Finds the instance that `earlier` names, if it is what we would load; a new one, named after this run, if not.
    ///
    /// # Errors
    /// `pin_dir` is not on a BPF file system, or can't be written.
    pub(crate) fn find(
        pin_dir: &Path,
        state_dir: &Path,
        earlier: Option<&str>,
        run: &str,
        wanted: &Wanted,
    ) -> io::Result<Pins> {
        check(pin_dir)?;
        let home = home(pin_dir, state_dir)?;
        fs::create_dir_all(&home)?;
        let version = version(wanted)?;
        let adopted = earlier
            .filter(|earlier| earlier.ends_with(&version) && home.join(earlier).is_dir())
            .map(ToOwned::to_owned);
        let is_adopted = adopted.is_some();
        let instance = adopted.unwrap_or_else(|| format!("{run}-{version}"));
        let pins = Pins { home, instance, is_adopted };
        fs::create_dir_all(pins.directory())?;
        Ok(pins)
    }

    /// Where all of it is.
    pub(super) fn directory(&self) -> PathBuf {
        self.home.join(&self.instance)
    }

    /// Where a map or a program's link is pinned.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Takes other instances off: of another version, or without their state.
    pub(super) fn take_others_off(&self) -> io::Result<()> {
        for other in fs::read_dir(&self.home)?.flatten() {
            if other.file_name() != self.instance.as_str() {
                fs::remove_dir_all(other.path())?;
            }
        }
        Ok(())
    }

    /// Takes everything of this state directory off.
    pub(crate) fn take_off(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.home)
    }
}

/// Takes off what a probe with this state directory left at work.
///
/// # Errors
/// It can't be removed; that there is nothing is no error.
pub(crate) fn take_off(pin_dir: &Path, state_dir: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(home(pin_dir, state_dir)?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `pin_dir` is, or would be, on a BPF file system.
pub(crate) fn check(pin_dir: &Path) -> io::Result<()> {
    let there = pin_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if statfs(there)?.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} is not a BPF file system: mount -t bpf bpf /sys/fs/bpf",
        there.display()
    )))
}

/// A file system without dots in names.
fn home(pin_dir: &Path, state_dir: &Path) -> io::Result<PathBuf> {
    let state_dir = std::path::absolute(state_dir)?;
    let name: String = state_dir
        .to_string_lossy()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' })
        .collect();
    Ok(pin_dir.join(name.trim_matches('-')))
}

/// What is at work is what we would load if all of this is the same.
fn version(wanted: &Wanted) -> io::Result<String> {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&wanted.object()?);
    hasher.write(&fs::read(&wanted.kernel_types)?);
    let Wanted { level, library_probes, ring_bytes, udp_flows, connections, path_flows, interfaces, .. } =
        wanted;
    hasher.write(format!("{level:?} {library_probes} {ring_bytes} {udp_flows} {connections}").as_bytes());
    // Interfaces' indices mean something in their own namespace only.
    let namespace = fs::read_link("/proc/self/ns/net")?;
    hasher.write(format!("{path_flows} {interfaces:?} {}", namespace.display()).as_bytes());
    Ok(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_directory_has_its_own_place() {
        let home = |state: &str| home(Path::new("/sys/fs/bpf/weir"), Path::new(state)).expect("absolute");
        assert_eq!(home("/var/lib/weir-probe"), Path::new("/sys/fs/bpf/weir/var-lib-weir-probe"));
        assert_eq!(home("/tmp/.a.b/c"), Path::new("/sys/fs/bpf/weir/tmp--a-b-c"));
    }

    #[test]
    fn what_is_no_bpf_file_system_is_said_with_the_remedy() {
        let error = check(Path::new("/proc/self/nothing/here")).expect_err("proc is none");
        assert!(error.to_string().contains("mount -t bpf"), "{error}");
    }
}
