//! How long things take: gaps between what happens within one request, as densities that are learned from the data.
//!
//! No shape is assumed. A cache that hits or misses makes two humps, a timer an edge, and both tell callers apart better
//! than a mean and a deviation would. Bins grow with the gap (eight to the octave), so that microseconds and seconds
//! have the same relative precision; the fewer gaps were seen, the more they are smeared over their neighbours.

/// Bins for gaps of one sign: eight exact ones, then eight for each octave up to 67 s.
const SIDE: usize = 8 + 8 * OCTAVES;
const OCTAVES: usize = 23;
/// The finest unit of a bin: neither clocks nor schedulers are better than that.
const FINEST_NS: i64 = 1_000;

/// The unit that all of `times` are multiples of, as far as it's a power of ten between a microsecond and a tenth of a second.
/// Bins finer than the clock's ticks would tell a gap of no ticks from one of a tick by their widths alone.
pub(super) fn tick_of(times: impl Iterator<Item = i64>) -> i64 {
    let mut tick = 100_000_000;
    for time in times {
        while tick > FINEST_NS && time % tick != 0 {
            tick /= 10;
        }
    }
    tick
}

/// How often each gap was seen. Negative ones are those of children that outlive their parents.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    seen: Box<[f32; 2 * SIDE]>,
    total: f64,
}

impl Default for Gaps {
    fn default() -> Gaps {
        Gaps { seen: Box::new([0.0; 2 * SIDE]), total: 0.0 }
    }
}

impl Gaps {
    pub(super) fn add(&mut self, gap: i64, weight: f64) {
        self.seen[bin(gap)] += weight as f32;
        self.total += weight;
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    pub(super) fn fade(&mut self, share: f64) {
        self.seen.iter_mut().for_each(|seen| *seen *= share as f32);
        self.total *= share;
    }

    pub(super) fn merge(&mut self, other: &Gaps) {
        self.seen.iter_mut().zip(other.seen.iter()).for_each(|(seen, more)| *seen += more);
        self.total += other.total;
    }

    /// The density, per tick, in each bin.
    pub(super) fn density(&self) -> Density {
        let mut mass = self.seen.clone();
        for _ in 0..smears(self.total) {
            smear(&mut mass);
        }
        let all: f64 = self.total.max(f64::MIN_POSITIVE);
        for (at, mass) in mass.iter_mut().enumerate() {
            *mass = (f64::from(*mass) / all / width(at)) as f32;
        }
        Density(mass)
    }
}

/// What [`Gaps`] say of one more gap.
#[derive(Clone, Debug)]
pub(super) struct Density(Box<[f32; 2 * SIDE]>);

impl Density {
    pub(super) fn at(&self, gap: i64) -> f64 {
        f64::from(self.0[bin(gap)])
    }
}

/// The density of a gap of which nothing is known: every octave is as likely as any other.
pub(super) fn unknown(gap: i64) -> f64 {
    const OCTAVES_AND_BEYOND: f64 = 24.0;
    const SOFT: f64 = 16.0;
    1.0 / ((gap.unsigned_abs() as f64 + SOFT) * OCTAVES_AND_BEYOND)
}

/// How often to smear, of so many gaps: a few say little of the bins between them.
fn smears(total: f64) -> u32 {
    match total {
        ..30.0 => 8,
        ..100.0 => 5,
        ..300.0 => 3,
        ..1500.0 => 2,
        _ => 1,
    }
}

/// A binomial kernel over five bins. What would fall over the edge is reflected, so that nothing is lost.
fn smear(mass: &mut [f32; 2 * SIDE]) {
    let old = *mass;
    let last = 2 * SIDE as i64 - 1;
    let at = |index: i64| old[if index < 0 { -1 - index } else { index.min(2 * last + 1 - index) } as usize];
    for (index, mass) in mass.iter_mut().enumerate() {
        let index = index as i64;
        *mass = (6.0 * at(index) + 4.0 * (at(index - 1) + at(index + 1)) + (at(index - 2) + at(index + 2)))
            / 16.0;
    }
}

fn bin(gap: i64) -> usize {
    let units = gap.unsigned_abs();
    let size = if units < 8 {
        units as usize
    } else {
        let octave = units.ilog2() - 3;
        let within = (units >> octave) & 7;
        (8 + 8 * octave as usize + within as usize).min(SIDE - 1)
    };
    if gap < 0 { SIDE - 1 - size } else { SIDE + size }
}

fn width(bin: usize) -> f64 {
    let size = if bin < SIDE { SIDE - 1 - bin } else { bin - SIDE };
    let octave = (size.saturating_sub(8)) / 8;
    (1_u64 << octave) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn longer_gaps_never_have_an_earlier_bin(one in any::<i64>(), other in any::<i64>()) {
            let (short, long) = (one.min(other), one.max(other));
            prop_assert!(bin(short) <= bin(long));
            prop_assert!(bin(long) < 2 * SIDE);
        }

        #[test]
        fn a_density_is_one_in_all(gaps in prop::collection::vec(-60_000_000_000..60_000_000_000_i64, 1..200)) {
            let mut seen = Gaps::default();
            for &gap in &gaps {
                seen.add(gap, 1.0);
            }
            let density = seen.density();
            let all: f64 = (0..2 * SIDE).map(|bin| f64::from(density.0[bin]) * width(bin)).sum();
            prop_assert!((all - 1.0).abs() < 0.001, "{all}");
        }
    }
}
