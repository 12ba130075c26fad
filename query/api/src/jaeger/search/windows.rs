//! A search's time in parts, the newest first, so that one that finds enough there looks no further back.
//!
//! The newest traces are those with the latest matches. Once a part has as many as are wanted, no earlier part has a newer
//! one: the answer is the same as if all had been looked through.

use weir_query::TimeRange;
use weir_store::Segment;

/// Rows of the first part, about; looking through them costs little more than the question itself.
const FIRST_ROWS: u64 = 131_072;
/// How much larger each part is than the one before it.
const GROWTH: u64 = 8;
const SHORTEST_NS: i64 = 60_000_000_000;

/// `range` in parts that don't overlap, as large as what is known of the files' times makes it.
pub(super) fn windows(range: TimeRange, segments: &[Segment]) -> Vec<TimeRange> {
    let newest = segments.iter().map(|file| file.max_time).max().unwrap_or(i64::MIN);
    split(range, newest, |window| rows_of(window, segments))
}

/// `newest` is the latest time in a file.
fn split(range: TimeRange, newest: i64, rows_of: impl Fn(TimeRange) -> u64) -> Vec<TimeRange> {
    let mut windows = Vec::new();
    let mut until = range.until;
    // What is later than every file is in memory, and in the first part.
    let mut from = range.until.min(newest);
    let mut length = SHORTEST_NS;
    let mut rows = FIRST_ROWS;
    while from > range.from && until >= range.from {
        from = from.saturating_sub(length).max(range.from);
        length = length.saturating_mul(2);
        if from > range.from && rows_of(TimeRange { from, until }) < rows {
            continue;
        }
        windows.push(TimeRange { from, until });
        until = from.saturating_sub(1);
        length = SHORTEST_NS;
        rows = rows.saturating_mul(GROWTH);
    }
    if windows.last().is_none_or(|last| last.from > range.from) {
        windows.push(TimeRange { from: range.from, until });
    }
    windows
}

/// How many rows lie in `range`, about: as if each file's were spread evenly.
fn rows_of(range: TimeRange, segments: &[Segment]) -> u64 {
    let share = |file: &Segment| {
        let (from, until) = (range.from.max(file.min_time), range.until.min(file.max_time));
        if from > until {
            return 0;
        }
        let [part, whole] = [(from, until), (file.min_time, file.max_time)]
            .map(|(from, until)| until.saturating_sub(from) as f64 + 1.0);
        (file.rows as f64 * part / whole) as u64
    };
    segments.iter().map(share).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However files lie: the parts are the whole range, newest first, and none overlaps another.
    #[test]
    fn parts_are_the_whole_range_and_do_not_overlap() {
        let minute = SHORTEST_NS;
        let whole = TimeRange { from: 0, until: 600 * minute };
        for (rows, parts) in [(0.0, 1), (10.0, 1), (1e6, 2), (1e8, 5)] {
            let times = |range: TimeRange| {
                let share =
                    |at: i64| (at.clamp(0, 600 * minute) as f64 / (600 * minute) as f64 * rows) as u64;
                share(range.until) - share(range.from)
            };
            let found = split(whole, 600 * minute, times);
            assert_eq!(found.len(), parts, "{rows} rows: {found:?}");
            assert_eq!((found[0].until, found[parts - 1].from), (whole.until, whole.from));
            for pair in found.windows(2) {
                assert_eq!(pair[0].from, pair[1].until + 1);
                assert!(pair[1].from <= pair[1].until);
            }
        }
    }

    #[test]
    fn a_range_without_ends_is_one_that_ends() {
        let ever = TimeRange::ALL;
        for newest in [i64::MIN, 0, i64::MAX] {
            let found = split(ever, newest, |_| 0);
            assert_eq!((found[0].until, found[found.len() - 1].from), (ever.until, ever.from));
        }
        let none = TimeRange { from: 9, until: 1 };
        assert_eq!(split(none, 5, |_| 0), [none]);
    }
}
