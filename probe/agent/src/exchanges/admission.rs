//! Which exchanges get a row of their own when there are more than the budget allows.
//!
//! By their key, so that both ends' probes choose the same ones: the more there are, the more bits of a hash must be
//! zero, and what a strict probe keeps a lenient one keeps too. Those with an error come first, as far as the budget's
//! second half goes.

const SECOND_NS: u64 = 1_000_000_000;

/// Keeps to a budget of rows a second.
#[derive(Debug)]
pub(super) struct Admission {
    rows_a_second: u64,
    /// So many low bits of the hash must be zero.
    bits: u32,
    second: u64,
    offered: u64,
    admitted: u64,
}

impl Admission {
    /// At most so many a second.
    pub(super) fn new(rows_a_second: u32) -> Admission {
        Admission { rows_a_second: u64::from(rows_a_second), bits: 0, second: 0, offered: 0, admitted: 0 }
    }

    /// Whether the exchange with that key, which ended then, has a row.
    pub(super) fn admits(&mut self, key: u64, end_ns: u64, is_error: bool) -> bool {
        let second = end_ns / SECOND_NS;
        // Ends come a little out of order; only a new second is news.
        if second > self.second {
            self.bits = bits_for(self.offered, self.rows_a_second);
            (self.second, self.offered, self.admitted) = (second, 0, 0);
        }
        self.offered += 1;
        if self.admitted >= self.rows_a_second {
            return false;
        }
        let is_chosen = hash(key).trailing_zeros() >= self.bits;
        let is_spared = is_error && self.admitted < self.rows_a_second / 2;
        self.admitted += u64::from(is_chosen || is_spared);
        is_chosen || is_spared
    }
}

/// How often the offer must be halved to fit.
fn bits_for(offered: u64, budget: u64) -> u32 {
    let mut bits = 0;
    while offered >> bits > budget {
        bits += 1;
    }
    bits
}

/// The same on every node and in every version: the finaliser of `MurmurHash3`.
fn hash(key: u64) -> u64 {
    let mut hash = key;
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that are admitted in the second after one with the same offer.
    fn admitted(budget: u32, keys: u64) -> Vec<u64> {
        let mut admission = Admission::new(budget);
        (0..keys).for_each(|key| _ = admission.admits(key, SECOND_NS, false));
        (0..keys).filter(|key| admission.admits(*key, 2 * SECOND_NS, false)).collect()
    }

    #[test]
    fn within_the_budget_all_have_rows() {
        assert_eq!(admitted(1_000, 1_000).len(), 1_000);
    }

    #[test]
    fn above_it_probes_choose_the_same_ones() {
        let (lenient, strict) = (admitted(4_000, 10_000), admitted(1_000, 10_000));
        assert!(lenient.len() <= 4_000 && lenient.len() > 1_800, "{}", lenient.len());
        assert!(strict.len() <= 1_000 && strict.len() > 400, "{}", strict.len());
        assert!(strict.iter().all(|key| lenient.contains(key)));
    }

    #[test]
    fn errors_are_spared_until_half_of_the_budget() {
        let mut admission = Admission::new(100);
        (0..10_000).for_each(|key| _ = admission.admits(key, SECOND_NS, false));
        let spared = (0..1_000).filter(|key| admission.admits(*key, 2 * SECOND_NS, true)).count();
        assert!((50..=100).contains(&spared), "{spared}");
    }

    #[test]
    fn a_budget_of_none_admits_none() {
        assert!(admitted(0, 10).is_empty());
    }
}
