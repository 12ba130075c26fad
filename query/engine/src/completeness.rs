//! What was lost, shed or late in the time range of a question: an answer says how complete it is.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde::Serialize;

use crate::engine::Engine;
use crate::error::QueryError;
use crate::range::TimeRange;

/// How long ago a probe may have reported last to be missed now.
const KNOWN_NS: i64 = 3600 * 1_000_000_000;
/// A probe reports every ten seconds, lost or not; after this long without a word it is silent.
const SILENT_NS: i64 = 60 * 1_000_000_000;

/// How complete an answer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Completeness {
    /// Whether nothing is known to be missing.
    pub complete: bool,
    /// Records lost against our will.
    pub lost: i64,
    /// Records left out on purpose, short of room.
    pub shed: i64,
    /// Records that came after their interval was answered.
    pub late: i64,
    /// Probes that reported in the hour before the range's end, but not in its last minute.
    pub probes_silent: i64,
    /// Rows of the tables that were asked, of times that were asked, that were in damaged files. Such a file counts whole.
    pub rows_damaged: i64,
    /// Up to when rows of these tables were deleted, for their age or for want of room, where the range begins earlier; else
    /// null. UTC, as ISO 8601 has it.
    pub deleted_until: Option<String>,
    /// The same for people.
    pub message: String,
}

/// Reads `probe_health` of a range.
pub(crate) async fn of(
    engine: &Engine,
    range: TimeRange,
    tables: &[&str],
) -> Result<Completeness, QueryError> {
    let deleted_until = deleted_until(engine, range, tables);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
    let range = TimeRange { from: range.from.max(0), until: range.until.clamp(0, now) };
    let before_its_end = TimeRange { from: range.until.saturating_sub(KNOWN_NS), ..range };
    let silent = range.until.saturating_sub(SILENT_NS);
    // Times are integers of ours, so the text can't be led astray.
    let text = format!(
        "SELECT lost, shed, late, silent FROM (
            SELECT coalesce(sum(CASE WHEN kind = 'lost' THEN value END), 0) AS lost,
                   coalesce(sum(CASE WHEN kind = 'shed' THEN value END), 0) AS shed,
                   coalesce(sum(CASE WHEN kind = 'late' THEN value END), 0) AS late
            FROM probe_health WHERE {}
         ) CROSS JOIN (
            SELECT count(*) AS silent FROM (
                SELECT node FROM probe_health
                WHERE component = 'probe' AND {}
                GROUP BY node HAVING max(time) < to_timestamp_nanos({silent})))",
        range.condition(),
        before_its_end.condition(),
    );
    let answer = engine.collect(&text, 1).await?;
    let number = |column: usize| {
        let batch = answer.batches.first()?;
        Some(batch.column(column).as_primitive_opt::<Int64Type>()?.value(0))
    };
    let [lost, shed, late, probes_silent] = [0, 1, 2, 3].map(|column| number(column).unwrap_or_default());
    let in_damaged = engine.store().lost_rows().into_iter().filter(|lost| {
        tables.contains(&lost.table.as_str()) && lost.max_time >= range.from && lost.min_time < range.until
    });
    let rows_damaged = in_damaged.map(|lost| lost.rows as i64).sum();
    let message = String::new();
    let mut found = Completeness {
        complete: true,
        lost,
        shed,
        late,
        probes_silent,
        rows_damaged,
        deleted_until,
        message,
    };
    say(&mut found);
    Ok(found)
}

/// Up to when rows are gone that a question asks for by their time: who asks for all times asks for what there is.
fn deleted_until(engine: &Engine, range: TimeRange, tables: &[&str]) -> Option<String> {
    let stats = engine.store().stats();
    let deleted =
        stats.iter().filter(|table| tables.contains(&table.table)).filter_map(|table| table.retired);
    let until = deleted.max().filter(|until| range.from > i64::MIN && range.from <= *until)?;
    let until = arrow::temporal_conversions::timestamp_ns_to_datetime(until)?;
    Some(format!("{until:?}Z"))
}

/// Fills in whether it is complete, and the message.
fn say(found: &mut Completeness) {
    let Completeness { lost, shed, late, probes_silent, rows_damaged, .. } = *found;
    let plural = |count: i64| if count == 1 { "" } else { "s" };
    let counted = [(lost, "lost"), (shed, "shed"), (late, "late")];
    let records: Vec<String> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut parts = Vec::new();
    if !records.is_empty() {
        let plural = plural(lost + shed + late);
        parts.push(format!("record{plural} missing in this range: {}", records.join(", ")));
    }
    if probes_silent > 0 {
        parts.push(format!("{probes_silent} probe{} silent at its end", plural(probes_silent)));
    }
    let told_in_health = !parts.is_empty();
    if let Some(until) = &found.deleted_until {
        parts.push(format!("rows until {until} are deleted, as --retention says"));
    }
    if rows_damaged > 0 {
        parts.push(format!("{rows_damaged} row{} in damaged files", plural(rows_damaged)));
    }
    found.complete = parts.is_empty();
    found.message = match (found.complete, told_in_health) {
        (true, _) => "complete".to_owned(),
        (false, true) => format!("{}; the table probe_health says which", parts.join(", ")),
        (false, false) => parts.join(", "),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_reads_as_a_sentence() {
        let none = Completeness::default();
        let said = |mut found: Completeness| {
            say(&mut found);
            found
        };
        assert_eq!(said(none.clone()).message, "complete");
        let some = Completeness { lost: 3, late: 1, ..none.clone() };
        assert_eq!(
            said(some.clone()).message,
            "records missing in this range: 3 lost, 1 late; the table probe_health says which"
        );
        assert_eq!(
            said(Completeness { late: 0, probes_silent: 2, ..some }).message,
            "records missing in this range: 3 lost, 2 probes silent at its end; the table probe_health says which"
        );
        let damaged = said(Completeness { rows_damaged: 7, ..none.clone() });
        assert_eq!((damaged.complete, damaged.message.as_str()), (false, "7 rows in damaged files"));
        assert!(!said(Completeness { probes_silent: 1, ..none.clone() }).complete);
        let deleted = said(Completeness { deleted_until: Some("2026-11-01T00:00:00Z".to_owned()), ..none });
        let told = "rows until 2026-11-01T00:00:00Z are deleted, as --retention says";
        assert_eq!((deleted.complete, deleted.message.as_str()), (false, told));
    }
}
