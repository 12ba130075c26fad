//! What the allocator keeps of what was given back to it.
//!
//! A process that keeps within a limit can't leave to its allocator a second's worth of what passes through, nor pages of two
//! megabytes for the sake of small parts of them. mimalloc reads that from its environment before `main`: so the program is
//! run again, as the same process, with these words in it. Who sets one of them decides all by himself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// From this limit on, what is given back may lie for a moment: a question takes and gives back gigabytes a second, and
/// the kernel would clear each page of it once more. `docs/questions.md` has what that costs.
const ROOMY: usize = 512 << 20;
const DELAY: &str = "MIMALLOC_PURGE_DELAY";
const HUGE_PAGES: &str = "MIMALLOC_ALLOW_THP";

/// Has the allocator give back what it doesn't need, at once or after a tenth of a second, whichever a process of
/// `memory_limit` bytes can have. Where that can't be, memory is kept for longer, and that is all.
pub(crate) fn give_back(memory_limit: usize) {
    if [DELAY, HUGE_PAGES].iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let delay_ms = if memory_limit < ROOMY { "0" } else { "100" };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("weir"));
    // By its open file: also where the one of that name is another by now.
    let error = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env(DELAY, delay_ms)
        .env(HUGE_PAGES, "0")
        .exec();
    tracing::debug!(%error, "the allocator keeps its usual settings");
}
