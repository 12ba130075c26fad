//! `/api/v3/…`: Jaeger's own gateway of its gRPC API, where newer jaeger-ui search. OTLP/JSON and proto3's JSON.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use weir_otlp::json::encode;
use weir_query::TimeRange;

use super::envelope;
use super::failure::{Failure, computed};
use super::params::{self, Params};
use super::search::Search;
use super::spans::{self, Asked, Trace, Traces};
use super::trace_id::TraceId;
use super::{go_duration, go_time, names, summary};
use crate::turn::InTurn;

const USUAL_DEPTH: i64 = 100;

type Answer = Result<Response, V3Failure>;

/// A [`Failure`] in v3's form.
#[derive(Debug)]
pub(super) struct V3Failure(Failure);

impl<E: Into<Failure>> From<E> for V3Failure {
    fn from(failure: E) -> V3Failure {
        V3Failure(failure.into())
    }
}

impl IntoResponse for V3Failure {
    fn into_response(self) -> Response {
        let V3Failure(Failure { status, message }) = self;
        envelope::error(status, &json!({"error": {"httpCode": status.as_u16(), "message": message}}))
    }
}

/// `GET /api/v3/services`
pub(super) async fn services(InTurn(api): InTurn) -> Answer {
    let services = names::services(&api).await?;
    Ok(answer(&json!({ "services": services })))
}

/// `GET /api/v3/operations?service=…&spanKind=…`
pub(super) async fn operations(InTurn(api): InTurn, params: Params) -> Answer {
    let kind = params.first(&["spanKind", "span_kind"]).map_or("", |(kind, _)| kind);
    let Some(service) = params.get("service") else {
        return Ok(answer(&json!({ "operations": [] })));
    };
    let mut operations = names::operations(&api, service, kind).await?;
    for operation in &mut operations {
        if operation.span_kind.is_empty() {
            "internal".clone_into(&mut operation.span_kind);
        }
    }
    operations.sort_unstable();
    operations.dedup();
    Ok(answer(&json!({ "operations": operations })))
}

/// `GET /api/v3/traces`: all traces found, in one document.
pub(super) async fn search(InTurn(api): InTurn, params: Params) -> Answer {
    let (search, is_raw) = asked(&params).map_err(Failure::bad_request)?;
    let found = search.find(&api.engine).await?;
    document(spans::found(&api.engine, &found, is_raw).await?.whole()?).await
}

/// `GET /api/v3/traces/{id}`
pub(super) async fn trace(InTurn(api): InTurn, Path(id): Path<String>, params: Params) -> Answer {
    let (id, hint, is_raw) = one(&id, &params).map_err(Failure::bad_request)?;
    let found = spans::trace(&api.engine, id, hint, is_raw).await?;
    let Asked { trace, is_cut } = found.ok_or_else(none_found)?;
    document(Traces { traces: vec![trace], is_cut }.whole()?).await
}

/// `GET /api/v3/trace-summaries`: the search page of jaeger-ui since v2.19.
pub(super) async fn summaries(InTurn(api): InTurn, params: Params) -> Answer {
    let (search, _) = asked(&params).map_err(Failure::bad_request)?;
    let found = search.find(&api.engine).await?;
    let summaries = summary::summaries(&api.engine, &found).await?;
    Ok(answer(&json!({ "summaries": summaries })))
}

fn answer(body: &Json) -> Response {
    envelope::json(body.to_string().into_bytes())
}

fn none_found() -> Failure {
    Failure { status: StatusCode::NOT_FOUND, message: "No traces found".to_owned() }
}

async fn document(traces: Vec<Trace>) -> Answer {
    if traces.is_empty() {
        return Err(none_found().into());
    }
    let bytes = computed(move || {
        let groups: Vec<_> = traces.into_iter().flat_map(|trace| trace.groups).collect();
        json!({ "result": encode::traces(&groups) }).to_string().into_bytes()
    });
    Ok(envelope::json(bytes.await?))
}

/// What a search asks, and whether its traces are to be raw. Every name has an older form with underscores.
fn asked(params: &Params) -> Result<(Search, bool), String> {
    let text = |names: [&'static str; 2]| params.first(&names).map(|(text, _)| text.to_owned());
    let service = text(["query.serviceName", "query.service_name"]);
    let operation = text(["query.operationName", "query.operation_name"]);
    let tags = read(params, &["query.attributes"], params::string_map)?.unwrap_or_default();
    if params.get("query.filter").is_some() {
        return Err(
            "malformed parameter query.filter: filters are not supported: use query.attributes".to_owned()
        );
    }
    let bounds =
        [["query.startTimeMin", "query.start_time_min"], ["query.startTimeMax", "query.start_time_max"]];
    if bounds.iter().any(|names| params.first(names).is_none()) {
        return Err("query.startTimeMin and query.startTimeMax are required".to_owned());
    }
    let [from, until] = bounds.map(|names| read(params, &names, go_time::parse));
    let (from, until) = (from?.unwrap_or_default(), until?.unwrap_or_default());
    if from >= until {
        return Err("query.startTimeMin must be before query.startTimeMax".to_owned());
    }
    let depth = ["query.searchDepth", "query.search_depth", "query.num_traces"];
    let limit = read(params, &depth, params::int)?.unwrap_or(USUAL_DEPTH);
    let duration = |names: [&'static str; 2]| {
        Ok::<_, String>(read(params, &names, go_duration::parse)?.unwrap_or_default())
    };
    let min_duration = duration(["query.durationMin", "query.duration_min"])?;
    let max_duration = duration(["query.durationMax", "query.duration_max"])?;
    let is_raw = read(params, &["query.rawTraces", "query.raw_traces"], params::boolean)?.unwrap_or_default();
    let start = TimeRange { from, until };
    Ok((Search { service, operation, tags, start, min_duration, max_duration, limit }, is_raw))
}

/// Which trace, where it may lie, and whether it is to be raw.
fn one(id: &str, params: &Params) -> Result<(TraceId, Option<TimeRange>, bool), String> {
    let id = TraceId::parse(id).map_err(|why| format!("malformed parameter trace_id: {why}"))?;
    let start = read(params, &["startTime", "start_time"], go_time::parse)?;
    let end = read(params, &["endTime", "end_time"], go_time::parse)?;
    let is_raw = read(params, &["rawTraces", "raw_traces"], params::boolean)?.unwrap_or_default();
    Ok((id, TimeRange::known(start, end), is_raw))
}

/// A parameter under the first of its names, with v3's words where it can't be read.
fn read<T>(
    params: &Params,
    names: &[&'static str],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let found = params.first(names);
    found
        .map(|(text, name)| parse(text).map_err(|why| format!("malformed parameter {name}: {why}")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: &str = "query.startTimeMin=1970-01-01T00:00:01Z&query.startTimeMax=1970-01-01T00:00:02.5Z";

    fn search_of(query: &str) -> Result<Search, String> {
        asked(&Params::read(query)).map(|(search, _)| search)
    }

    #[test]
    fn both_forms_of_every_name_are_read() {
        let new = search_of(&format!(
            "{TIMES}&query.serviceName=s&query.operationName=o&query.attributes={{\"a\":\"b\"}}\
             &query.searchDepth=7&query.durationMin=1.5ms&query.durationMax=2s"
        ));
        let old = search_of(
            "query.start_time_min=1970-01-01T02:00:01+02:00&query.start_time_max=1970-01-01T00:00:02.5Z\
             &query.service_name=s&query.operation_name=o&query.attributes={\"a\":\"b\"}\
             &query.num_traces=7&query.duration_min=1.5ms&query.duration_max=2s",
        );
        assert_eq!(new, old);
        let search = new.expect("reads");
        assert_eq!(search.start, TimeRange { from: 1_000_000_000, until: 2_500_000_000 });
        assert_eq!((search.min_duration, search.max_duration, search.limit), (1_500_000, 2_000_000_000, 7));
        let plain = search_of(TIMES).expect("a search over all services");
        assert_eq!((plain.service, plain.limit), (None, 100));
    }

    #[test]
    fn what_is_wrong_is_said_in_jaeger_s_words() {
        let required = "query.startTimeMin and query.startTimeMax are required";
        for (query, error) in [
            (String::new(), required),
            ("query.startTimeMin=1970-01-01T00:00:01Z".to_owned(), required),
            (
                "query.startTimeMin=1970-01-01T00:00:01Z&query.startTimeMax=1970-01-01T00:00:01Z".to_owned(),
                "query.startTimeMin must be before query.startTimeMax",
            ),
            (
                "query.start_time_min=x&query.startTimeMax=1970-01-01T00:00:01Z".to_owned(),
                r#"malformed parameter query.start_time_min: parsing time "x" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "x" as "2006""#,
            ),
            (
                format!("{TIMES}&query.durationMin=1"),
                r#"malformed parameter query.durationMin: time: missing unit in duration "1""#,
            ),
            (
                format!("{TIMES}&query.searchDepth=x"),
                r#"malformed parameter query.searchDepth: strconv.Atoi: parsing "x": invalid syntax"#,
            ),
            (
                format!("{TIMES}&query.attributes={{\"a\":1}}"),
                "malformed parameter query.attributes: json: cannot unmarshal number into Go value of type string",
            ),
        ] {
            assert_eq!(search_of(&query), Err(error.to_owned()), "{query}");
        }
        assert_eq!(
            one("zz-", &Params::default()).map(|_| ()),
            Err("malformed parameter trace_id: invalid length for TraceID".to_owned())
        );
    }
}
