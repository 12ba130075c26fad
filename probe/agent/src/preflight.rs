//! What this machine lets the probe see, in the words of `weir doctor`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::load::KERNEL_TYPES;

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

/// Looks at this machine; changes nothing and needs no privileges.
pub fn preflight() -> Preflight {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    Preflight {
        checks: vec![
            kernel_check(release.trim()),
            types_check(Path::new(KERNEL_TYPES)),
            capability_check(effective_capabilities(&status)),
            cgroup_check(cgroup2_mount(&mounts)),
        ],
    }
}

/// The root of the cgroup v2 hierarchy; all sockets of the machine lie below it.
pub(crate) fn cgroup2_root() -> Result<PathBuf, Missing> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = cgroup2_mount(&mounts);
    mount.clone().ok_or_else(|| Missing { checks: vec![cgroup_check(mount)] })
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

fn cgroup_check(mount: Option<PathBuf>) -> Check {
    let ok = mount.is_some();
    Check {
        name: "cgroup v2",
        ok,
        found: mount.map_or_else(|| "is not mounted".to_owned(), |mount| format!("at {}", mount.display())),
        remedy: if ok {
            ""
        } else {
            "mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
        },
    }
}

/// `/proc/self/mounts`: device, place, type, options.
fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
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
            checks: vec![kernel_check("4.19.0-6-amd64"), capability_check(0), cgroup_check(None)],
        }
        .missing()
        .expect("three things");
        assert_eq!(missing.checks.len(), 3);
        let text = missing.to_string();
        assert!(text.contains("4.19.0-6-amd64 (the probe needs Linux 5.15 or newer)"), "{text}");
        assert!(text.contains("without CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN (run as root"), "{text}");
        assert!(text.contains("is not mounted (mount it: "), "{text}");
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
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }
}
