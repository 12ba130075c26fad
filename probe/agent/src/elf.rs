//! What is needed of a 64-bit ELF file: sections, segments, and where functions lie that are known by name.
//!
//! | file         | subject                                                              |
//! |--------------|----------------------------------------------------------------------|
//! | `pclntab.rs` | functions of Go's programs, by the table that their runtime needs itself |
//!
//! The files are other people's, some are hundreds of megabytes: tables are read in pieces, nothing is believed, and
//! what is not as it should be is not found.

pub(crate) mod pclntab;

use std::fs::File;
use std::os::unix::fs::FileExt;

use hashbrown::HashMap;
use memchr::memmem::Finder;

/// Sections of a file that are looked at; more is no program.
const MAX_SECTIONS: u64 = 1_024;
/// Largest table that is searched.
const MAX_TABLE: u64 = 256 << 20;
/// Bytes of a table in memory at once.
const PIECE: u64 = 1 << 20;
/// Longer names are not looked for.
const MAX_NAME: u64 = 256;

const SECTION: usize = 64;
const SEGMENT: usize = 56;
const SYMBOL: usize = 24;
const X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_TLS: u32 = 7;
const STT_FUNC: u8 = 2;
const STT_TLS: u8 = 6;

/// A section of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Where it lies in memory.
    pub(crate) address: u64,
    /// Where it lies in the file.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) length: u64,
}

/// A function's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// All of it.
    Whole(&'static str),
    /// How it begins: what follows differs from build to build.
    Beginning(&'static str),
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Whole(text) | Name::Beginning(text) => text,
        }
    }
}

/// An ELF file of this machine's kind.
pub(crate) struct Elf<'a> {
    file: &'a File,
    entry: u64,
    sections: Vec<u8>,
    names: Vec<u8>,
    segments: Vec<u8>,
}

impl<'a> Elf<'a> {
    /// `None` if it is none for x86-64.
    pub(crate) fn read(file: &'a File) -> Option<Elf<'a>> {
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
        Some(Elf { file, entry: long(&header, 24)?, sections, names, segments })
    }

    /// A section by its name.
    pub(crate) fn section(&self, name: &str) -> Option<Section> {
        let found = self.sections.chunks_exact(SECTION).find(|section| {
            let at = word(section, 0).unwrap_or(u32::MAX) as usize;
            let rest = self.names.get(at..).unwrap_or_default();
            rest.starts_with(name.as_bytes()) && rest.get(name.len()) == Some(&0)
        })?;
        Some(Section { address: long(found, 16)?, offset: long(found, 24)?, length: long(found, 32)? })
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self, at: u64, len: u64) -> Option<Vec<u8>> {
        read(self.file, at, len)
    }

    /// Where in the file lies what runs first.
    pub(crate) fn entry(&self) -> Option<u64> {
        self.offset_of(self.entry)
    }

    /// Size and alignment of the thread-local storage, if there is any.
    pub(crate) fn thread_storage(&self) -> Option<(u64, u64)> {
        let mut segments = self.segments.chunks_exact(SEGMENT);
        let found = segments.find(|segment| word(segment, 0) == Some(PT_TLS))?;
        Some((long(found, 40)?, long(found, 48)?))
    }

    /// Where in the file lies what will be at `address` in memory.
    pub(crate) fn offset_of(&self, address: u64) -> Option<u64> {
        self.segments.chunks_exact(SEGMENT).filter(|segment| word(segment, 0) == Some(PT_LOAD)).find_map(
            |segment| {
                let within = address.checked_sub(long(segment, 16)?)?;
                if within >= long(segment, 32)? { None } else { long(segment, 8)?.checked_add(within) }
            },
        )
    }

    /// The value of a thread-local variable's symbol.
    pub(crate) fn thread_local(&self, name: &'static str) -> Option<u64> {
        Some(self.symbols(".symtab", ".strtab", &[Name::Whole(name)], STT_TLS)?.pop()?.1)
    }

    /// Addresses of the functions with these names, by their index: those that the file shows to others, or all that it
    /// still names. Of several that begin alike, each.
    pub(crate) fn functions(&self, names: &[Name]) -> Vec<(usize, u64)> {
        let mut found = self.symbols(".dynsym", ".dynstr", names, STT_FUNC).unwrap_or_default();
        found.extend(self.symbols(".symtab", ".strtab", names, STT_FUNC).unwrap_or_default());
        found.sort_unstable();
        found.dedup();
        found
    }

    fn symbols(&self, symbols: &str, texts: &str, names: &[Name], kind: u8) -> Option<Vec<(usize, u64)>> {
        let (symbols, texts) = (self.section(symbols)?, self.section(texts)?);
        let places = places(self.file, texts, names)?;
        let mut found = Vec::new();
        if places.is_empty() {
            return Some(found);
        }
        in_pieces(self.file, symbols, 0, |_, piece| {
            for symbol in piece.chunks_exact(SYMBOL) {
                // Defined here, and not only used.
                let is_it = symbol[4] & 15 == kind && half(symbol, 6) != Some(0);
                let name = word(symbol, 0).filter(|_| is_it).and_then(|at| places.get(&u64::from(at)));
                if let (Some(which), Some(value)) = (name, long(symbol, 8)) {
                    found.push((*which, value));
                }
            }
        })?;
        Some(found)
    }
}

/// Where in a table of names these begin, each with its index. A table may have a name as the end of a longer one.
fn places(file: &File, table: Section, names: &[Name]) -> Option<HashMap<u64, usize>> {
    let needles: Vec<Vec<u8>> = names
        .iter()
        .map(|name| match name {
            Name::Whole(text) => [text.as_bytes(), b"\0"].concat(),
            Name::Beginning(text) => text.as_bytes().to_vec(),
        })
        .collect();
    debug_assert!(names.iter().all(|name| (name.text().len() as u64) < MAX_NAME));
    let finders: Vec<Finder<'_>> = needles.iter().map(Finder::new).collect();
    let mut places = HashMap::new();
    in_pieces(file, table, MAX_NAME, |at, piece| {
        for (index, finder) in finders.iter().enumerate() {
            places.extend(finder.find_iter(piece).map(|place| (at + place as u64, index)));
        }
    })?;
    Some(places)
}

/// Shows a table piece by piece, each with its place; a piece begins `overlap` bytes before the last one's end.
fn in_pieces(file: &File, table: Section, overlap: u64, mut look: impl FnMut(u64, &[u8])) -> Option<()> {
    if table.length > MAX_TABLE {
        return None;
    }
    // Whole symbols.
    let step = PIECE / SYMBOL as u64 * SYMBOL as u64;
    let mut at = 0;
    while at < table.length {
        let len = (step + overlap).min(table.length - at);
        look(at, &read(file, table.offset.checked_add(at)?, len)?);
        at += step;
    }
    Some(())
}

/// Bytes of the file; `None` if it has not so many.
fn read(file: &File, at: u64, len: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len.min(MAX_TABLE)).ok()?];
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
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_table_of_names_is_searched_across_its_pieces() {
        let mut file = tempfile::tempfile().unwrap();
        let step = (PIECE / SYMBOL as u64 * SYMBOL as u64) as usize;
        let mut text = vec![b'x'; 3 * step];
        let name = b"d2i_X509\0";
        let begins = [0, step - 4, 2 * step - 1, text.len() - name.len()];
        for begin in begins {
            text[begin..begin + name.len()].copy_from_slice(name);
        }
        file.write_all(&text).unwrap();
        let table = Section { address: 0, offset: 0, length: text.len() as u64 };
        let found = places(&file, table, &[Name::Whole("d2i_X509"), Name::Beginning("d2i_X")]).unwrap();
        let mut places: Vec<u64> = found.into_keys().collect();
        places.sort_unstable();
        assert_eq!(places, begins.map(|begin| begin as u64));
    }

    #[test]
    fn our_own_functions_lie_where_the_file_says() {
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::read(&own).unwrap();
        let found = elf.functions(&[Name::Whole("main"), Name::Whole("no_such_function")]);
        let [(0, main)] = found[..] else { panic!("{found:?}") };
        let text = elf.section(".text").unwrap();
        assert_eq!(elf.offset_of(main), Some(main - text.address + text.offset));
        assert_eq!(elf.offset_of(u64::MAX), None);
    }

    /// Every prefix of a program, and noise in each of its tables' fields: found or not, never a panic.
    #[test]
    fn what_is_cut_or_broken_is_not_found() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for len in (0..64).chain([65, 1_000, 4_096, whole.len() / 2]) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&whole[..len]).unwrap();
            assert!(Elf::read(&file).is_none(), "{len}");
        }
        for at in (24..64).step_by(2) {
            let mut broken = whole[..whole.len().min(1 << 20)].to_vec();
            broken.extend_from_slice(&whole[broken.len()..]);
            broken[at] = 0xff;
            broken[at + 1] = 0xff;
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&broken).unwrap();
            if let Some(elf) = Elf::read(&file) {
                let _ = (elf.functions(&[Name::Whole("main")]), elf.section(".text"), elf.offset_of(1));
            }
        }
    }
}
