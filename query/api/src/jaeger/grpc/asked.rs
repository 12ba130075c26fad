//! What the messages ask → what the engine is asked.

use std::collections::BTreeMap;

use prost_types::{Duration, Timestamp};
use tonic::Status;
use weir_query::TimeRange;

use crate::jaeger::search::Search;
use crate::jaeger::trace_id::TraceId;

/// Go's zero time, the year 1: how Jaeger sends a time that nobody said.
const GO_ZERO_SECONDS: i64 = -62_135_596_800;
/// Traces of a search that doesn't say how many.
const USUAL_DEPTH: i64 = 100;

/// UTC nanoseconds; `None` where the time is not there, or Go's zero.
pub(super) fn time(time: Option<&Timestamp>) -> Option<i64> {
    let time = time.filter(|time| time.seconds != GO_ZERO_SECONDS)?;
    Some(time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanos)))
}

/// Between two times; `None` where neither is said.
pub(super) fn range(from: Option<&Timestamp>, until: Option<&Timestamp>) -> Option<TimeRange> {
    TimeRange::known(time(from), time(until))
}

/// Between two times that both have to be said, or else `why` not.
pub(super) fn whole_range(
    from: Option<&Timestamp>,
    until: Option<&Timestamp>,
    why: &str,
) -> Result<TimeRange, Status> {
    match (time(from), time(until)) {
        (Some(from), Some(until)) => Ok(TimeRange { from, until }),
        _ => Err(Status::invalid_argument(why)),
    }
}

/// Nanoseconds; 0 where it is not there.
pub(super) fn length(duration: Option<&Duration>) -> i64 {
    duration.map_or(0, |duration| {
        duration.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(duration.nanos))
    })
}

/// A trace's id.
pub(super) fn trace_id(bytes: &[u8]) -> Result<TraceId, Status> {
    match bytes.len() {
        1..=16 => Ok(TraceId::of_bytes(bytes)),
        0 => Err(Status::invalid_argument("uninitialized TraceID is not allowed")),
        more => Err(Status::invalid_argument(format!("a trace's id has 16 bytes, not {more}"))),
    }
}

/// A search. A text that is empty is any; a depth of 0 is none that was said (Jaeger's own v3 sends it to its storage).
pub(super) fn search(
    [service, operation]: [String; 2],
    tags: BTreeMap<String, String>,
    start: TimeRange,
    durations: [Option<&Duration>; 2],
    depth: i32,
) -> Search {
    let said = |text: String| (!text.is_empty()).then_some(text);
    let [min_duration, max_duration] = durations.map(length);
    let limit = if depth == 0 { USUAL_DEPTH } else { i64::from(depth) };
    let (service, operation) = (said(service), said(operation));
    Search { service, operation, tags, start, min_duration, max_duration, limit }
}

/// What is said of filters in Jaeger's newer language.
pub(super) fn no_filters() -> Status {
    Status::invalid_argument("filters are not supported: use attributes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_jaeger_was_not_told_is_none() {
        let at = |seconds, nanos| time(Some(&Timestamp { seconds, nanos }));
        assert_eq!(at(GO_ZERO_SECONDS, 0), None);
        assert_eq!(time(None), None);
        assert_eq!(at(1, 5), Some(1_000_000_005));
        assert_eq!(at(253_402_300_799, 999_999_999), Some(i64::MAX), "the year 9999");
        assert_eq!(length(Some(&Duration::default())), 0);
    }

    #[test]
    fn an_id_has_at_most_16_bytes() {
        assert!(trace_id(&[]).is_err() && trace_id(&[1; 17]).is_err());
        assert_eq!(trace_id(&[1; 8]).expect("reads").short(), "0101010101010101");
    }
}
