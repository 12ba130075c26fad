//! The values of one group: themselves while they are few, then how many lie in each of bins that are wider by the same ratio,
//! one after another (Masson, Rim, Lee: `DDSketch`, VLDB 2019). What two sketches hold can be added up without loss.

use std::collections::BTreeMap;

/// Values that are kept as they are.
const FEW: usize = 128;
/// A bin's upper end by its lower: its middle is half a percent from either.
const RATIO: f64 = 1.01;
/// Between the bins of values above zero and those below it: more than the exponents of any real number need.
const ABOVE: i64 = 100_000;
/// Beyond the bins of all numbers that are not infinite.
const INFINITE: i64 = 400_000;

/// What is known of the values.
#[derive(Debug, Clone)]
pub(super) enum Sketch {
    Few(Vec<f64>),
    /// Bins in the order of what they hold, and how many values are in each.
    Many(BTreeMap<i64, u64>),
}

impl Default for Sketch {
    fn default() -> Sketch {
        Sketch::Few(Vec::new())
    }
}

impl Sketch {
    pub(super) fn add(&mut self, value: f64) {
        match self {
            Sketch::Few(values) if values.len() < FEW => values.push(value),
            Sketch::Few(_) => self.add_bin(bin(value), 1),
            Sketch::Many(bins) => *bins.entry(bin(value)).or_default() += 1,
        }
    }

    /// So many values more in a bin.
    pub(super) fn add_bin(&mut self, bin: i64, count: u64) {
        *self.bins().entry(bin).or_default() += count;
    }

    fn bins(&mut self) -> &mut BTreeMap<i64, u64> {
        if let Sketch::Few(values) = self {
            let mut bins = BTreeMap::new();
            for value in values {
                *bins.entry(bin(*value)).or_default() += 1;
            }
            *self = Sketch::Many(bins);
        }
        match self {
            Sketch::Many(bins) => bins,
            Sketch::Few(_) => unreachable!("made many above"),
        }
    }

    /// The value below which that share of all lies; between two of few, as `percentile_cont` has it.
    pub(super) fn percentile(&mut self, share: f64) -> Option<f64> {
        match self {
            Sketch::Few(values) if values.is_empty() => None,
            Sketch::Few(values) => {
                values.sort_unstable_by(f64::total_cmp);
                let place = share * (values.len() - 1) as f64;
                let (below, above) = (values[place as usize], values[place.ceil() as usize]);
                Some(if below.total_cmp(&above).is_eq() {
                    below
                } else {
                    below + (above - below) * place.fract()
                })
            }
            Sketch::Many(bins) => {
                let last = bins.values().sum::<u64>().saturating_sub(1);
                let place = (share * last as f64) as u64;
                let mut passed = 0;
                let found = bins.iter().find(|(_, count)| {
                    passed += **count;
                    passed > place
                });
                found.map(|(bin, _)| middle(*bin))
            }
        }
    }

    /// Bytes beside the sketch itself, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Sketch::Few(values) => values.capacity() * size_of::<f64>(),
            Sketch::Many(bins) => bins.len() * 2 * size_of::<(i64, u64)>(),
        }
    }
}

fn bin(value: f64) -> i64 {
    if value == 0.0 {
        return 0;
    }
    let bin = if value.abs().is_finite() {
        ABOVE + (value.abs().ln() / RATIO.ln()).ceil() as i64
    } else {
        INFINITE
    };
    if value < 0.0 { -bin } else { bin }
}

/// Half a percent, at most, from all values in the bin.
fn middle(bin: i64) -> f64 {
    let size = match bin.abs() {
        0 => 0.0,
        INFINITE.. => f64::INFINITY,
        finite => {
            (((finite - ABOVE) as f64) * RATIO.ln() - f64::midpoint(1.0, RATIO).ln()).exp().min(f64::MAX)
        }
    };
    if bin < 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(values: impl IntoIterator<Item = f64>) -> Sketch {
        let mut sketch = Sketch::default();
        values.into_iter().for_each(|value| sketch.add(value));
        sketch
    }

    #[test]
    fn few_values_are_exact_and_nothing_has_no_percentile() {
        assert_eq!(sketch([]).percentile(0.5), None);
        assert_eq!(sketch([3.0]).percentile(0.99), Some(3.0));
        assert_eq!(sketch([4.0, 1.0, 3.0, 2.0]).percentile(0.5), Some(2.5));
        assert_eq!(sketch([1.0, f64::INFINITY, f64::INFINITY]).percentile(0.9), Some(f64::INFINITY));
    }

    #[test]
    fn many_values_are_within_half_a_percent_over_all_sizes_and_signs() {
        // A thousand values each side of zero, over twelve powers of ten, in no order.
        let exponents = (0..1000).map(|number| f64::from(number * 7919 % 1000) / 83.0 - 4.0);
        let mut values: Vec<f64> =
            exponents.flat_map(|exponent| [10_f64.powf(exponent), -(10_f64.powf(exponent))]).collect();
        let mut sketch = sketch(values.iter().copied());
        values.sort_by(f64::total_cmp);
        for share in [0.0, 0.01, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0] {
            let exact = values[(share * (values.len() - 1) as f64) as usize];
            let found = sketch.percentile(share).unwrap();
            assert!((found - exact).abs() <= 0.0051 * exact.abs(), "{share}: {found}, exactly {exact}");
        }
        assert!(matches!(&sketch, Sketch::Many(bins) if bins.len() <= 2000));
    }

    #[test]
    fn the_largest_and_smallest_numbers_have_bins_of_their_own() {
        let median = |value: f64| sketch(std::iter::repeat_n(value, FEW + 1)).percentile(0.5).unwrap();
        for value in [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1.0] {
            assert!((median(value) / value - 1.0).abs() < 0.006, "{value}: {}", median(value));
        }
        for value in [f64::INFINITY, f64::NEG_INFINITY, 0.0] {
            assert!(median(value).total_cmp(&value).is_eq(), "{value}: {}", median(value));
        }
    }
}
