//! Which processes are Go's, and where they keep what tells goroutines apart: the program's file says which version of Go
//! made it, and the version says where in `runtime.g` the ids lie. Read through `/proc`, so in every container.
//!
//! Only on x86-64: elsewhere the running goroutine is in a register that the kernel's programs don't see. Never here:
//! symbols or debug info, which production binaries lack (but for programs with C in them, whose linker chose the place).

use std::fs::File;

use hashbrown::{HashMap, HashSet};
use weir_abi::GoLayout;

use crate::census::{self, FileId};
use crate::elf::Elf;

/// Programs whose layout is remembered; forgotten when there are more.
const MAX_FILES: usize = 8_192;

const BUILD_INFO: &str = ".go.buildinfo";
const BUILD_INFO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where the version begins, since Go 1.18.
const BUILD_INFO_HEADER: usize = 32;
const FLAG_INLINE: u8 = 2;

/// What changed since the last look.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A process of Go's, and its layout.
    Began(u32, GoLayout),
    /// It is gone.
    Ended(u32),
}

/// The processes that are Go's.
#[derive(Default)]
pub(crate) struct GoPrograms {
    processes: HashSet<u32>,
    files: HashMap<FileId, Option<GoLayout>>,
}

impl GoPrograms {
    /// What changes of the processes mean here.
    pub(crate) fn follow(&mut self, changes: &[census::Change]) -> Vec<Change> {
        changes
            .iter()
            .filter_map(|change| match *change {
                census::Change::Began(pid, file) => self.began(pid, file),
                census::Change::Ended(pid) => self.processes.remove(&pid).then_some(Change::Ended(pid)),
            })
            .collect()
    }

    fn began(&mut self, pid: u32, file: FileId) -> Option<Change> {
        if file == census::UNSEEN {
            return None;
        }
        if self.files.len() > MAX_FILES {
            self.files.clear();
        }
        let path = format!("/proc/{pid}/exe");
        let layout =
            *self.files.entry(file).or_insert_with(|| File::open(path).ok().and_then(|file| of_file(&file)));
        let layout = layout?;
        self.processes.insert(pid);
        Some(Change::Began(pid, layout))
    }
}

/// The layout of a program; `None` if it isn't Go's, or of a version or machine that we don't know.
fn of_file(file: &File) -> Option<GoLayout> {
    layout(&Elf::read(file)?)
}

/// As above.
pub(crate) fn layout(elf: &Elf<'_>) -> Option<GoLayout> {
    let info = elf.section(BUILD_INFO)?;
    let head = elf.bytes(info.offset, info.length.min(128))?;
    let (goid, parent) = offsets(&version(&head)?)?;
    Some(GoLayout { g: goroutine_pointer(elf)?, goid, parent, _pad: 0 })
}

/// Where, from the thread's own storage, the pointer to the running goroutine is kept: right below, as Go's own linker
/// has it; elsewhere if C's linker put other thread-local variables there, and then a symbol says where.
fn goroutine_pointer(elf: &Elf<'_>) -> Option<i32> {
    let Some((size, align)) = elf.thread_storage() else { return Some(-8) };
    if size <= 8 {
        return Some(-8);
    }
    let storage = size.checked_next_multiple_of(align.max(1))?;
    let at = elf.thread_local("runtime.tlsg")?;
    i32::try_from(i64::try_from(at).ok()? - i64::try_from(storage).ok()?).ok()
}

/// The version in the build information, such as `go1.26.8`.
fn version(info: &[u8]) -> Option<String> {
    let is_inline = info.get(15)? & FLAG_INLINE != 0;
    if !info.starts_with(BUILD_INFO_MAGIC) || !is_inline {
        return None;
    }
    // A length below 128 is one byte.
    let len = usize::from(*info.get(BUILD_INFO_HEADER)?);
    let text = info.get(BUILD_INFO_HEADER + 1..)?.get(..len)?;
    String::from_utf8(text.to_vec()).ok()
}

/// Offsets of `goid` and `parentGoid` in `runtime.g` on 64-bit machines, from each version's own debug info. A version
/// that is newer than we know is left alone: a wrong id would link what doesn't belong together.
fn offsets(version: &str) -> Option<(u32, u32)> {
    let minor = version.strip_prefix("go1.")?;
    let digits = minor.bytes().take_while(u8::is_ascii_digit).count();
    match minor.get(..digits)?.parse::<u32>().ok()? {
        18..=20 => Some((152, 0)),
        21 | 22 | 25 => Some((152, 272)),
        23 | 24 => Some((160, 280)),
        26 => Some((152, 280)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_that_we_know_have_a_layout() {
        assert_eq!(offsets("go1.26.8"), Some((152, 280)));
        assert_eq!(offsets("go1.24rc1"), Some((160, 280)));
        assert_eq!(offsets("go1.19"), Some((152, 0)));
        for unknown in ["go1.17", "go1.27", "go2.0", "devel +abc", "", "go1."] {
            assert_eq!(offsets(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_version_is_read_only_where_it_is_inline() {
        let mut info = BUILD_INFO_MAGIC.to_vec();
        info.extend([8, FLAG_INLINE]);
        info.resize(BUILD_INFO_HEADER, 0);
        info.extend([8]);
        info.extend(b"go1.26.8");
        assert_eq!(version(&info).as_deref(), Some("go1.26.8"));
        for len in 0..info.len() {
            assert_eq!(version(&info[..len]), None, "{len}");
        }
        info[15] = 0;
        assert_eq!(version(&info), None);
    }

    #[test]
    fn what_is_no_program_of_go_s_has_no_layout() {
        use std::io::Write as _;
        let own = std::env::current_exe().expect("we run");
        assert_eq!(of_file(&File::open(own).expect("it is readable")), None);
        let mut cut = tempfile::tempfile().expect("a file");
        cut.write_all(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0").expect("written");
        assert_eq!(of_file(&cut), None);
    }
}
