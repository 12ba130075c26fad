//! Processes that hold reported sockets → rows of `processes`: when one is first seen, each hour, and whenever it became
//! another program.
//!
//! | file         | subject                                                        |
//! |--------------|----------------------------------------------------------------|
//! | `procfs.rs`  | what `/proc` says of a process                                  |
//! | `redact.rs`  | arguments → a command line without secrets                      |
//! | `runtime.rs` | a container's image and names, out of its runtime's files       |
//!
//! Sightings cost a look into a map; a few new ones are read at each turn of the thread, soon after they were seen, since
//! short-lived processes won't wait. What is gone by then stays null and is counted. Never here: environment variables,
//! open files, anything of processes without a reported socket.

mod procfs;
mod redact;
mod runtime;

use std::collections::VecDeque;
use std::path::PathBuf;

use hashbrown::HashMap;
use smol_str::SmolStr;
use weir_abi::Owner;
use weir_model::ProcessRow;

use self::procfs::{Executable, Procfs, Stat};
use self::runtime::Runtimes;
use crate::features::{FeatureState, FeatureStatus};
use crate::handshakes::Context;
use crate::identity::comm;

/// A process is told again after so long, so that each longer range of time has its row.
const AGAIN_NS: u64 = 3600 * 1_000_000_000;
/// Process ids come back as others': a known one is looked at again after so long.
const SURE_NS: u64 = 10 * 1_000_000_000;
/// Processes that are remembered.
const MAX_KNOWN: usize = 8_192;
/// Processes that wait to be looked at.
const MAX_WAITING: usize = 1_024;
/// Processes that are looked at in one turn of the thread: some 50 µs each.
const PER_TURN: usize = 16;
/// A process may have begun so much later than its socket by the clock tick that its start is told in.
const TICK_NS: u64 = 10_000_000;

/// A socket was seen, and who holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) owner: Owner,
    /// Network namespace of the socket.
    pub(crate) netns: u32,
    /// When the socket was opened, on the kernel's clock; 0: unknown.
    pub(crate) opened_ns: u64,
    /// When it was seen, on the kernel's clock.
    pub(crate) time_ns: u64,
}

/// What is remembered of a process.
#[derive(Clone, Copy, Debug)]
struct Known {
    cgroup_id: u64,
    comm: [u8; 16],
    /// When it was last looked at, or put into the line.
    sure_ns: u64,
    /// The last row about it: when, and the start that it told.
    told: Option<(u64, Option<u64>)>,
}

/// All that hold sockets.
pub(crate) struct Processes {
    procfs: Procfs,
    runtimes: Runtimes,
    known: HashMap<u32, Known>,
    waiting: VecDeque<Sighting>,
    /// Processes that had ended before they were looked at.
    pub(crate) gone: u64,
    /// Processes for which there was no room in the line.
    pub(crate) not_told: u64,
}

impl Processes {
    /// With this machine's `/proc` and container runtimes.
    pub(crate) fn new() -> Processes {
        // A probe in a container finds the host's files at its first process; elsewhere both are the same.
        Processes::at(Procfs::new("/proc".into()), vec!["/proc/1/root".into(), "/".into()])
    }

    fn at(procfs: Procfs, roots: Vec<PathBuf>) -> Processes {
        Processes {
            procfs,
            runtimes: Runtimes::new(roots),
            known: HashMap::new(),
            waiting: VecDeque::new(),
            gone: 0,
            not_told: 0,
        }
    }

    /// Whether processes can be looked at.
    pub(crate) fn feature(&self) -> FeatureStatus {
        let state = if self.procfs.is_the_nodes() {
            FeatureState::On
        } else {
            FeatureState::Off {
                reason: "the probe runs in a PID namespace of its own: start it with hostPID".to_owned(),
                without: "executables and arguments are missing",
            }
        };
        FeatureStatus { name: "process details", state }
    }

    /// Files of container runtimes that could not be read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.runtimes.unreadable
    }

    /// Takes note of who holds a socket.
    pub(crate) fn see(&mut self, sighting: Sighting) {
        let Sighting { owner, time_ns, .. } = sighting;
        if owner.pid == 0 {
            return;
        }
        if let Some(known) = self.known.get(&owner.pid)
            && (known.cgroup_id, known.comm) == (owner.cgroup_id, owner.comm)
            && time_ns.saturating_sub(known.sure_ns) < SURE_NS
        {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.not_told += 1;
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, known| time_ns.saturating_sub(known.sure_ns) < SURE_NS);
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
        }
        let fresh = Known { cgroup_id: 0, comm: [0; 16], sure_ns: 0, told: None };
        let known = self.known.entry(owner.pid).or_insert(fresh);
        if (known.cgroup_id, known.comm) != (owner.cgroup_id, owner.comm) {
            *known = Known { cgroup_id: owner.cgroup_id, comm: owner.comm, ..fresh };
        }
        known.sure_ns = time_ns;
        self.waiting.push_back(sighting);
    }

    /// Looks at some that wait, at the end at all.
    pub(crate) fn look(&mut self, stopping: bool, context: &mut Context<'_>, rows: &mut Vec<ProcessRow>) {
        let count = if stopping { MAX_WAITING } else { PER_TURN };
        for sighting in self.waiting.drain(..count.min(self.waiting.len())).collect::<Vec<_>>() {
            rows.extend(self.look_at(&sighting, context));
        }
    }

    fn look_at(&mut self, sighting: &Sighting, context: &mut Context<'_>) -> Option<ProcessRow> {
        let Sighting { owner, time_ns, .. } = *sighting;
        let stat = self.procfs.stat(owner.pid).filter(|stat| is_theirs(stat, sighting));
        let start_ns = stat.as_ref().map(|stat| stat.start_ns);
        let known = self.known.get_mut(&owner.pid);
        if let Some(known) = known {
            // One that has ended since it was told needs no other row.
            let is_told = known.told.is_some_and(|(told_ns, told_start)| {
                time_ns.saturating_sub(told_ns) < AGAIN_NS && (start_ns.is_none() || told_start == start_ns)
            });
            if is_told {
                return None;
            }
            known.told = Some((time_ns, start_ns));
        }
        let holder = context.identities.holder(&owner);
        let mut row = ProcessRow {
            time: context.clock.utc(time_ns),
            node: Some(context.node.clone()),
            pid: Some(i64::from(owner.pid)),
            process: comm(&owner.comm),
            container: holder.workload.container,
            pod: holder.workload.pod,
            workload: holder.workload.unit,
            netns: (sighting.netns != 0).then_some(i64::from(sighting.netns)),
            ..ProcessRow::default()
        };
        self.fill_program(&mut row, owner.pid, stat, context);
        self.fill_container(&mut row);
        Some(row)
    }

    fn fill_program(&mut self, row: &mut ProcessRow, pid: u32, stat: Option<Stat>, context: &Context<'_>) {
        let Some(stat) = stat else {
            self.gone += 1;
            return;
        };
        let executable = self.procfs.executable(pid);
        let arguments = self.procfs.arguments(pid);
        // What was read in between is another's if the id has come back.
        let is_same = self.procfs.stat(pid).is_some_and(|after| after.start_ns == stat.start_ns);
        row.start_time = Some(context.clock.utc(stat.start_ns));
        if stat.is_kernel {
            return;
        }
        if !is_same || executable == Executable::Gone {
            self.gone += 1;
            return;
        }
        if let Executable::At(path) = executable {
            row.executable = Some(SmolStr::new(path));
        }
        row.command_line = arguments.and_then(|arguments| redact::command_line(&arguments)).map(SmolStr::new);
    }

    fn fill_container(&mut self, row: &mut ProcessRow) {
        let Some(found) = row.container.as_ref().and_then(|id| self.runtimes.container(id)) else { return };
        row.image.clone_from(&found.image);
        row.container_name.clone_from(&found.name);
        row.pod_name.clone_from(&found.pod_name);
        row.namespace.clone_from(&found.namespace);
        if row.pod.is_none() {
            row.pod.clone_from(&found.pod);
        }
    }
}

/// Whether the process that has the id now can be the one that held the socket: an older one is, and a younger one that
/// has its name (a worker that took a connection over).
fn is_theirs(stat: &Stat, sighting: &Sighting) -> bool {
    let is_older = sighting.opened_ns != 0 && stat.start_ns <= sighting.opened_ns + TICK_NS;
    is_older || comm(&sighting.owner.comm).is_some_and(|name| name == stat.comm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::identity::Identities;
    use crate::preflight::CgroupRoot;

    const SECOND: i64 = 1_000_000_000;

    struct Node {
        root: tempfile::TempDir,
        processes: Processes,
        identities: Identities,
    }

    impl Node {
        fn new() -> Node {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join("proc")).unwrap();
            let procfs = Procfs::new(root.path().join("proc"));
            let processes = Processes::at(procfs, vec![root.path().to_owned()]);
            let identities = Identities::new(CgroupRoot::at(root.path()));
            Node { root, processes, identities }
        }

        /// A process that began so many clock ticks after boot.
        fn start(&self, pid: u32, comm: &str, ticks: u64, arguments: &str) {
            let directory = self.root.path().join(format!("proc/{pid}"));
            std::fs::create_dir_all(&directory).unwrap();
            let stat =
                format!("{pid} ({comm}) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {ticks} 1 1 1\n");
            std::fs::write(directory.join("stat"), stat).unwrap();
            std::fs::write(directory.join("cmdline"), arguments).unwrap();
            let _ = std::fs::remove_file(directory.join("exe"));
            std::os::unix::fs::symlink(format!("/usr/bin/{comm}"), directory.join("exe")).unwrap();
        }

        fn end(&self, pid: u32) {
            std::fs::remove_dir_all(self.root.path().join(format!("proc/{pid}"))).unwrap();
        }

        fn see(&mut self, pid: u32, comm: &str, at: i64) {
            let mut owner = Owner { pid, ..Owner::default() };
            owner.comm[..comm.len()].copy_from_slice(comm.as_bytes());
            let opened_ns = (at * SECOND) as u64;
            self.processes.see(Sighting { owner, netns: 7, opened_ns, time_ns: opened_ns });
        }

        fn look(&mut self) -> Vec<ProcessRow> {
            let mut rows = Vec::new();
            let node = SmolStr::new_static("node");
            let context =
                &mut Context { node: &node, clock: Clock::at_epoch(), identities: &mut self.identities };
            self.processes.look(false, context, &mut rows);
            rows
        }
    }

    #[test]
    fn a_process_is_told_once_and_each_hour() {
        let mut node = Node::new();
        node.start(5, "curl", 200, "curl\0--token\0abc\0");
        node.see(5, "curl", 3);
        node.see(5, "curl", 4);
        let rows = node.look();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].executable.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(rows[0].command_line.as_deref(), Some("curl --token ***"));
        assert_eq!(
            (rows[0].start_time, rows[0].netns, rows[0].time),
            (Some(2 * SECOND), Some(7), 3 * SECOND)
        );
        for (at, expected) in [(20, 0), (3000, 0), (3604, 1), (3700, 0)] {
            node.see(5, "curl", at);
            assert_eq!(node.look().len(), expected, "after {at} s");
        }
        assert_eq!(node.processes.gone, 0);
    }

    #[test]
    fn another_process_of_the_same_id_is_another() {
        let mut node = Node::new();
        node.start(5, "curl", 200, "curl\0a\0");
        node.see(5, "curl", 3);
        node.look();
        // The same name, but a later start; then another name at once.
        node.start(5, "curl", 1_500, "curl\0b\0");
        node.see(5, "curl", 16);
        assert_eq!(node.look()[0].command_line.as_deref(), Some("curl b"));
        node.start(5, "wget", 1_600, "wget\0c\0");
        node.see(5, "wget", 17);
        assert_eq!(node.look()[0].command_line.as_deref(), Some("wget c"));
    }

    /// A row that says another's executable is worse than one that says none.
    #[test]
    fn what_is_gone_is_null_and_counted() {
        let mut node = Node::new();
        node.see(5, "curl", 3);
        // Its id came back, as another's.
        node.start(6, "nginx", 900, "nginx\0");
        node.see(6, "curl", 3);
        let rows = node.look();
        assert_eq!(rows.len(), 2);
        for row in rows {
            assert_eq!(row.process.as_deref(), Some("curl"));
            assert_eq!((row.start_time, row.executable, row.command_line), (None, None, None));
        }
        assert_eq!(node.processes.gone, 2);
    }

    #[test]
    fn a_told_process_that_ended_is_not_counted_as_gone() {
        let mut node = Node::new();
        node.start(5, "curl", 200, "curl\0");
        node.see(5, "curl", 3);
        assert_eq!(node.look().len(), 1);
        node.end(5);
        node.see(5, "curl", 20);
        assert_eq!((node.look().len(), node.processes.gone), (0, 0));
    }

    #[test]
    fn a_flood_of_processes_is_bounded_and_counted() {
        let mut node = Node::new();
        for pid in 1..=20_000 {
            node.see(pid, "worker", 3);
        }
        assert_eq!(node.processes.not_told as usize, 20_000 - MAX_WAITING);
        assert_eq!(node.look().len(), PER_TURN);
        assert!(node.processes.known.len() <= MAX_KNOWN);
    }
}
