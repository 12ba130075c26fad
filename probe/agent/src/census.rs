//! Which processes there are, and which file each runs: who began, who ended, who became another program.
//!
//! Nothing tells us when a process begins (a program on each `exec` would cost every one of them): `/proc` is looked
//! through now and then, and those known already cost a `stat`. One that begins and ends in between is never seen.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use hashbrown::HashMap;

/// A file's device and inode.
pub(crate) type FileId = (u64, u64);

/// Of a process that we may not look at (`CAP_SYS_PTRACE`).
pub(crate) const UNSEEN: FileId = (0, 0);

/// What changed since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A process, and the file that it runs.
    Began(u32, FileId),
    /// It is gone, or runs another file: then it begins again.
    Ended(u32),
}

/// The processes that were there at the last look.
#[derive(Default)]
pub(crate) struct Census {
    processes: HashMap<u32, (FileId, u64)>,
    round: u64,
}

impl Census {
    /// Looks at all processes.
    pub(crate) fn look_around(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.round += 1;
        let Ok(entries) = fs::read_dir("/proc") else { return changes };
        for entry in entries.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = pid else { continue };
            let file = match fs::metadata(format!("/proc/{pid}/exe")) {
                Ok(metadata) => (metadata.dev(), metadata.ino()),
                Err(error) if error.kind() == ErrorKind::PermissionDenied && self.is_process(pid) => UNSEEN,
                // A kernel thread has no executable; a process may be gone.
                Err(_) => continue,
            };
            self.is_there(pid, file, &mut changes);
        }
        let round = self.round;
        self.processes.retain(|pid, (_, seen)| {
            if *seen != round {
                changes.push(Change::Ended(*pid));
            }
            *seen == round
        });
        changes
    }

    /// Whether one that we may not look at is no kernel thread: those have no arguments.
    fn is_process(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
            || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    }

    fn is_there(&mut self, pid: u32, file: FileId, changes: &mut Vec<Change>) {
        let before = self.processes.insert(pid, (file, self.round));
        if before.is_some_and(|(before, _)| before == file) {
            return;
        }
        if before.is_some() {
            changes.push(Change::Ended(pid));
        }
        changes.push(Change::Began(pid, file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_begins_once_and_again_with_another_file() {
        let mut census = Census { round: 1, ..Census::default() };
        let mut changes = Vec::new();
        for file in [(1, 2), (1, 2), (1, 3)] {
            census.is_there(7, file, &mut changes);
        }
        assert_eq!(changes, [Change::Began(7, (1, 2)), Change::Ended(7), Change::Began(7, (1, 3))]);
    }

    #[test]
    fn we_are_among_them_and_end_with_a_look_that_lacks_us() {
        let mut census = Census::default();
        let own = std::process::id();
        let began = |changes: &[Change]| {
            changes.iter().any(|change| matches!(change, Change::Began(pid, _) if *pid == own))
        };
        assert!(began(&census.look_around()));
        assert!(!began(&census.look_around()));
        // No process has this id.
        census.processes.insert(u32::MAX, ((0, 0), census.round));
        assert!(census.look_around().contains(&Change::Ended(u32::MAX)));
    }
}
