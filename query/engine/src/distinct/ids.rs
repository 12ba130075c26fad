//! A set of small numbers that grows with what is in it: a few side by side, then a table, then a bit for each.

use hashbrown::HashSet;

/// As many as fit into what a table takes before it holds anything.
const FEW: usize = 7;
/// A number in a table takes some nine bytes; a bit for each of all numbers is smaller once there are this few for each.
const WORTH_BITS: usize = 64;

/// Numbers, each once.
#[derive(Debug)]
pub(super) enum Ids {
    /// So many of them, in no order.
    Few(u8, [u32; FEW]),
    Many(HashSet<u32>),
    /// A bit for each, and how many are set.
    Bits(Vec<u64>, usize),
}

impl Default for Ids {
    fn default() -> Ids {
        Ids::Few(0, [0; FEW])
    }
}

impl Ids {
    /// Puts a number in; `all` are the numbers that there are so far, from 0.
    pub(super) fn insert(&mut self, id: u32, all: usize) {
        match self {
            Ids::Few(len, ids) => {
                let used = usize::from(*len);
                if ids[..used].contains(&id) {
                    return;
                }
                if used < FEW {
                    ids[used] = id;
                    *len += 1;
                    return;
                }
                let mut many: HashSet<u32> = HashSet::with_capacity(2 * FEW);
                many.extend(ids.iter().copied());
                many.insert(id);
                *self = Ids::Many(many);
            }
            Ids::Many(ids) => {
                if ids.insert(id) && ids.len() == ids.capacity() && all <= WORTH_BITS * ids.len() {
                    // It would grow with the next one.
                    let mut bits = Ids::Bits(vec![0; all.div_ceil(64)], 0);
                    ids.iter().for_each(|id| bits.insert(*id, all));
                    *self = bits;
                }
            }
            Ids::Bits(words, count) => {
                let (word, bit) = (id as usize / 64, 1 << (id % 64));
                if word >= words.len() {
                    words.resize(all.div_ceil(64).max(word + 1), 0);
                }
                *count += usize::from(words[word] & bit == 0);
                words[word] |= bit;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Ids::Few(len, _) => usize::from(*len),
            Ids::Many(ids) => ids.len(),
            Ids::Bits(_, count) => *count,
        }
    }

    /// All of them, in no order.
    pub(super) fn for_each(&self, mut each: impl FnMut(u32)) {
        match self {
            Ids::Few(len, ids) => ids[..usize::from(*len)].iter().copied().for_each(each),
            Ids::Many(ids) => ids.iter().copied().for_each(each),
            Ids::Bits(words, _) => {
                for (place, word) in words.iter().enumerate() {
                    let mut left = *word;
                    while left != 0 {
                        each(place as u32 * 64 + left.trailing_zeros());
                        left &= left - 1;
                    }
                }
            }
        }
    }

    /// What it takes beside itself, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Ids::Few(..) => 0,
            Ids::Many(ids) => ids.allocation_size(),
            Ids::Bits(words, _) => words.capacity() * 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn sorted(ids: &Ids) -> Vec<u32> {
        let mut all = Vec::new();
        ids.for_each(|id| all.push(id));
        all.sort_unstable();
        all
    }

    #[test]
    fn each_number_is_held_once_however_many_there_are_and_however_far_apart() {
        for (step, all) in [(1_usize, 5_000_usize), (97, 500_000), (40_000, 200_000_000)] {
            let (mut ids, mut expected) = (Ids::default(), BTreeSet::new());
            for nth in 0..5_000_usize {
                // Every third one was there already.
                let id = (if nth % 3 == 0 { nth / 2 } else { nth } * step) as u32;
                ids.insert(id, all);
                expected.insert(id);
                assert_eq!(ids.len(), expected.len());
            }
            assert_eq!(sorted(&ids), expected.into_iter().collect::<Vec<_>>());
            assert_eq!(matches!(ids, Ids::Bits(..)), step == 1, "{step}");
            assert!(ids.heap_bytes() < 100_000, "{}", ids.heap_bytes());
        }
    }

    #[test]
    fn numbers_that_came_up_later_have_a_bit_as_well() {
        let mut ids = Ids::default();
        (0..1_000).for_each(|id| ids.insert(id, 1_000));
        assert!(matches!(ids, Ids::Bits(..)));
        ids.insert(70_000, 70_001);
        assert_eq!(ids.len(), 1_001);
        assert_eq!(sorted(&ids).last(), Some(&70_000));
    }
}
