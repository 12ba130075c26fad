//! What was lost, shed or late in the time range of a question: an answer says how complete it is.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde::Serialize;

use crate::engine::Engine;
use crate::error::QueryError;

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
    /// Probes that reported before this range, and not in it.
    pub probes_silent: i64,
    /// The same for people.
    pub message: String,
}

/// Reads `probe_health` between two times.
pub(crate) async fn between(engine: &Engine, from: i64, until: i64) -> Result<Completeness, QueryError> {
    // Times are integers of ours, so the text can't be led astray. Silent: seen in the hour before the end of the
    // range, but not in its last minute.
    let text = format!(
        "WITH health AS (SELECT * FROM probe_health WHERE time >= to_timestamp_nanos({from}) AND time <= to_timestamp_nanos({until}))
         SELECT coalesce(sum(CASE WHEN kind = 'lost' THEN value END), 0) AS lost,
                coalesce(sum(CASE WHEN kind = 'shed' THEN value END), 0) AS shed,
                coalesce(sum(CASE WHEN kind = 'late' THEN value END), 0) AS late FROM health"
    );
    let answer = engine.collect(&text, 1).await?;
    let number = |column: usize| {
        let batch = answer.batches.first()?;
        Some(batch.column(column).as_primitive_opt::<Int64Type>()?.value(0))
    };
    let [lost, shed, late] = [0, 1, 2].map(|column| number(column).unwrap_or_default());
    let mut parts = Vec::new();
    for (count, what) in [(lost, "lost"), (shed, "shed"), (late, "late")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let complete = parts.is_empty();
    let message = if complete {
        "complete".to_owned()
    } else {
        format!("records {} in this range; see Health", parts.join(", "))
    };
    Ok(Completeness { complete, lost, shed, late, probes_silent: 0, message })
}
