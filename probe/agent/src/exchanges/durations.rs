//! How long exchanges took: counts in buckets, so that a connection with a million exchanges in an interval takes no
//! more than one with a hundred different ones.

/// Buckets in each doubling; a quantile is within 1.6 % of the truth.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Different buckets that are kept in a list; from more on, all between the lowest and the highest have a place.
const FEW: usize = 24;

/// Durations of exchanges, in µs.
#[derive(Clone, Debug, Default)]
pub(super) struct Durations {
    buckets: Buckets,
    count: u64,
}

/// Most connections have few exchanges, which must take little memory; those with many must take little time for each.
#[derive(Clone, Debug)]
enum Buckets {
    /// `(bucket, how many)`, by bucket.
    Few(Vec<(u16, u32)>),
    /// The lowest bucket, and how many are in each from there on.
    Many(u16, Vec<u32>),
}

impl Default for Buckets {
    fn default() -> Buckets {
        Buckets::Few(Vec::new())
    }
}

impl Durations {
    /// One more.
    pub(super) fn add(&mut self, duration_us: u64) {
        self.count += 1;
        let bucket = bucket_of(duration_us);
        match &mut self.buckets {
            Buckets::Few(few) => match few.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
                Ok(index) => few[index].1 = few[index].1.saturating_add(1),
                Err(index) => {
                    few.insert(index, (bucket, 1));
                    if few.len() > FEW {
                        self.buckets = spread(few);
                    }
                }
            },
            Buckets::Many(lowest, counts) => {
                if bucket < *lowest {
                    counts.splice(..0, std::iter::repeat_n(0, usize::from(*lowest - bucket)));
                    *lowest = bucket;
                }
                let index = usize::from(bucket - *lowest);
                if index >= counts.len() {
                    counts.resize(index + 1, 0);
                }
                counts[index] = counts[index].saturating_add(1);
            }
        }
    }

    /// How many.
    pub(super) fn count(&self) -> i64 {
        self.count as i64
    }

    /// The duration that so many percent don't exceed (nearest rank); `None` if there are none.
    pub(super) fn quantile(&self, percent: u64) -> Option<i64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        match &self.buckets {
            Buckets::Few(few) => nth(rank, few.iter().copied()),
            Buckets::Many(lowest, counts) => nth(rank, (*lowest..).zip(counts.iter().copied())),
        }
    }
}

/// The duration of that rank, from 1.
fn nth(rank: u64, mut buckets: impl Iterator<Item = (u16, u32)>) -> Option<i64> {
    let mut below = 0;
    let (bucket, _) = buckets.find(|(_, count)| {
        below += u64::from(*count);
        below >= rank
    })?;
    Some(middle_of(bucket) as i64)
}

fn spread(few: &[(u16, u32)]) -> Buckets {
    let lowest = few[0].0;
    let highest = few[few.len() - 1].0;
    let mut counts = vec![0; usize::from(highest - lowest) + 1];
    for (bucket, count) in few {
        counts[usize::from(bucket - lowest)] = *count;
    }
    Buckets::Many(lowest, counts)
}

/// Exact below [`STEPS`], then logarithmic in linear steps.
fn bucket_of(value: u64) -> u16 {
    if value < STEPS {
        return value as u16;
    }
    let shift = value.ilog2() - STEP_BITS;
    ((u64::from(shift + 1) << STEP_BITS) + ((value >> shift) - STEPS)) as u16
}

fn middle_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < STEPS {
        return bucket;
    }
    let shift = (bucket >> STEP_BITS) - 1;
    let low = (STEPS + (bucket & (STEPS - 1))) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_two_percent_at_any_size() {
        for scale in [1, 37, 1_000, 1_000_000, 1 << 40] {
            let mut durations = Durations::default();
            // From the middle on, then from there down.
            for value in (500..=1_000_u64).chain((1..500).rev()) {
                durations.add(value * scale);
            }
            assert_eq!(durations.count(), 1_000);
            for percent in [1, 50, 90, 99] {
                let exact = (percent * 10 * scale) as f64;
                let found = durations.quantile(percent).unwrap_or_default() as f64;
                assert!((found - exact).abs() <= exact * 0.02, "p{percent} of {scale}: {found}, not {exact}");
            }
        }
    }

    #[test]
    fn every_duration_has_a_bucket_near_it() {
        for value in (0..64).map(|bit| 1_u64 << bit).flat_map(|power| [power - 1, power, power + power / 3]) {
            let middle = middle_of(bucket_of(value));
            assert!(middle.abs_diff(value) <= value / 50, "{value}: {middle}");
        }
    }

    #[test]
    fn none_have_no_quantile() {
        assert_eq!(Durations::default().quantile(50), None);
    }
}
