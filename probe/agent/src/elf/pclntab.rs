//! Go's table of functions (`.gopclntab`): the runtime needs it, so programs without symbols have it too.
//!
//! Since Go 1.18 it is a header, names, and for each function its place in the program and in the names. Since 1.26 the
//! header no longer says where the program's text begins: the runtime's module data does, or the section does.

use std::fs::File;

use hashbrown::HashMap;

use super::{Elf, MAX_TABLE, PIECE, Section, long, places, read, word};
use crate::elf::Name;

/// `abi.Go118PCLnTabMagic` and `abi.Go120PCLnTabMagic`.
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
const HEADER: u64 = 72;
/// `runtime.moduledata.text`.
const MODULE_TEXT: u64 = 176;
/// How functions begin that look at their stack's bound first (`cmp rsp, [r14+16]`, `lea r12, [rsp-…]`): all but the
/// smallest.
const BEGINNINGS: [&[u8]; 3] =
    [&[0x49, 0x3b, 0x66, 0x10], &[0x4c, 0x8d, 0x64, 0x24], &[0x4c, 0x8d, 0xa4, 0x24]];

/// Addresses of the functions with these names, by their index. Only what begins as Go's functions do: a place that
/// is wrong by a byte would break the program.
pub(crate) fn functions(elf: &Elf<'_>, names: &[Name]) -> Vec<(usize, u64)> {
    find(elf, names).unwrap_or_default()
}

fn find(elf: &Elf<'_>, names: &[Name]) -> Option<Vec<(usize, u64)>> {
    let table = elf.section(".gopclntab")?;
    let header = read(elf.file, table.offset, HEADER)?;
    // Instructions of one byte, pointers of eight.
    if !MAGICS.contains(&word(&header, 0)?) || header[6..8] != [1, 8] || table.length > MAX_TABLE {
        return None;
    }
    let (count, text) = (long(&header, 8)?, long(&header, 24)?);
    let (texts, units) = (long(&header, 32)?, long(&header, 40)?);
    let functions = long(&header, 64)?;
    let part = |from: u64, to: u64| {
        let length = to.checked_sub(from).filter(|_| to <= table.length)?;
        Some(Section { address: 0, offset: table.offset.checked_add(from)?, length })
    };
    let places = places(elf.file, part(texts, units)?, names)?;
    let text = text_begin(elf, text)?;
    let starts = starts(elf.file, part(functions, table.length)?, count, &places)?;
    let is_function = |address: u64| {
        let beginning = elf.offset_of(address).and_then(|offset| read(elf.file, offset, 4));
        beginning.is_some_and(|bytes| BEGINNINGS.contains(&&bytes[..]))
    };
    let addresses = starts.into_iter().map(|(which, start)| (which, text.wrapping_add(start)));
    Some(addresses.filter(|(_, address)| is_function(*address)).collect())
}

fn text_begin(elf: &Elf<'_>, told: u64) -> Option<u64> {
    if told != 0 {
        return Some(told);
    }
    let module = elf.section(".go.module").and_then(|module| {
        let bytes = read(elf.file, module.offset.checked_add(MODULE_TEXT)?, 8)?;
        // In a program that can lie anywhere the loader fills it in.
        long(&bytes, 0).filter(|text| *text != 0)
    });
    module.or_else(|| Some(elf.section(".text")?.address))
}

/// Where the functions whose names lie at `places` begin, from the text's beginning. Functions and what is told of them
/// are in the same order, so both are read forward.
fn starts(
    file: &File,
    table: Section,
    count: u64,
    places: &HashMap<u64, usize>,
) -> Option<Vec<(usize, u64)>> {
    let mut found = Vec::new();
    if places.is_empty() {
        return Some(found);
    }
    let (mut index, mut told) = (Forward::new(file, table), Forward::new(file, table));
    for number in 0..count.min(table.length / 8) {
        let entry = index.bytes(number * 8)?;
        let (start, at) = (word(&entry, 0)?, word(&entry, 4)?);
        // `runtime._func`: its start again, then its name's place.
        let function = told.bytes(u64::from(at))?;
        if let Some(which) = places.get(&u64::from(word(&function, 4)?))
            && word(&function, 0)? == start
        {
            found.push((*which, u64::from(start)));
        }
    }
    Some(found)
}

/// A table read forward, a piece at a time.
struct Forward<'a> {
    file: &'a File,
    table: Section,
    at: u64,
    piece: Vec<u8>,
}

impl<'a> Forward<'a> {
    fn new(file: &'a File, table: Section) -> Forward<'a> {
        Forward { file, table, at: 0, piece: Vec::new() }
    }

    /// Eight bytes; `None` for going back.
    fn bytes(&mut self, at: u64) -> Option<[u8; 8]> {
        if at + 8 > self.at + self.piece.len() as u64 {
            let len = PIECE.min(self.table.length.checked_sub(at)?);
            self.piece = read(self.file, self.table.offset.checked_add(at)?, len)?;
            self.at = at;
        }
        let begin = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.piece.get(begin..begin + 8)?.try_into().ok()
    }
}
