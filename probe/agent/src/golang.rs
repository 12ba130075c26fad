//! Which processes are Go's, and where they keep what tells goroutines apart: the program's file says which version of Go
//! made it, and the version says where in `runtime.g` the ids lie. Read through `/proc`, so in every container.
//!
//! Only on x86-64: elsewhere the running goroutine is in a register that the kernel's programs don't see. Never here:
//! symbols or debug info, which production binaries lack (but for programs with C in them, whose linker chose the place).

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use hashbrown::HashMap;
use weir_abi::GoLayout;

/// Sections of a file that are looked at; more is no program of Go's.
const MAX_SECTIONS: u64 = 1_024;
/// Largest symbol table that is searched.
const MAX_SYMBOLS: u64 = 64 << 20;
/// Programs whose layout is remembered; forgotten when there are more.
const MAX_FILES: usize = 8_192;

const PT_TLS: u32 = 7;
const BUILD_INFO: &[u8] = b".go.buildinfo";
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

/// The processes that were looked at.
#[derive(Default)]
pub(crate) struct GoPrograms {
    /// By process: whether it is Go's, and by which file.
    processes: HashMap<u32, Known>,
    /// By device and inode.
    files: HashMap<(u64, u64), Option<GoLayout>>,
    round: u64,
}

struct Known {
    file: (u64, u64),
    is_go: bool,
    round: u64,
}

impl GoPrograms {
    /// Looks at all processes; those known already cost a `stat`.
    pub(crate) fn look_around(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.round += 1;
        let Ok(entries) = fs::read_dir("/proc") else { return changes };
        for entry in entries.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(pid) = pid {
                self.look_at(pid, &mut changes);
            }
        }
        let round = self.round;
        self.processes.retain(|pid, known| {
            let is_there = known.round == round;
            if !is_there && known.is_go {
                changes.push(Change::Ended(*pid));
            }
            is_there
        });
        changes
    }

    fn look_at(&mut self, pid: u32, changes: &mut Vec<Change>) {
        let path = format!("/proc/{pid}/exe");
        // A kernel thread has none; a process may be gone.
        let Ok(metadata) = fs::metadata(&path) else { return };
        let file = (metadata.dev(), metadata.ino());
        let before = self.processes.get_mut(&pid).map(|known| {
            known.round = self.round;
            (known.file, known.is_go)
        });
        if before.is_some_and(|(known, _)| known == file) {
            return;
        }
        if self.files.len() > MAX_FILES {
            self.files.clear();
        }
        let layout =
            *self.files.entry(file).or_insert_with(|| File::open(&path).ok().and_then(|file| of_file(&file)));
        self.processes.insert(pid, Known { file, is_go: layout.is_some(), round: self.round });
        match layout {
            Some(layout) => changes.push(Change::Began(pid, layout)),
            None if before.is_some_and(|(_, was_go)| was_go) => changes.push(Change::Ended(pid)),
            None => {}
        }
    }
}

/// The layout of a program; `None` if it isn't Go's, or of a version or machine that we don't know.
fn of_file(file: &File) -> Option<GoLayout> {
    let elf = Elf::read(file)?;
    let (at, len) = elf.section(BUILD_INFO)?;
    let head = read(file, at, len.min(128))?;
    let (goid, parent) = offsets(&version(&head)?)?;
    Some(GoLayout { g: elf.goroutine_pointer()?, goid, parent, _pad: 0 })
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

/// What is needed of a 64-bit ELF file.
struct Elf<'a> {
    file: &'a File,
    sections: Vec<u8>,
    names: Vec<u8>,
    segments: Vec<u8>,
}

const SECTION: usize = 64;
const SEGMENT: usize = 56;

impl<'a> Elf<'a> {
    fn read(file: &'a File) -> Option<Elf<'a>> {
        const X86_64: u16 = 62;
        let header = read(file, 0, 64)?;
        // 64-bit, little-endian.
        if !header.starts_with(b"\x7fELF\x02\x01") || half(&header, 18)? != X86_64 {
            return None;
        }
        let (segments, sections) = (long(&header, 32)?, long(&header, 40)?);
        let (segment_count, section_count) = (half(&header, 56)?, half(&header, 60)?);
        if u64::from(section_count) > MAX_SECTIONS {
            return None;
        }
        let sections = read(file, sections, u64::from(section_count) * SECTION as u64)?;
        let segments = read(file, segments, u64::from(segment_count) * SEGMENT as u64)?;
        let names = sections.get(usize::from(half(&header, 62)?) * SECTION..)?;
        let names = read(file, long(names, 24)?, long(names, 32)?.min(1 << 16))?;
        Some(Elf { file, sections, names, segments })
    }

    /// Where a section lies in the file: `(offset, length)`.
    fn section(&self, name: &[u8]) -> Option<(u64, u64)> {
        let found = self.sections.chunks_exact(SECTION).find(|section| {
            let at = word(section, 0).unwrap_or(u32::MAX) as usize;
            let rest = self.names.get(at..).unwrap_or_default();
            rest.starts_with(name) && rest.get(name.len()) == Some(&0)
        })?;
        Some((long(found, 24)?, long(found, 32)?))
    }

    /// Where, from the thread's own storage, the pointer to the running goroutine is kept: right below, as Go's own
    /// linker has it; elsewhere if C's linker put other thread-local variables there, and then a symbol says where.
    fn goroutine_pointer(&self) -> Option<i32> {
        let segment = self.segments.chunks_exact(SEGMENT).find(|segment| word(segment, 0) == Some(PT_TLS));
        let Some(segment) = segment else { return Some(-8) };
        let (size, align) = (long(segment, 40)?, long(segment, 48)?.max(1));
        if size <= 8 {
            return Some(-8);
        }
        let storage = size.checked_next_multiple_of(align)?;
        i32::try_from(i64::try_from(self.symbol(b"runtime.tlsg")?).ok()? - i64::try_from(storage).ok()?).ok()
    }

    /// A symbol's value.
    fn symbol(&self, name: &[u8]) -> Option<u64> {
        const SYMBOL: usize = 24;
        let (symbols, names) = (self.section(b".symtab")?, self.section(b".strtab")?);
        if symbols.1 > MAX_SYMBOLS || names.1 > MAX_SYMBOLS {
            return None;
        }
        let (symbols, names) = (read(self.file, symbols.0, symbols.1)?, read(self.file, names.0, names.1)?);
        let found = symbols.chunks_exact(SYMBOL).find(|symbol| {
            let at = word(symbol, 0).unwrap_or(u32::MAX) as usize;
            let rest = names.get(at..).unwrap_or_default();
            rest.starts_with(name) && rest.get(name.len()) == Some(&0)
        })?;
        long(found, 8)
    }
}

fn read(file: &File, at: u64, len: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len.min(MAX_SYMBOLS)).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
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
