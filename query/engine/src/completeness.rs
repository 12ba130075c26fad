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
    /// The same for people.
    pub message: String,
}

/// Reads `probe_health` of a range.
pub(crate) async fn of(engine: &Engine, range: TimeRange) -> Result<Completeness, QueryError> {
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
    Ok(said(lost, shed, late, probes_silent))
}

fn said(lost: i64, shed: i64, late: i64, probes_silent: i64) -> Completeness {
    let counted = [(lost, "lost"), (shed, "shed"), (late, "late")];
    let records: Vec<String> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut parts = Vec::new();
    if !records.is_empty() {
        let plural = if lost + shed + late == 1 { "" } else { "s" };
        parts.push(format!("record{plural} missing in this range: {}", records.join(", ")));
    }
    if probes_silent > 0 {
        let plural = if probes_silent == 1 { "" } else { "s" };
        parts.push(format!("{probes_silent} probe{plural} silent at its end"));
    }
    let complete = parts.is_empty();
    let message = if complete {
        "complete".to_owned()
    } else {
        format!("{}; the table probe_health says which", parts.join(", "))
    };
    Completeness { complete, lost, shed, late, probes_silent, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_reads_as_a_sentence() {
        assert_eq!(said(0, 0, 0, 0).message, "complete");
        assert_eq!(
            said(3, 0, 1, 0).message,
            "records missing in this range: 3 lost, 1 late; the table probe_health says which"
        );
        assert_eq!(
            said(3, 0, 0, 2).message,
            "records missing in this range: 3 lost, 2 probes silent at its end; the table probe_health says which"
        );
        assert!(!said(0, 0, 0, 1).complete);
    }
}
