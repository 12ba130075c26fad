//! Which function of the kernel an address lies in, by `/proc/kallsyms`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};

use hashbrown::HashMap;
use smol_str::SmolStr;
use tracing::warn;

const SYMBOLS: &str = "/proc/kallsyms";

/// Names of addresses, looked up once each. The kernel shows addresses to whoever opened the file with the right to see
/// them, so it's opened once, at the start.
pub(crate) struct Locations {
    symbols: Option<BufReader<File>>,
    known: HashMap<u64, Option<SmolStr>>,
}

impl Locations {
    /// Opens the kernel's list.
    pub(crate) fn open() -> Locations {
        let symbols = File::open(SYMBOLS).map(BufReader::new);
        if let Err(error) = &symbols {
            warn!(%error, "{SYMBOLS} can't be read: dropped packets have no location");
        }
        Locations { symbols: symbols.ok(), known: HashMap::new() }
    }

    /// Looks up what is not known yet: one pass over the list (some 50 ms) for all of them.
    pub(crate) fn learn(&mut self, addresses: impl Iterator<Item = u64>) {
        let mut unknown: Vec<u64> = addresses.filter(|address| !self.known.contains_key(address)).collect();
        if unknown.is_empty() {
            return;
        }
        unknown.sort_unstable();
        unknown.dedup();
        let names = match &mut self.symbols {
            Some(symbols) => symbols.rewind().and_then(|()| names(symbols, &unknown)),
            None => Ok(vec![None; unknown.len()]),
        };
        let names = names.unwrap_or_else(|error| {
            warn!(%error, "{SYMBOLS} can't be read");
            vec![None; unknown.len()]
        });
        self.known.extend(unknown.into_iter().zip(names));
    }

    /// The function, if it is known.
    pub(crate) fn name(&self, address: u64) -> Option<SmolStr> {
        self.known.get(&address).cloned().flatten()
    }
}

/// The last symbol at or before each of the addresses, which are sorted. The list isn't.
fn names(symbols: &mut impl BufRead, addresses: &[u64]) -> io::Result<Vec<Option<SmolStr>>> {
    // Where the list is in order, each symbol is the best so far for all addresses behind it: no text is made for each.
    let mut best: Vec<(u64, String)> = vec![(0, String::new()); addresses.len()];
    let mut line = String::new();
    while symbols.read_line(&mut line)? > 0 {
        if let Some((start, name)) = symbol(&line) {
            // All addresses behind it whose best is before it.
            let from = addresses.partition_point(|address| *address < start);
            for (_, best) in addresses.iter().zip(&mut best).skip(from) {
                if best.0 < start {
                    best.0 = start;
                    best.1.clear();
                    best.1.push_str(name);
                }
            }
        }
        line.clear();
    }
    Ok(best.into_iter().map(|(start, name)| (start > 0).then(|| SmolStr::from(name))).collect())
}

/// `ffffffff81000000 T name [module]`: address and name, without what the compiler appends to parts of a function.
fn symbol(line: &str) -> Option<(u64, &str)> {
    let mut parts = line.split_ascii_whitespace();
    let start = u64::from_str_radix(parts.next()?, 16).ok().filter(|start| *start != 0)?;
    let kind = parts.next()?;
    if !kind.eq_ignore_ascii_case("t") && !kind.eq_ignore_ascii_case("w") {
        return None;
    }
    let name = parts.next()?;
    Some((start, name.split('.').next().unwrap_or(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_the_last_function_that_begins_before_it() {
        let list = "0000000000000100 T first\n0000000000000300 t third.isra.0\n0000000000000200 T second\t[module]\n\
                    0000000000000250 D data\n0000000000000000 T hidden\nbroken\n";
        let found = names(&mut list.as_bytes(), &[0x50, 0x100, 0x2ff, 0x900]).expect("reads");
        let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, [None, Some("first"), Some("second"), Some("third")]);
    }

    #[test]
    fn where_the_kernel_hides_addresses_there_are_no_names() {
        let list = "0000000000000000 T first\n0000000000000000 T second\n";
        assert_eq!(names(&mut list.as_bytes(), &[7]).expect("reads"), [None]);
    }
}
