//! What this machine lets the probe see, in the words of `weir doctor`.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::PIN_DIR;
use crate::features::{FeatureState, FeatureStatus};
use crate::load::pins;
use crate::sys;

/// Kernels older than this lack what the programs need.
const OLDEST_KERNEL: (u32, u32) = (5, 15);
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// One thing that the probe needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is looked at, such as `kernel types (BTF)`.
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where `ok`.
    pub remedy: &'static str,
}

impl From<&FeatureStatus> for Check {
    fn from(feature: &FeatureStatus) -> Check {
        let (ok, found) = match &feature.state {
            FeatureState::On => (true, "works".to_owned()),
            FeatureState::NotAsked => (true, "left out by the level".to_owned()),
            FeatureState::SwitchedOff => (true, "switched off".to_owned()),
            FeatureState::Off { reason, without } => (false, format!("off, so {without}: {reason}")),
        };
        let remedy = if ok { "" } else { "the rest works; a newer kernel has what it lacks" };
        Check { name: feature.name, ok, found, remedy }
    }
}

/// All that the probe needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// In the order that they should be dealt with.
    pub checks: Vec<Check>,
}

impl Preflight {
    /// Whether the probe can run.
    pub fn ok(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// What is missing, as an error; `None` if nothing is.
    pub fn missing(&self) -> Option<Missing> {
        let missing: Vec<Check> = self.checks.iter().filter(|check| !check.ok).cloned().collect();
        if missing.is_empty() { None } else { Some(Missing { checks: missing }) }
    }
}

/// What the machine lacks for the probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The checks that failed, at least one.
    pub checks: Vec<Check>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, check) in self.checks.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {} ({})", check.name, check.found, check.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Missing {}

/// Looks at this machine, whose kernel's types are in that file; changes nothing and needs no privileges.
pub fn preflight(kernel_types: &Path) -> Preflight {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    Preflight {
        checks: vec![
            kernel_check(release.trim()),
            types_check(kernel_types),
            capability_check(effective_capabilities(&status)),
            cgroup_check(&find_cgroup2(&mounts)),
            restart_check(pins::check(Path::new(PIN_DIR))),
        ],
    }
}

/// The root of the cgroup v2 hierarchy: all sockets of the machine lie below it.
pub(crate) struct CgroupRoot {
    /// Where it can be opened, as long as this value lives.
    pub(crate) path: PathBuf,
    _mount: Option<OwnedFd>,
}

impl CgroupRoot {
    /// The host's mount, or one of our own that no one else sees and that ends with us.
    pub(crate) fn open() -> Result<CgroupRoot, Missing> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let found = find_cgroup2(&mounts);
        if let Cgroup2::Root(path) = found {
            return Ok(CgroupRoot { path, _mount: None });
        }
        if let Cgroup2::Unmounted = found
            && let Ok(mount) = sys::mount_cgroup2()
        {
            let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
            if is_hierarchy_root(&path) {
                return Ok(CgroupRoot { path, _mount: Some(mount) });
            }
            return Err(Missing { checks: vec![cgroup_check(&Cgroup2::Part(path))] });
        }
        let mut check = cgroup_check(&found);
        (check.ok, check.remedy) = (false, MOUNT_REMEDY);
        Err(Missing { checks: vec![check] })
    }
}

#[cfg(test)]
impl CgroupRoot {
    /// A directory that stands for the hierarchy.
    pub(crate) fn at(path: &Path) -> CgroupRoot {
        CgroupRoot { path: path.to_owned(), _mount: None }
    }
}

const MOUNT_REMEDY: &str =
    "mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified";

/// What there is of cgroup v2.
#[derive(Debug, PartialEq, Eq)]
enum Cgroup2 {
    /// The whole hierarchy.
    Root(PathBuf),
    /// Only a container's own part.
    Part(PathBuf),
    /// The kernel has it, nobody mounted it; the probe does so for itself.
    Unmounted,
    /// The kernel lacks it.
    Absent,
}

fn find_cgroup2(mounts: &str) -> Cgroup2 {
    let mut part = None;
    for place in cgroup2_mounts(mounts) {
        if is_hierarchy_root(&place) {
            return Cgroup2::Root(place);
        }
        part = Some(place);
    }
    if let Some(place) = part {
        return Cgroup2::Part(place);
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known = filesystems.lines().any(|line| line.split('\t').next_back() == Some("cgroup2"));
    if known { Cgroup2::Unmounted } else { Cgroup2::Absent }
}

/// The hierarchy's own root has inode 1; what a cgroup namespace shows as its root has another.
fn is_hierarchy_root(place: &Path) -> bool {
    fs::metadata(place).is_ok_and(|metadata| metadata.ino() == 1)
}

fn kernel_check(release: &str) -> Check {
    let ok = version(release).is_some_and(|version| version >= OLDEST_KERNEL);
    Check {
        name: "kernel version",
        ok,
        found: if release.is_empty() { "unknown".to_owned() } else { release.to_owned() },
        remedy: if ok { "" } else { "the probe needs Linux 5.15 or newer" },
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn types_check(path: &Path) -> Check {
    let ok = path.exists();
    Check {
        name: "kernel types (BTF)",
        ok,
        found: format!("{} {}", path.display(), if ok { "is there" } else { "is missing" }),
        remedy: if ok {
            ""
        } else {
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF; distributions' own kernels are"
        },
    }
}

fn capability_check(effective: u64) -> Check {
    let has = |capability: u32| effective >> capability & 1 == 1;
    let missing: Vec<&str> =
        [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")]
            .into_iter()
            .filter(|(capability, _)| !has(*capability))
            .map(|(_, name)| name)
            .collect();
    // CAP_SYS_ADMIN contains the first two.
    let ok = missing.is_empty() || (has(CAP_SYS_ADMIN) && has(CAP_NET_ADMIN));
    Check {
        name: "privileges",
        ok,
        found: if ok { "sufficient".to_owned() } else { format!("without {}", missing.join(", ")) },
        remedy: if ok { "" } else { "run as root, or give CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN" },
    }
}

fn effective_capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0)
}

fn cgroup_check(cgroup2: &Cgroup2) -> Check {
    let (ok, found, remedy) = match cgroup2 {
        Cgroup2::Root(place) => (true, format!("at {}", place.display()), ""),
        Cgroup2::Unmounted => (true, "not mounted; the probe mounts it for itself".to_owned(), ""),
        Cgroup2::Part(place) => (
            false,
            format!("{} shows only this container's part", place.display()),
            "mount the host's /sys/fs/cgroup into the container (a hostPath volume)",
        ),
        Cgroup2::Absent => (
            false,
            "not in this kernel".to_owned(),
            "boot a kernel built with CONFIG_CGROUPS and CONFIG_CGROUP_BPF",
        ),
    };
    Check { name: "cgroup v2", ok, found, remedy }
}

/// Without it nothing is wrong while the probe runs.
fn restart_check(bpf_file_system: std::io::Result<()>) -> Check {
    let found = match bpf_file_system {
        Ok(()) => "kernel programs go on while a probe that crashed is started again".to_owned(),
        Err(error) => format!("what happens while the probe restarts is missing: {error}"),
    };
    Check { name: "BPF file system", ok: true, found, remedy: "" }
}

/// `/proc/self/mounts`: device, place, type, options.
fn cgroup2_mounts(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_what_to_do() {
        let missing = Preflight {
            checks: vec![kernel_check("4.19.0-6-amd64"), capability_check(0), cgroup_check(&Cgroup2::Absent)],
        }
        .missing()
        .expect("three things");
        assert_eq!(missing.checks.len(), 3);
        let text = missing.to_string();
        assert!(text.contains("4.19.0-6-amd64 (the probe needs Linux 5.15 or newer)"), "{text}");
        assert!(text.contains("without CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN (run as root"), "{text}");
        assert!(text.contains("cgroup v2: not in this kernel (boot a kernel"), "{text}");
    }

    #[test]
    fn root_or_the_three_capabilities_suffice() {
        for (effective, ok) in [
            (u64::MAX, true),
            (1 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_NET_ADMIN, true),
            (1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN, true),
            (1 << CAP_SYS_ADMIN, false),
            (1 << CAP_BPF | 1 << CAP_NET_ADMIN, false),
        ] {
            assert_eq!(capability_check(effective).ok, ok, "{effective:x}");
        }
        assert_eq!(effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
    }

    #[test]
    fn kernels_compare_by_number_and_not_by_text() {
        for (release, ok) in
            [("6.18.44-fc", true), ("5.15.0", true), ("5.9.16", false), ("5.4", false), ("", false)]
        {
            assert_eq!(kernel_check(release).ok, ok, "{release}");
        }
    }

    #[test]
    fn cgroup_v2_is_found_beside_v1() {
        let mounts =
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2_mounts(mounts).collect::<Vec<_>>(), [PathBuf::from("/sys/fs/cgroup/unified")]);
        assert_eq!(cgroup2_mounts("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n").next(), None);
    }

    /// Attached to a part, the probe would see only itself.
    #[test]
    fn a_part_of_the_hierarchy_is_not_taken_for_the_whole() {
        let part = tempfile::tempdir().expect("a directory");
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", part.path().display());
        let found = find_cgroup2(&mounts);
        assert_eq!(found, Cgroup2::Part(part.path().to_owned()));
        assert!(!cgroup_check(&found).ok);
    }
}
