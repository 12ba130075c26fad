//! `/api/…`: services, operations, search, traces, dependencies. Every jaeger-ui opens traces here; those before v2.16,
//! and Grafana, ask for all else here too.

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::Response;
use serde::Serialize;
use weir_query::TimeRange;

use super::envelope::{Envelope, Problem, V1Failure, json};
use super::failure::{Failure, computed};
use super::params::{self, Params};
use super::search::Search;
use super::spans::{self, MOST_SPANS, Trace};
use super::trace_id::TraceId;
use super::{archive, dependencies as calls, go_duration, names, trace_v1};
use crate::times;
use crate::turn::InTurn;

const USUAL_LIMIT: i64 = 100;
const USUAL_LOOKBACK_NS: i64 = 48 * 3_600_000_000_000;
const USUAL_DEPENDENCIES_MS: i64 = 24 * 3_600_000;
/// Times below this are no microseconds of our age, but milliseconds: older Grafana sends those.
const MILLISECONDS_BELOW: i64 = 100_000_000_000_000;

type Answer = Result<Response, V1Failure>;

/// `GET /api/services`
pub(super) async fn services(InTurn(api): InTurn, params: Params) -> Answer {
    let names = names::services(&api).await?;
    counted(&params, &names, names.len())
}

/// `GET /api/services/{service}/operations`: `null` for a service that isn't known.
pub(super) async fn operation_names(
    InTurn(api): InTurn,
    Path(service): Path<String>,
    params: Params,
) -> Answer {
    let operations = names::operations(&api, &service, "").await?;
    let mut names: Vec<String> = operations.into_iter().map(|operation| operation.name).collect();
    names.dedup();
    let total = names.len();
    counted(&params, &(total > 0).then_some(names), total)
}

/// `GET /api/operations?service=…&spanKind=…`
pub(super) async fn operations(InTurn(api): InTurn, params: Params) -> Answer {
    let service = params.get("service").ok_or_else(service_is_required)?;
    let operations = names::operations(&api, service, params.get("spanKind").unwrap_or_default()).await?;
    counted(&params, &operations, operations.len())
}

fn counted(params: &Params, data: &impl Serialize, total: usize) -> Answer {
    Ok(json(Envelope::counted(data, total).encode(params.is_pretty())?))
}

/// `GET /api/traces`: by what spans are, or by `traceID=…`.
pub(super) async fn search(InTurn(api): InTurn, params: Params) -> Answer {
    let asked = asked(&params, times::now()).map_err(Failure::bad_request)?;
    let is_pretty = params.is_pretty();
    let found = if asked.ids.is_empty() {
        spans::found(&api.engine, &asked.search.find(&api.engine).await?, asked.is_raw).await?
    } else {
        spans::traces(&api.engine, &asked.ids, None, asked.is_raw).await?
    };
    let mut problems = Vec::new();
    for id in asked.ids {
        if !found.traces.iter().any(|trace| trace.id == id) {
            let msg = Failure::trace_not_found().message;
            problems.push(Problem { code: None, msg, trace_id: Some(id.short()) });
        }
    }
    if found.is_cut {
        let msg = format!("only {MOST_SPANS} spans of these traces are shown: lower the limit");
        problems.push(Problem { code: None, msg, trace_id: None });
    }
    encoded(found.traces, problems, is_pretty, None).await
}

/// What a search asks.
#[derive(Debug)]
struct Asked {
    search: Search,
    ids: Vec<TraceId>,
    is_raw: bool,
}

fn asked(params: &Params, now: i64) -> Result<Asked, String> {
    let time = |name, usual| Ok::<_, String>(params.parsed(name, microseconds)?.unwrap_or(usual));
    let start = TimeRange { from: time("start", now - USUAL_LOOKBACK_NS)?, until: time("end", now)? };
    let mut tags = std::collections::BTreeMap::new();
    for tag in params.all("tag") {
        let (key, value) = tag
            .split_once(':')
            .ok_or_else(|| format!("malformed 'tag' parameter, expecting key:value, received: {tag}"))?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    for json in params.all("tags") {
        tags.append(
            &mut params::string_map(json)
                .map_err(|why| format!("malformed 'tags' parameter, cannot unmarshal JSON: {why}"))?,
        );
    }
    let limit = params.get("limit").map(params::int32).transpose()?.unwrap_or(USUAL_LIMIT);
    let duration = |name| Ok::<_, String>(params.parsed(name, go_duration::parse)?.unwrap_or_default());
    let (min_duration, max_duration) = (duration("minDuration")?, duration("maxDuration")?);
    let ids = params.all("traceID").map(TraceId::parse_hex).collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(|why| format!("cannot parse traceID param: {why}"))?;
    let is_raw = params.flag("raw")?;
    let service = params.get("service").map(str::to_owned);
    if ids.is_empty() && service.is_none() {
        return Err(service_is_required().message);
    }
    if min_duration != 0 && max_duration != 0 && max_duration < min_duration {
        return Err("'maxDuration' should be greater than 'minDuration'".to_owned());
    }
    let operation = params.get("operation").map(str::to_owned);
    let search = Search { service, operation, tags, start, min_duration, max_duration, limit };
    Ok(Asked { search, ids, is_raw })
}

fn service_is_required() -> Failure {
    Failure::bad_request("parameter 'service' is required")
}

/// UTC nanoseconds of microseconds.
fn microseconds(text: &str) -> Result<i64, String> {
    Ok(params::int64(text)?.saturating_mul(1_000))
}

/// `GET /api/traces/{id}`
pub(super) async fn trace(InTurn(api): InTurn, Path(id): Path<String>, params: Params) -> Answer {
    let (id, hint, is_raw) = one(&id, &params).map_err(Failure::bad_request)?;
    let found = spans::trace(&api.engine, id, hint, is_raw).await?;
    let found = found.ok_or_else(Failure::trace_not_found)?;
    let warning = found.warning();
    encoded(vec![found.trace], Vec::new(), params.is_pretty(), warning).await
}

/// Which trace, where it may lie, and whether it is to be raw.
fn one(id: &str, params: &Params) -> Result<(TraceId, Option<TimeRange>, bool), String> {
    let id = TraceId::parse(id)?;
    let start = params.parsed("start", micro_or_milliseconds)?;
    let end = params.parsed("end", micro_or_milliseconds)?;
    let is_raw = params.flag("raw")?;
    Ok((id, TimeRange::known(start, end), is_raw))
}

fn micro_or_milliseconds(text: &str) -> Result<i64, String> {
    let number = params::int64(text)?;
    let in_ns = if number < MILLISECONDS_BELOW { 1_000_000 } else { 1_000 };
    Ok(number.saturating_mul(in_ns))
}

/// `POST /api/archive/{id}`
pub(super) async fn archive(InTurn(api): InTurn, Path(id): Path<String>, params: Params) -> Answer {
    let (id, hint, _) = one(&id, &params).map_err(Failure::bad_request)?;
    archive::archive(&api, id, hint).await?;
    Ok(json(Envelope::done([(); 0]).encode(params.is_pretty())?))
}

/// `POST /api/transform`: OTLP/JSON that somebody dropped on the page, as a search would answer.
pub(super) async fn transform(params: Params, body: Bytes) -> Answer {
    let is_pretty = params.is_pretty();
    let bytes = computed(move || {
        let groups = weir_otlp::json::decode::traces(&body)
            .map_err(|err| Failure::bad_request(format!("cannot unmarshal OTLP : {err}")))?;
        Envelope::uncounted(trace_v1::traces(&groups), Vec::new()).encode(is_pretty)
    });
    Ok(json(bytes.await??))
}

/// `GET /api/dependencies?endTs=…&lookback=…`, milliseconds both.
pub(super) async fn dependencies(InTurn(api): InTurn, params: Params) -> Answer {
    let asked = params.looking_back(times::now(), USUAL_DEPENDENCIES_MS);
    let (end_ms, lookback_ms) = asked.map_err(Failure::bad_request)?;
    let [until, lookback] = [end_ms, lookback_ms].map(|ms| ms.saturating_mul(1_000_000));
    let range = TimeRange { from: until.saturating_sub(lookback), until };
    let links = calls::links(&api.engine, range, params.get("service")).await?;
    Ok(json(Envelope::uncounted(links, Vec::new()).encode(params.is_pretty())?))
}

/// `GET /api/deep-dependencies`: Jaeger answers a sample that it carries.
pub(super) async fn deep_dependencies() -> V1Failure {
    let why = "Weir follows no paths through many services: /api/dependencies has who calls whom";
    Failure::not_offered(why).into()
}

/// `GET /api/quality-metrics`: Jaeger answers a sample that it carries.
pub(super) async fn quality_metrics() -> V1Failure {
    Failure::not_offered("Weir does not judge how well services are instrumented").into()
}

async fn encoded(
    traces: Vec<Trace>,
    problems: Vec<Problem>,
    is_pretty: bool,
    warning: Option<String>,
) -> Answer {
    let bytes = computed(move || {
        let mut shown: Vec<trace_v1::Trace> =
            traces.iter().flat_map(|trace| trace_v1::traces(&trace.groups)).collect();
        if let (Some(trace), Some(warning)) = (shown.first_mut(), warning) {
            trace.warn(warning);
        }
        Envelope::uncounted(shown, problems).encode(is_pretty)
    });
    Ok(json(bytes.await??))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    fn read(query: &str) -> Result<Asked, String> {
        asked(&Params::read(query), NOW)
    }

    #[test]
    fn a_search_is_read_with_its_defaults() {
        let asked = read("service=shop").expect("reads");
        assert_eq!(asked.search.start, TimeRange { from: NOW - USUAL_LOOKBACK_NS, until: NOW });
        assert_eq!(asked.search.limit, 100);
        // What the page sends, with its empty fields and the lookback that only it understands.
        let full = read(
            "service=shop&operation=GET%20%2F&start=1700000000000000&end=1700000001000000&limit=20&lookback=1h\
             &minDuration=1.5ms&maxDuration=&tags=%7B%22error%22%3A%22true%22%7D&tag=a%3Ab%3Ac&raw=1",
        )
        .expect("reads");
        assert_eq!(full.search.operation.as_deref(), Some("GET /"));
        assert_eq!(full.search.start, TimeRange { from: NOW, until: NOW + 1_000_000_000 });
        assert_eq!((full.search.min_duration, full.search.max_duration), (1_500_000, 0));
        let tags: Vec<_> = full.search.tags.into_iter().collect();
        assert_eq!(tags, [("a".into(), "b:c".into()), ("error".into(), "true".into())]);
        assert!(full.is_raw);
    }

    #[test]
    fn what_is_wrong_is_said_in_jaeger_s_words() {
        for (query, error) in [
            ("", "parameter 'service' is required"),
            (
                "service=s&start=x",
                r#"unable to parse param 'start': strconv.ParseInt: parsing "x": invalid syntax"#,
            ),
            (
                "service=s&end=1.5",
                r#"unable to parse param 'end': strconv.ParseInt: parsing "1.5": invalid syntax"#,
            ),
            ("service=s&limit=x", r#"strconv.ParseInt: parsing "x": invalid syntax"#),
            (
                "service=s&minDuration=20",
                r#"unable to parse param 'minDuration': time: missing unit in duration "20""#,
            ),
            ("service=s&minDuration=2s&maxDuration=1s", "'maxDuration' should be greater than 'minDuration'"),
            (
                "service=s&tags=",
                "malformed 'tags' parameter, cannot unmarshal JSON: unexpected end of JSON input",
            ),
            (
                "service=s&tags={%22a%22:1}",
                "malformed 'tags' parameter, cannot unmarshal JSON: json: cannot unmarshal number into Go value of type string",
            ),
            ("service=s&tag=x", "malformed 'tag' parameter, expecting key:value, received: x"),
            ("traceID=zz", r#"cannot parse traceID param: strconv.ParseUint: parsing "zz": invalid syntax"#),
            (
                "service=s&raw=x",
                r#"unable to parse param 'raw': strconv.ParseBool: parsing "x": invalid syntax"#,
            ),
        ] {
            assert_eq!(read(query).map(|_| ()), Err(error.to_owned()), "{query}");
        }
    }

    /// Grafana before 11 sends the range of its dashboard in milliseconds.
    #[test]
    fn a_hint_in_milliseconds_is_understood() {
        for query in ["start=1700000000000000", "start=1700000000000"] {
            let (_, hint, _) = one("1f", &Params::read(query)).expect("reads");
            assert_eq!(hint, Some(TimeRange { from: NOW, until: i64::MAX }));
        }
        assert_eq!(one("1f", &Params::default()).map(|(_, hint, _)| hint), Ok(None));
    }
}
