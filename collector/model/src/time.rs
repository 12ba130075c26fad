//! UTC nanoseconds, and the grid that flows are cut on.

/// Nanoseconds in a second.
pub const SECOND_NS: i64 = 1_000_000_000;

/// The start of the interval that holds `time`: intervals are cut on multiples of their length since the epoch,
/// so that both ends of a connection cut at the same moment.
///
/// `interval_ns` must be positive.
pub fn interval_start(time: i64, interval_ns: i64) -> i64 {
    debug_assert!(interval_ns > 0, "an interval has a length");
    time - time.rem_euclid(interval_ns)
}

/// The day (UTC) that holds `time`, in days since the epoch: the store's partitions.
pub fn day(time: i64) -> i64 {
    time.div_euclid(24 * 3600 * SECOND_NS)
}

/// `YYYY-MM-DD` of a number of days since the epoch (proleptic Gregorian calendar).
pub fn date_text(days: i64) -> String {
    // Howard Hinnant's civil_from_days: exact for every i32 day, no table, no dependency.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_lie_on_multiples_since_the_epoch() {
        assert_eq!(interval_start(19 * SECOND_NS, 10 * SECOND_NS), 10 * SECOND_NS);
        assert_eq!(interval_start(20 * SECOND_NS, 10 * SECOND_NS), 20 * SECOND_NS);
        assert_eq!(interval_start(-1, 10 * SECOND_NS), -10 * SECOND_NS);
    }

    #[test]
    fn days_have_the_calendar_s_names() {
        for (days, text) in
            [(0, "1970-01-01"), (19_782, "2024-02-29"), (20_781, "2026-11-24"), (-1, "1969-12-31")]
        {
            assert_eq!(date_text(days), text);
        }
    }
}
