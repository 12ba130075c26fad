//! Who calls whom: spans whose parent is another service's, counted.

use serde::Serialize;
use weir_query::{Engine, TimeRange};

use super::failure::Failure;
use super::names::texts;
use super::spans::AROUND_NS;
use crate::filter::quoted;

/// `parent` called `child` that often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    parent: String,
    child: String,
    call_count: u64,
}

/// The calls whose called span started in `range`; of `service` only, where one is named. The caller's span may have
/// started before.
pub(crate) async fn links(
    engine: &Engine,
    range: TimeRange,
    service: Option<&str>,
) -> Result<Vec<Link>, Failure> {
    let rows: Vec<[String; 3]> = texts(engine, &sql(range, service)).await?;
    let link = |[parent, child, count]: [String; 3]| Link {
        parent,
        child,
        call_count: count.parse().unwrap_or_default(),
    };
    Ok(rows.into_iter().map(link).collect())
}

fn sql(range: TimeRange, service: Option<&str>) -> String {
    let of_service = service.map(quoted).map_or(String::new(), |service| {
        format!(" AND (caller.service = {service} OR called.service = {service})")
    });
    format!(
        "WITH called AS (SELECT trace_id, parent_span_id, service FROM spans \
         WHERE {} AND parent_span_id IS NOT NULL AND service IS NOT NULL), \
         caller AS (SELECT trace_id, span_id, service FROM spans WHERE {} AND service IS NOT NULL) \
         SELECT caller.service AS parent, called.service AS child, count(*) AS calls \
         FROM called JOIN caller ON called.trace_id = caller.trace_id AND called.parent_span_id = caller.span_id \
         WHERE caller.service <> called.service{of_service} GROUP BY 1, 2 ORDER BY 1, 2",
        range.condition(),
        range.widened(AROUND_NS).condition(),
    )
}
