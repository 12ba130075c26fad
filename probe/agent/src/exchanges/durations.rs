//! How long exchanges took: counts in buckets, so that a connection with a million exchanges in an interval takes no
//! more than one with a hundred different ones.

/// Buckets in each doubling; a quantile is within 1.6 % of the truth.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Durations of exchanges, in µs.
#[derive(Clone, Debug, Default)]
pub(super) struct Durations {
    /// `(bucket, how many)`, by bucket.
    buckets: Vec<(u16, u32)>,
    count: u64,
}

impl Durations {
    /// One more.
    pub(super) fn add(&mut self, duration_us: u64) {
        self.count += 1;
        let bucket = bucket_of(duration_us);
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(index) => self.buckets[index].1 = self.buckets[index].1.saturating_add(1),
            Err(index) => self.buckets.insert(index, (bucket, 1)),
        }
    }

    /// How many.
    pub(super) fn count(&self) -> i64 {
        self.count as i64
    }

    /// The duration that so many percent don't exceed (nearest rank); `None` if there are none.
    pub(super) fn quantile(&self, percent: u64) -> Option<i64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut below = 0;
        for (bucket, count) in &self.buckets {
            below += u64::from(*count);
            if below >= rank {
                return Some(middle_of(*bucket) as i64);
            }
        }
        None
    }
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
            for value in 1..=1_000_u64 {
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
