//! What the allocator keeps of what was given back to it.
//!
//! A process that keeps within a limit can't leave to its allocator a second's worth of what passes through, nor pages of two
//! megabytes for the sake of small parts of them. mimalloc reads that from its environment before `main`: so the program is
//! run again, as the same process, with these words in it. Who sets one of them decides all by himself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Given back at once; no huge pages.
const SETTINGS: [(&str, &str); 2] = [("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_ALLOW_THP", "0")];

/// Has the allocator give back what it doesn't need. Where that can't be, memory is kept for longer, and that is all.
pub(crate) fn give_back() {
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("weir"));
    // By its open file: also where the one of that name is another by now.
    let error = Command::new("/proc/self/exe").arg0(name).args(arguments).envs(SETTINGS).exec();
    tracing::debug!(%error, "the allocator keeps its usual settings");
}
