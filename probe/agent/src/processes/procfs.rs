//! What `/proc` says of a process. All of it races with the process's end: what is gone is `None`.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use smol_str::SmolStr;

use super::redact::MAX_COMMAND_LINE;

/// The kernel tells times in `/proc` in hundredths of a second, whatever its own tick is (`USER_HZ`).
const TICK_NS: u64 = 10_000_000;
/// `PF_KTHREAD`.
const KERNEL_THREAD: u64 = 0x0020_0000;
/// Inode of the node's own PID namespace, the same on all (`PROC_PID_INIT_INO`).
const NODE_PID_NAMESPACE: &str = "pid:[4026531836]";
const MAX_STAT: u64 = 1_024;
const MAX_PATH: usize = 1_024;

/// `/proc`, or what stands for it.
pub(super) struct Procfs {
    root: PathBuf,
    is_the_nodes: bool,
}

/// `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: SmolStr,
    pub(super) is_kernel: bool,
    /// Since boot.
    pub(super) start_ns: u64,
}

/// `/proc/PID/exe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Executable {
    At(String),
    /// We may not look.
    Hidden,
    Gone,
}

impl Procfs {
    pub(super) fn new(root: PathBuf) -> Procfs {
        let own = fs::read_link("/proc/self/ns/pid");
        // Where the link can't be read, ids are taken for what they seem: `is_theirs` still compares names and times.
        let is_the_nodes = own.map_or(true, |link| link.as_os_str() == NODE_PID_NAMESPACE);
        Procfs { root, is_the_nodes }
    }

    /// Whether the ids here are those that the kernel programs tell.
    pub(super) fn is_the_nodes(&self) -> bool {
        self.is_the_nodes
    }

    /// `None` if there is no such process any more, or only its remains.
    pub(super) fn stat(&self, pid: u32) -> Option<Stat> {
        let bytes = self.read(pid, "stat", MAX_STAT)?;
        stat(&String::from_utf8_lossy(&bytes))
    }

    /// The path of its program; [`Executable::Hidden`] of another container's without `CAP_SYS_PTRACE`.
    pub(super) fn executable(&self, pid: u32) -> Executable {
        if !self.is_the_nodes {
            return Executable::Gone;
        }
        match fs::read_link(self.root.join(format!("{pid}/exe"))) {
            Ok(path) => {
                let mut text = path.to_string_lossy().into_owned();
                text.truncate(text.floor_char_boundary(MAX_PATH));
                Executable::At(text)
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Executable::Hidden,
            Err(_) => Executable::Gone,
        }
    }

    /// The arguments, each with a zero behind it, unless there are too many.
    pub(super) fn arguments(&self, pid: u32) -> Option<Vec<u8>> {
        // One more than is shown, so that a cut can be seen.
        self.read(pid, "cmdline", MAX_COMMAND_LINE as u64 + 1)
    }

    fn read(&self, pid: u32, name: &str, most: u64) -> Option<Vec<u8>> {
        if !self.is_the_nodes {
            return None;
        }
        let mut bytes = Vec::new();
        let file = File::open(self.root.join(format!("{pid}/{name}"))).ok()?;
        file.take(most).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// `pid (comm) state ppid pgrp session tty tpgid flags … starttime …`; the name may hold anything, parentheses too.
fn stat(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, comm) = before.split_once('(')?;
    let mut fields = after.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    let flags: u64 = fields.nth(5)?.parse().ok()?;
    let start: u64 = fields.nth(12)?.parse().ok()?;
    Some(Stat {
        comm: SmolStr::new(comm),
        is_kernel: flags & KERNEL_THREAD != 0,
        start_ns: start.saturating_mul(TICK_NS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_parentheses_and_spaces() {
        let line = "7 (a) b (c) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 345 1 1 18446744073709551615\n";
        let expected = Stat { comm: "a) b (c".into(), is_kernel: false, start_ns: 3_450_000_000 };
        assert_eq!(stat(line), Some(expected));
        assert_eq!(stat(&line.replace(") S", ") Z")), None, "a zombie has nothing left to tell");
        assert_eq!(stat("7 (cut"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn our_own_process_is_read() {
        let procfs = Procfs::new("/proc".into());
        let pid = std::process::id();
        let found = procfs.stat(pid).unwrap();
        assert!(found.start_ns > 0 && found.start_ns <= crate::clock::boot_ns() && !found.is_kernel);
        let own = std::env::current_exe().unwrap();
        assert_eq!(procfs.executable(pid), Executable::At(own.to_string_lossy().into_owned()));
        let first = std::env::args().next().unwrap();
        assert!(procfs.arguments(pid).unwrap().starts_with(first.as_bytes()));
    }
}
