//! Traces that somebody keeps: their spans once more, in a table that lasts. A search doesn't look there, as Jaeger's doesn't in
//! its archive; a trace that is asked for by its id is found also when its spans are too old for `spans`.

use std::collections::HashSet;

use tokio::sync::Mutex;
use weir_model::tables::{ARCHIVED_SPANS, SPANS};
use weir_model::{BatchMeta, Row, SmolStr, SpanRow};
use weir_query::{Engine, TimeRange};

use super::failure::Failure;
use super::spans::{AROUND_NS, MOST_SPANS, rows_of};
use super::trace_id::TraceId;
use crate::{Api, times};

/// Who archives. One at a time, so that a second click finds what the first one did.
#[derive(Debug, Default)]
pub(crate) struct Archive(Mutex<Batches>);

/// Names this process's batches.
#[derive(Debug)]
struct Batches {
    boot_id: String,
    sequence: u64,
}

impl Default for Batches {
    fn default() -> Batches {
        Batches { boot_id: format!("archive-{}-{}", std::process::id(), times::now()), sequence: 0 }
    }
}

/// What makes a span that one: processes may share an id (Zipkin), not the rest.
type Identity = (Option<SmolStr>, Option<SmolStr>, i64, Option<SmolStr>, Option<SmolStr>);

fn identity(row: &SpanRow) -> Identity {
    (row.trace_id.clone(), row.span_id.clone(), row.time, row.kind.clone(), row.service.clone())
}

/// Keeps a trace: what it has by now and the archive lacks. `hint` is where a link says that it lies.
///
/// # Errors
/// 404 where there is no such trace; 500 where it is too large, or can't be stored.
pub(crate) async fn archive(api: &Api, id: TraceId, hint: Option<TimeRange>) -> Result<(), Failure> {
    if id.is_zero() {
        return Err(Failure::trace_not_found());
    }
    let batches = &mut *api.archive.0.lock().await;
    let hint = hint.map(|hint| hint.widened(AROUND_NS));
    let (mut found, mut is_cut) =
        rows_of(&api.engine, &SPANS, "*", &[id], hint.as_slice(), MOST_SPANS).await?;
    if found.is_empty() && hint.is_some() {
        (found, is_cut) = rows_of(&api.engine, &SPANS, "*", &[id], &[], MOST_SPANS).await?;
    }
    if is_cut {
        let message =
            format!("the trace has more than {MOST_SPANS} spans: no such trace is archived in part");
        return Err(Failure::internal(message));
    }
    let (archived, _) = rows_of(&api.engine, &ARCHIVED_SPANS, "*", &[id], &[], MOST_SPANS).await?;
    if found.is_empty() && archived.is_empty() {
        return Err(Failure::trace_not_found());
    }
    let archived: HashSet<Identity> = archived.iter().map(identity).collect();
    found.retain(|row| !archived.contains(&identity(row)));
    if found.is_empty() {
        return Ok(());
    }
    batches.sequence += 1;
    let meta = BatchMeta {
        table: ARCHIVED_SPANS.name.to_owned(),
        ..BatchMeta::of::<SpanRow>(&api.info.node, &batches.boot_id, batches.sequence)
    };
    let stored = api.store.append(vec![(meta, SpanRow::to_batch(&found))]).await;
    stored.map_err(|err| Failure::internal(format!("the trace was not archived: {err}")))
}

/// The spans of traces that are there, with those that only the archive has, in any order, and whether there were more than
/// [`MOST_SPANS`].
pub(crate) async fn rows_and_archived(
    engine: &Engine,
    ids: &[TraceId],
    ranges: &[TimeRange],
) -> Result<(Vec<SpanRow>, bool), Failure> {
    let (mut found, is_cut) = rows_of(engine, &SPANS, "*", ids, ranges, MOST_SPANS).await?;
    let in_archive = engine.store().snapshot(&ARCHIVED_SPANS);
    if is_cut || (in_archive.memory.is_empty() && in_archive.segments.is_empty()) {
        return Ok((found, is_cut));
    }
    let (archived, is_cut) = rows_of(engine, &ARCHIVED_SPANS, "*", ids, ranges, MOST_SPANS).await?;
    if !archived.is_empty() {
        let mut known: HashSet<Identity> = found.iter().map(identity).collect();
        // Several Weirs of one store may have archived the same.
        found.extend(archived.into_iter().filter(|row| known.insert(identity(row))));
    }
    let is_more = found.len() > MOST_SPANS;
    found.truncate(MOST_SPANS);
    Ok((found, is_cut || is_more))
}
