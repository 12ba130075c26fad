//! Who a socket's owner is: cgroup → container, pod, systemd unit. No container runtime is asked: the path of the
//! cgroup says it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use smol_str::SmolStr;
use weir_abi::Owner;

use crate::preflight::CgroupRoot;

/// New cgroups are looked for at most this often, so that short-lived ones can't keep us scanning.
const SCAN_PAUSE: Duration = Duration::from_secs(1);
/// Depth of the cgroup tree that is looked at; Kubernetes in Docker in systemd stays below ten.
const MAX_DEPTH: usize = 16;
/// Processes whose cgroup file was read; forgotten when there are more.
const MAX_PROCESSES: usize = 4_096;
const CONTAINER_ID: usize = 64;
const UUID: usize = 36;

/// What a cgroup's path says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Workload {
    /// Container id.
    pub(crate) container: Option<SmolStr>,
    /// UID of the Kubernetes pod.
    pub(crate) pod: Option<SmolStr>,
    /// systemd unit, for processes outside containers.
    pub(crate) unit: Option<SmolStr>,
}

/// Who holds an end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: Option<i64>,
    pub(crate) process: Option<SmolStr>,
    pub(crate) workload: Workload,
}

/// Answers from memory, and looks at the cgroup file system when it must.
pub(crate) struct Identities {
    cgroups: CgroupRoot,
    by_cgroup: HashMap<u64, Workload>,
    by_process: HashMap<u32, Workload>,
    scanned: Option<Instant>,
}

impl Identities {
    /// Looks below `cgroups`.
    pub(crate) fn new(cgroups: CgroupRoot) -> Identities {
        Identities { cgroups, by_cgroup: HashMap::new(), by_process: HashMap::new(), scanned: None }
    }

    /// Forgets processes: their ids come back as others'.
    pub(crate) fn forget_processes(&mut self) {
        self.by_process.clear();
    }

    /// Who that owner is.
    pub(crate) fn holder(&mut self, owner: &Owner) -> Holder {
        Holder {
            pid: (owner.pid != 0).then_some(i64::from(owner.pid)),
            process: comm(&owner.comm),
            workload: self.workload(owner),
        }
    }

    /// Ids of the cgroups of certain workloads, as they are now.
    pub(crate) fn cgroups_of(&mut self, is_it: impl Fn(&Workload) -> bool) -> Vec<u64> {
        self.scanned = None;
        self.scan();
        let mut ids: Vec<u64> =
            self.by_cgroup.iter().filter(|(_, workload)| is_it(workload)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    fn workload(&mut self, owner: &Owner) -> Workload {
        if owner.cgroup_id != 0 {
            if !self.by_cgroup.contains_key(&owner.cgroup_id) {
                self.scan();
            }
            if let Some(workload) =
                self.by_cgroup.get(&owner.cgroup_id).filter(|known| **known != Workload::default())
            {
                return workload.clone();
            }
        }
        // Where controllers still use cgroup v1, everything is at the root of v2; the process's own file has the rest.
        if owner.pid == 0 {
            return Workload::default();
        }
        if self.by_process.len() > MAX_PROCESSES {
            self.by_process.clear();
        }
        self.by_process.entry(owner.pid).or_insert_with(|| of_process(owner.pid)).clone()
    }

    fn scan(&mut self) {
        if self.scanned.is_some_and(|at| at.elapsed() < SCAN_PAUSE) {
            return;
        }
        self.scanned = Some(Instant::now());
        self.by_cgroup.clear();
        let root = self.cgroups.path.clone();
        self.scan_below(&root, &root, MAX_DEPTH);
    }

    fn scan_below(&mut self, root: &Path, directory: &Path, depth: usize) {
        let Ok(metadata) = fs::metadata(directory) else { return };
        let path = directory.strip_prefix(root).unwrap_or(directory);
        // A cgroup's id is the inode of its directory.
        self.by_cgroup.insert(metadata.ino(), of_path(&path.to_string_lossy()));
        if depth == 0 {
            return;
        }
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.scan_below(root, &entry.path(), depth - 1);
            }
        }
    }
}

/// The name of a process, out of the kernel's zero-padded bytes.
pub(crate) fn comm(bytes: &[u8; 16]) -> Option<SmolStr> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    (end > 0).then(|| SmolStr::new(String::from_utf8_lossy(&bytes[..end])))
}

/// `/proc/PID/cgroup`: lines of `id:controllers:path`; the one that says most.
fn of_process(pid: u32) -> Workload {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    of_cgroup_file(&text)
}

fn of_cgroup_file(text: &str) -> Workload {
    let workloads = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(of_path);
    workloads()
        .find(|workload| workload.container.is_some())
        .or_else(|| workloads().find(|workload| workload.unit.is_some()))
        .unwrap_or_default()
}

/// What a cgroup's path says about who lives there.
fn of_path(path: &str) -> Workload {
    let mut workload = Workload::default();
    for part in path.split('/') {
        if let Some(uid) = pod_uid(part) {
            workload.pod = Some(uid);
        }
        if let Some(id) = container_id(part) {
            workload.container = Some(id);
        }
        let is_unit = Path::new(part).extension().is_some_and(|end| end == "service" || end == "scope");
        if is_unit {
            workload.unit = Some(SmolStr::new(part));
        }
    }
    if workload.container.is_some() || workload.pod.is_some() {
        workload.unit = None;
    }
    workload
}

/// `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>.scope`, `libpod-<id>.scope`.
fn container_id(part: &str) -> Option<SmolStr> {
    // The monitor beside the container, not the container.
    if part.contains("conmon") {
        return None;
    }
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let id = name.rsplit(['-', ':']).next()?;
    let is_id = id.len() == CONTAINER_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| SmolStr::new(id))
}

/// `pod<uid>` (cgroupfs driver), `kubepods-burstable-pod<uid with _>.slice` (systemd driver).
fn pod_uid(part: &str) -> Option<SmolStr> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let at = name.rfind("pod")?;
    let uid = &name[at + 3..];
    let before = &name[..at];
    let is_pod = uid.len() == UUID && (before.is_empty() || before.starts_with("kubepods"));
    is_pod.then(|| SmolStr::new(uid.replace('_', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f0c9a2b7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a";
    const UID: &str = "12345678-90ab-cdef-1234-567890abcdef";

    fn check(path: &str, container: Option<&str>, pod: Option<&str>, unit: Option<&str>) {
        let expected = Workload {
            container: container.map(SmolStr::new),
            pod: pod.map(SmolStr::new),
            unit: unit.map(SmolStr::new),
        };
        assert_eq!(of_path(path), expected, "{path}");
    }

    #[test]
    fn containers_and_pods_are_found_in_every_runtime_s_path() {
        let systemd_uid = UID.replace('-', "_");
        for path in [
            format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{systemd_uid}.slice/cri-containerd-{ID}.scope"
            ),
            format!("kubepods.slice/kubepods-pod{systemd_uid}.slice/crio-{ID}.scope"),
            format!("kubepods/besteffort/pod{UID}/{ID}"),
            format!(
                "system.slice/containerd.service/kubepods-burstable-pod{systemd_uid}.slice:cri-containerd:{ID}/kubepods/pod{UID}/{ID}"
            ),
        ] {
            check(&path, Some(ID), Some(UID), None);
        }
        for path in [
            format!("system.slice/docker-{ID}.scope"),
            format!("docker/{ID}"),
            format!("machine.slice/libpod-{ID}.scope/container"),
        ] {
            check(&path, Some(ID), None, None);
        }
    }

    #[test]
    fn host_processes_keep_their_unit() {
        check("system.slice/sshd.service", None, None, Some("sshd.service"));
        check("user.slice/user-0.slice/session-3.scope", None, None, Some("session-3.scope"));
        check("", None, None, None);
        check("my-podcast/files", None, None, None);
    }

    #[test]
    fn cgroup_v1_is_read_from_the_process() {
        let text = format!("12:cpu:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n");
        assert_eq!(of_cgroup_file(&text).container.as_deref(), Some(ID));
        assert_eq!(of_cgroup_file("0::/system.slice/cron.service\n").unit.as_deref(), Some("cron.service"));
    }

    #[test]
    fn a_cgroup_is_found_by_its_inode() {
        let root = tempfile::tempdir().expect("a directory");
        let inner = root.path().join("system.slice/cron.service");
        fs::create_dir_all(&inner).expect("a directory below");
        let cgroup_id = fs::metadata(&inner).expect("it is there").ino();
        let mut identities = Identities::new(CgroupRoot::at(root.path()));
        let holder =
            identities.holder(&Owner { cgroup_id, pid: 7, comm: *b"cron\0\0\0\0\0\0\0\0\0\0\0\0", _pad: 0 });
        assert_eq!(holder.workload.unit.as_deref(), Some("cron.service"));
        assert_eq!((holder.pid, holder.process.as_deref()), (Some(7), Some("cron")));
    }
}
