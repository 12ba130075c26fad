//! Spans → how many there were in each step, by how long they took → what each point of time looks back on.
//!
//! Durations fall into buckets that are 2 % wide, so that a window's quantile is right to 1 % without any span being kept.

use std::collections::BTreeMap;

use weir_query::{Engine, TimeRange};

use super::Asked;
use crate::filter::quoted;
use crate::jaeger::failure::Failure;
use crate::jaeger::names::texts;

/// How much longer each bucket's durations are than those of the one before.
const GROWTH: f64 = 1.02;

/// One service, or one operation of it.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) service: String,
    pub(super) operation: Option<String>,
    /// By step, counted from the first that a point looks back on.
    steps: BTreeMap<i64, Vec<Bucket>>,
}

/// Spans of one step that took about as long.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    place: i64,
    calls: u64,
    errors: u64,
}

/// What a point of time looks back on.
#[derive(Debug, Default)]
pub(super) struct Point {
    buckets: BTreeMap<i64, (u64, u64)>,
}

/// The series that were asked for, in order of their names.
pub(super) async fn of(engine: &Engine, asked: &Asked) -> Result<Vec<Series>, Failure> {
    let rows: Vec<[String; 6]> = texts(engine, &sql(asked)).await?;
    let mut series: BTreeMap<(String, String), BTreeMap<i64, Vec<Bucket>>> = BTreeMap::new();
    for [service, operation, step, place, calls, errors] in rows {
        let number = |text: &str| text.parse::<i64>().unwrap_or_default();
        let count = |text: &str| text.parse::<u64>().unwrap_or_default();
        let bucket = Bucket { place: number(&place), calls: count(&calls), errors: count(&errors) };
        series.entry((service, operation)).or_default().entry(number(&step)).or_default().push(bucket);
    }
    let series = series.into_iter().map(|((service, operation), steps)| Series {
        service,
        operation: asked.by_operation.then_some(operation),
        steps,
    });
    Ok(series.collect())
}

fn sql(asked: &Asked) -> String {
    let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let from_ms = asked.point_ms(0).saturating_sub(asked.window_ms());
    let ns = |ms: i64| ms.saturating_mul(1_000_000);
    // A span at a point's very time is the next one's.
    let range =
        TimeRange { from: ns(from_ms), until: ns(asked.point_ms(asked.points() - 1)).saturating_sub(1) };
    let operation = if asked.by_operation { "operation" } else { "''" };
    format!(
        "SELECT service, {operation} AS operation, \
         (CAST(time AS BIGINT) - {from}) / {step} AS step, \
         CAST(floor(ln(CAST(greatest(duration_ns, 1) AS DOUBLE)) / {log}) AS BIGINT) AS place, \
         count(*) AS calls, sum(CASE WHEN status = 'error' THEN 1 ELSE 0 END) AS errors \
         FROM spans WHERE {range} AND service IN ({services}) AND kind IN ({kinds}) \
         AND coalesce(request, true) GROUP BY 1, 2, 3, 4",
        from = range.from,
        step = ns(asked.step_ms),
        log = GROWTH.ln(),
        range = range.condition(),
        services = list(&asked.services),
        kinds = list(&asked.kinds),
    )
}

impl Series {
    /// Each point's time, ms, and what it looks back on.
    pub(super) fn points(&self, asked: &Asked) -> impl Iterator<Item = (i64, Point)> {
        let window = asked.window();
        let mut point = Point::default();
        for step in 0..window - 1 {
            point.add(self.steps.get(&step));
        }
        (0..asked.points()).map(move |number| {
            point.add(self.steps.get(&(number + window - 1)));
            let shown = Point { buckets: point.buckets.clone() };
            point.remove(self.steps.get(&number));
            (asked.point_ms(number), shown)
        })
    }
}

impl Point {
    fn add(&mut self, step: Option<&Vec<Bucket>>) {
        for bucket in step.into_iter().flatten() {
            let (calls, errors) = self.buckets.entry(bucket.place).or_default();
            (*calls, *errors) = (*calls + bucket.calls, *errors + bucket.errors);
        }
    }

    fn remove(&mut self, step: Option<&Vec<Bucket>>) {
        for bucket in step.into_iter().flatten() {
            let (calls, errors) = self.buckets.entry(bucket.place).or_default();
            (*calls, *errors) = (calls.saturating_sub(bucket.calls), errors.saturating_sub(bucket.errors));
            if *calls == 0 {
                self.buckets.remove(&bucket.place);
            }
        }
    }

    pub(super) fn calls(&self) -> u64 {
        self.buckets.values().map(|(calls, _)| calls).sum()
    }

    pub(super) fn errors(&self) -> u64 {
        self.buckets.values().map(|(_, errors)| errors).sum()
    }

    /// The duration that so large a share of the spans didn't exceed, ms; not a number where there were none.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = (share * self.calls() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (place, (calls, _)) in &self.buckets {
            seen += calls;
            if seen >= wanted {
                // The bucket's middle.
                return GROWTH.powf(*place as f64 + 0.5) / 1e6;
            }
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(durations_ms: &[f64]) -> Point {
        let mut point = Point::default();
        for ms in durations_ms {
            let place = ((ms * 1e6).ln() / GROWTH.ln()).floor() as i64;
            point.add(Some(&vec![Bucket { place, calls: 1, errors: 0 }]));
        }
        point
    }

    #[test]
    fn a_quantile_is_right_to_a_hundredth() {
        let durations: Vec<f64> = (1..=1_000).map(f64::from).collect();
        for (share, exact) in [(0.0, 1.0), (0.5, 500.0), (0.75, 750.0), (0.95, 950.0), (1.0, 1_000.0)] {
            let found = point(&durations).quantile_ms(share);
            assert!((found / exact - 1.0).abs() <= 0.0101, "{share}: {found} for {exact}");
        }
        assert!(point(&[]).quantile_ms(0.5).is_nan());
    }

    #[test]
    fn what_leaves_the_window_is_as_if_it_had_never_been() {
        let step = vec![Bucket { place: 3, calls: 2, errors: 1 }, Bucket { place: 4, calls: 1, errors: 0 }];
        let mut point = Point::default();
        point.add(Some(&step));
        assert_eq!((point.calls(), point.errors()), (3, 1));
        point.remove(Some(&step));
        assert!(point.buckets.is_empty());
    }
}
