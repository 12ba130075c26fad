//! A search → the ids of the newest traces that match. A trace matches when one of its spans fulfils all conditions.

mod windows;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use arrow::array::AsArray;
use arrow::datatypes::TimestampNanosecondType;
use weir_model::tables::SPANS;
use weir_query::{Collected, Engine, TimeRange};

use super::failure::Failure;
use super::tags;
use super::trace_id::TraceId;
use crate::filter::quoted;

/// Traces of one answer, whatever is asked for. The page offers 1500.
const MOST_TRACES: i64 = 10_000;
/// Ranges of time of one question: each is a condition, and the engine goes through them one inside of the other.
const MOST_RANGES: usize = 16;

/// What is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Search {
    /// Any, where none is named.
    pub(crate) service: Option<String>,
    pub(crate) operation: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// The span's start, UTC nanoseconds, both ends included.
    pub(crate) start: TimeRange,
    /// Nanoseconds; 0 for any.
    pub(crate) min_duration: i64,
    /// Nanoseconds; 0 for any.
    pub(crate) max_duration: i64,
    pub(crate) limit: i64,
}

/// The traces that match, newest first.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) ids: Vec<TraceId>,
    /// When the latest match of each started.
    times: Vec<i64>,
}

impl Found {
    /// So far around each match, in order; as one where they overlap, or where there would be too many.
    pub(crate) fn around(&self, by_ns: i64) -> Vec<TimeRange> {
        let mut times = self.times.clone();
        times.sort_unstable();
        let gap = |place: &usize| times[*place].saturating_sub(times[place - 1]);
        let mut cuts: Vec<usize> =
            (1..times.len()).filter(|place| gap(place) > by_ns.saturating_mul(2)).collect();
        // The longest gaps are left out first.
        cuts.sort_unstable_by_key(|place| std::cmp::Reverse(gap(place)));
        cuts.truncate(MOST_RANGES - 1);
        cuts.sort_unstable();
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain(std::iter::once(times.len()));
        let runs = starts.zip(ends).filter_map(|(start, end)| times.get(start..end));
        let range = |run: &[i64]| Some(TimeRange { from: *run.first()?, until: *run.last()? }.widened(by_ns));
        runs.filter_map(range).collect()
    }
}

impl Search {
    /// Looks through memory and files.
    pub(crate) async fn find(&self, engine: &Engine) -> Result<Found, Failure> {
        if !(1..=MOST_TRACES).contains(&self.limit) {
            return Err(Failure::internal("search depth must be greater than 0 and less than max traces"));
        }
        let limit = self.limit as usize;
        let mut found = Found::default();
        let mut seen = HashSet::new();
        for window in windows::windows(self.start, &engine.store().snapshot(&SPANS).segments) {
            let answer = engine.collect(&self.sql(window), limit).await?;
            for (id, time) in matches(&answer)? {
                // Newer matches of the same trace came before.
                if found.ids.len() < limit && seen.insert(id) {
                    found.ids.push(id);
                    found.times.push(time);
                }
            }
            if found.ids.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    /// One question with every condition in it, the cheap ones first: where none of a batch's rows is left, the
    /// engine doesn't look at their attributes.
    fn sql(&self, window: TimeRange) -> String {
        let mut sql = format!(
            "SELECT trace_id, max(time) AS newest FROM spans WHERE {} AND trace_id IS NOT NULL",
            window.condition()
        );
        if let Some(service) = &self.service {
            let _ = write!(sql, " AND service = {}", quoted(service));
        }
        if let Some(operation) = &self.operation {
            let _ = write!(sql, " AND operation = {}", quoted(operation));
        }
        if self.min_duration != 0 {
            let _ = write!(sql, " AND duration_ns >= {}", self.min_duration);
        }
        if self.max_duration != 0 {
            let _ = write!(sql, " AND duration_ns <= {}", self.max_duration);
        }
        for (key, value) in &self.tags {
            let _ = write!(sql, " AND {}", tags::condition(key, value));
        }
        let _ = write!(sql, " GROUP BY trace_id ORDER BY newest DESC LIMIT {}", self.limit);
        sql
    }
}

/// Traces, the newest first, with the time of their latest match.
fn matches(answer: &Collected) -> Result<Vec<(TraceId, i64)>, Failure> {
    let mut matches = Vec::new();
    for batch in &answer.batches {
        let ids = batch.column(0).as_string_opt::<i32>();
        let times = batch.column(1).as_primitive_opt::<TimestampNanosecondType>();
        let (Some(ids), Some(times)) = (ids, times) else {
            return Err(Failure::internal("the engine answered with other columns than asked for"));
        };
        for (id, time) in ids.iter().zip(times) {
            if let (Some(id), Some(time)) = (id.and_then(|id| TraceId::parse_hex(id).ok()), time) {
                matches.push((id, time));
            }
        }
    }
    Ok(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_part_of_the_one_question() {
        let search = Search {
            service: Some("o'hara".to_owned()),
            operation: Some("GET /".to_owned()),
            tags: BTreeMap::from([("error".to_owned(), "true".to_owned())]),
            start: TimeRange { from: 1, until: 9 },
            min_duration: 5,
            max_duration: 7,
            limit: 20,
        };
        assert_eq!(
            search.sql(search.start),
            "SELECT trace_id, max(time) AS newest FROM spans \
             WHERE time >= to_timestamp_nanos(1) AND time <= to_timestamp_nanos(9) AND trace_id IS NOT NULL \
             AND service = 'o''hara' AND operation = 'GET /' AND duration_ns >= 5 AND duration_ns <= 7 \
             AND status = 'error' GROUP BY trace_id ORDER BY newest DESC LIMIT 20"
        );
    }

    #[test]
    fn matches_that_lie_together_are_looked_around_once() {
        let around = |times: &[i64]| Found { times: times.to_vec(), ..Found::default() }.around(10);
        let range = |from, until| TimeRange { from, until };
        assert!(around(&[]).is_empty());
        assert_eq!(around(&[50, 100, 60, 45]), [range(35, 70), range(90, 110)]);
        // As many as there may be: the shortest gaps are looked through.
        let times: Vec<i64> = (0..100).map(|place| place * place * 1_000).collect();
        let found = around(&times);
        assert_eq!(found.len(), MOST_RANGES);
        assert_eq!((found[0].from, found[0].until), (-10, 84 * 84 * 1_000 + 10));
        assert!(times.iter().all(|time| found.iter().any(|range| (range.from..=range.until).contains(time))));
    }
}
