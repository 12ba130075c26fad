//! Series: one for each set of labels, up to a bound; and how long things took, with an example of each.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::exemplar::{CounterWithExemplar, HistogramWithExemplars};
use weir_model::{SmolStr, SpanRow};

/// Names and values.
pub(crate) type Labels = Vec<(&'static str, SmolStr)>;

/// Bytes of a label's value; longer names (whole SQL statements) are cut.
const LONGEST_VALUE: usize = 200;

/// A value for a label.
pub(super) fn value(text: Option<&SmolStr>) -> SmolStr {
    let Some(text) = text else { return SmolStr::default() };
    if text.len() <= LONGEST_VALUE {
        return text.clone();
    }
    SmolStr::new(&text[..text.floor_char_boundary(LONGEST_VALUE)])
}

/// Series of one family, at most so many; those beyond are one.
#[derive(Debug)]
pub(crate) struct Bounded<S> {
    series: HashMap<Labels, S>,
    most: usize,
    overflowed: u64,
}

impl<S> Bounded<S> {
    pub(super) fn new(most: usize) -> Bounded<S> {
        Bounded { series: HashMap::new(), most, overflowed: 0 }
    }

    /// The series of these labels, or the one for all that there is no room for.
    pub(super) fn of(&mut self, labels: Labels, make: impl FnOnce() -> S) -> &mut S {
        let is_beyond = self.series.len() >= self.most && !self.series.contains_key(&labels);
        self.overflowed += u64::from(is_beyond);
        let overflow = || vec![("otel_metric_overflow", SmolStr::new_static("true"))];
        self.series.entry(if is_beyond { overflow() } else { labels }).or_insert_with(make)
    }

    /// Each with its labels, in their order.
    pub(crate) fn sorted(&self) -> Vec<(&Labels, &S)> {
        let mut all: Vec<_> = self.series.iter().collect();
        all.sort_unstable_by_key(|(labels, _)| *labels);
        all
    }

    /// Events that had no room for a series of their own.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

/// Upper bounds of the buckets, seconds: the connectors' own, and finer ones below for what the network sees.
pub(crate) const BOUNDS: [f64; 20] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.4,
    2.0, 5.0, 10.0, 15.0,
];

/// What an exemplar is found by.
pub(super) type Example = [(&'static str, String); 2];

/// How often, and how long it took.
#[derive(Debug)]
pub(crate) struct Latency {
    /// As a scrape shows it.
    pub(super) shown: HistogramWithExemplars<Example>,
    /// Those at most as long as each of [`BOUNDS`], and not as the one before; then the longer ones.
    pub(crate) counts: [u64; BOUNDS.len() + 1],
    /// All together, seconds.
    pub(crate) sum: f64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            shown: HistogramWithExemplars::new(BOUNDS.into_iter()),
            counts: [0; BOUNDS.len() + 1],
            sum: 0.0,
        }
    }
}

impl Latency {
    pub(super) fn add(&mut self, duration_ns: i64, example: Option<(Example, SystemTime)>) {
        let seconds = duration_ns.max(0) as f64 / 1e9;
        let (labels, time) = example.unzip();
        self.shown.observe(seconds, labels, time);
        self.counts[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A counter with an example.
pub(super) type Counter = CounterWithExemplar<Example>;

/// One more, with an example of it.
pub(super) fn one_more(counter: &Counter, example: Option<(Example, SystemTime)>) {
    let (labels, time) = example.unzip();
    counter.inc_by(1, labels, time);
}

/// What leads to a span.
pub(super) fn example(span: &SpanRow) -> Option<(Example, SystemTime)> {
    let labels = example_of(span.trace_id.as_ref()?, span.span_id.as_ref()?);
    Some((labels, moment(span.end_time.unwrap_or(span.time))))
}

pub(super) fn moment(ns: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or_default())
}

pub(super) fn example_of(trace_id: &SmolStr, span_id: &SmolStr) -> Example {
    [("trace_id", trace_id.to_string()), ("span_id", span_id.to_string())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_bound_is_counted_together() {
        let mut series = Bounded::new(2);
        for name in ["a", "b", "c", "d", "a"] {
            *series.of(vec![("service_name", name.into())], u64::default) += 1;
        }
        let shown: Vec<_> = series.sorted().into_iter().map(|(labels, n)| (labels[0].clone(), *n)).collect();
        let label = |name: &'static str, value: &str| (name, SmolStr::new(value));
        assert_eq!(
            shown,
            [
                (label("otel_metric_overflow", "true"), 2),
                (label("service_name", "a"), 2),
                (label("service_name", "b"), 1)
            ]
        );
        assert_eq!(series.overflowed(), 2);
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        let long: SmolStr = "ä".repeat(LONGEST_VALUE).into();
        assert_eq!(value(Some(&long)).len(), LONGEST_VALUE);
        let odd: SmolStr = format!("a{}", "ä".repeat(LONGEST_VALUE)).into();
        assert_eq!(value(Some(&odd)).len(), LONGEST_VALUE - 1);
    }

    #[test]
    fn a_duration_is_in_the_bucket_whose_bound_it_reaches() {
        let mut latency = Latency::default();
        for ns in [100_000, 100_001, 15_000_000_000, 15_000_000_001, -5] {
            latency.add(ns, None);
        }
        assert_eq!((latency.counts[0], latency.counts[1]), (2, 1));
        assert_eq!((latency.counts[19], latency.counts[20], latency.count()), (1, 1, 5));
    }
}
