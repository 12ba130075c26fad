//! A search → the ids of the newest traces that match. A trace matches when one of its spans fulfils all conditions.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::array::AsArray;
use arrow::datatypes::TimestampNanosecondType;
use weir_query::{Engine, TimeRange};

use super::failure::Failure;
use super::spans::AROUND_NS;
use super::tags;
use super::trace_id::TraceId;
use crate::filter::quoted;

/// Traces of one answer, whatever is asked for. The page offers 1500.
const MOST_TRACES: i64 = 10_000;

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
    /// The latest match of each lies within; `None` where there is none.
    matches: Option<TimeRange>,
}

impl Found {
    /// Where the spans of these traces are looked for.
    pub(crate) fn range(&self) -> Option<TimeRange> {
        self.matches.map(|matches| matches.widened(AROUND_NS))
    }
}

impl Search {
    /// Looks through memory and files.
    pub(crate) async fn find(&self, engine: &Engine) -> Result<Found, Failure> {
        if !(1..=MOST_TRACES).contains(&self.limit) {
            return Err(Failure::internal("search depth must be greater than 0 and less than max traces"));
        }
        let answer = engine.collect(&self.sql(), self.limit as usize).await?;
        let mut found = Found::default();
        for batch in &answer.batches {
            let ids = batch.column(0).as_string_opt::<i32>();
            let times = batch.column(1).as_primitive_opt::<TimestampNanosecondType>();
            let (Some(ids), Some(times)) = (ids, times) else {
                return Err(Failure::internal("the engine answered with other columns than asked for"));
            };
            for (id, time) in ids.iter().zip(times) {
                let (Some(id), Some(time)) = (id.and_then(|id| TraceId::parse_hex(id).ok()), time) else {
                    continue;
                };
                let at = TimeRange { from: time, until: time };
                found.matches = Some(found.matches.map_or(at, |matches| matches.with(at)));
                found.ids.push(id);
            }
        }
        Ok(found)
    }

    /// One question with every condition in it, the cheap ones first: where none of a batch's rows is left, the
    /// engine doesn't look at their attributes.
    fn sql(&self) -> String {
        let mut sql = format!(
            "SELECT trace_id, max(time) AS newest FROM spans WHERE {} AND trace_id IS NOT NULL",
            self.start.condition()
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
            search.sql(),
            "SELECT trace_id, max(time) AS newest FROM spans \
             WHERE time >= to_timestamp_nanos(1) AND time <= to_timestamp_nanos(9) AND trace_id IS NOT NULL \
             AND service = 'o''hara' AND operation = 'GET /' AND duration_ns >= 5 AND duration_ns <= 7 \
             AND status = 'error' GROUP BY trace_id ORDER BY newest DESC LIMIT 20"
        );
    }
}
