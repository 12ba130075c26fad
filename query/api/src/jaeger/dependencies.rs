//! Who calls whom: requests between services, each counted once, whichever spans tell of it.

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
    pub(crate) parent: String,
    pub(crate) child: String,
    pub(crate) call_count: u64,
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

/// One statement, in three parts, each of which counts what the others leave out:
///
/// - `told`: a span whose parent is another service's. Where the parent is what the network saw of an application's own
///   client, that one gives the name.
/// - `begun`: an application's server span whose client sent none, or no context: the network's spans say who asked.
/// - `opened`: connections with no request that anything tells of, both ends seen.
fn sql(range: TimeRange, service: Option<&str>) -> String {
    let of_service = service
        .map(quoted)
        .map_or(String::new(), |service| format!(" AND (parent = {service} OR child = {service})"));
    format!(
        "WITH near AS (SELECT * FROM spans WHERE {near} AND service IS NOT NULL), \
         called AS (SELECT * FROM spans WHERE {range} AND service IS NOT NULL AND parent_span_id IS NOT NULL), \
         told AS (SELECT coalesce(app.service, caller.service) AS parent, called.service AS child, count(*) AS calls \
           FROM called JOIN near AS caller \
             ON called.trace_id = caller.trace_id AND called.parent_span_id = caller.span_id \
           LEFT JOIN near AS app ON app.trace_id = caller.trace_id \
             AND app.span_id = coalesce(caller.application_span_id, caller.parent_span_id) \
             AND caller.source = 'stitched' AND caller.kind = 'client' AND app.source = 'otlp' AND app.kind = 'client' \
           WHERE coalesce(called.request, true) \
             AND (coalesce(called.source, '') <> 'stitched' OR coalesce(called.kind, '') <> 'client') \
           GROUP BY 1, 2), \
         begun AS (SELECT asked.service AS parent, app.service AS child, count(*) AS calls \
           FROM called JOIN near AS asked \
             ON called.trace_id = asked.trace_id AND called.parent_span_id = asked.span_id \
           JOIN near AS app ON app.trace_id = called.trace_id AND app.span_id = called.application_span_id \
           LEFT JOIN near AS above ON above.trace_id = app.trace_id AND above.span_id = app.parent_span_id \
           WHERE called.source = 'stitched' AND called.kind = 'server' AND above.span_id IS NULL \
           GROUP BY 1, 2), \
         opened AS (SELECT caller.service AS parent, called.service AS child, \
             count(DISTINCT called.connection_id) AS calls \
           FROM called JOIN near AS caller \
             ON called.trace_id = caller.trace_id AND called.parent_span_id = caller.span_id \
           LEFT JOIN (SELECT DISTINCT connection_id FROM near WHERE source = 'stitched' \
             AND (request = true OR application_span_id IS NOT NULL)) AS asked \
             ON asked.connection_id = called.connection_id \
           WHERE called.source = 'stitched' AND called.request = false AND called.application_span_id IS NULL \
             AND called.kind = 'server' AND asked.connection_id IS NULL \
           GROUP BY 1, 2) \
         SELECT parent, child, sum(calls) AS calls \
         FROM (SELECT * FROM told UNION ALL SELECT * FROM begun UNION ALL SELECT * FROM opened) AS links \
         WHERE parent <> child{of_service} GROUP BY 1, 2 ORDER BY 1, 2",
        near = range.widened(AROUND_NS).condition(),
        range = range.condition(),
    )
}
