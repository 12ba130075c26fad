//! `jaeger.storage.v2`: what a Jaeger asks that has Weir as its remote storage. Traces are raw: Jaeger adjusts them itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use tonic::{Request, Response, Status};
use weir_otlp::proto::common::v1::{self as common, any_value::Value};
use weir_otlp::proto::trace::v1::TracesData;
use weir_otlp::value::to_text;
use weir_query::TimeRange;

use super::proto::storage_v2::capabilities_server::Capabilities;
use super::proto::storage_v2::dependency_reader_server::DependencyReader;
use super::proto::storage_v2::trace_reader_server::TraceReader;
use super::proto::storage_v2::{
    AnyValue, Dependency, FindTraceIDsRequest, FindTraceIDsResponse, FindTraceSummariesRequest,
    FindTraceSummariesResponse, FindTracesRequest, FoundTraceId, GetCapabilitiesRequest,
    GetCapabilitiesResponse, GetDependenciesRequest, GetDependenciesResponse, GetOperationsRequest,
    GetOperationsResponse, GetServicesRequest, GetServicesResponse, GetTracesRequest, KeyValue, Operation,
    SearchCapabilities, ServiceSummary, TraceQueryParameters, TraceSummary, any_value,
};
use super::proto::timestamp;
use super::{Messages, asked, chunks, ready};
use crate::Api;
use crate::jaeger::failure::computed;
use crate::jaeger::search::{self, Search};
use crate::jaeger::trace_id::TraceId;
use crate::jaeger::{dependencies, names, spans, summary};

/// Answers.
#[derive(Debug)]
pub(super) struct Reader(pub(super) Arc<Api>);

#[tonic::async_trait]
impl TraceReader for Reader {
    type GetTracesStream = Messages<TracesData>;
    type FindTracesStream = Messages<TracesData>;
    type FindTraceSummariesStream = Messages<FindTraceSummariesResponse>;

    async fn get_traces(
        &self,
        request: Request<GetTracesRequest>,
    ) -> Result<Response<Self::GetTracesStream>, Status> {
        let mut wanted = Vec::new();
        for asked in request.into_inner().query {
            let hint = asked::range(asked.start_time.as_ref(), asked.end_time.as_ref());
            wanted.push((asked::trace_id(&asked.trace_id)?, hint));
        }
        // One after another, as they are taken: each may be large.
        let api = self.0.clone();
        let traces = stream::iter(wanted).then(move |(id, hint)| of_one(api.clone(), id, hint));
        Ok(Response::new(
            traces.map_ok(|chunks| stream::iter(chunks.into_iter().map(Ok))).try_flatten().boxed(),
        ))
    }

    async fn get_services(
        &self,
        _: Request<GetServicesRequest>,
    ) -> Result<Response<GetServicesResponse>, Status> {
        let services = names::services(&self.0).await?;
        Ok(Response::new(GetServicesResponse { services }))
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Result<Response<GetOperationsResponse>, Status> {
        let GetOperationsRequest { service, span_kind } = request.into_inner();
        let operations = names::operations(&self.0, &service, &span_kind).await?;
        let operation =
            |operation: names::Operation| Operation { name: operation.name, span_kind: operation.span_kind };
        Ok(Response::new(GetOperationsResponse {
            operations: operations.into_iter().map(operation).collect(),
        }))
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Result<Response<Self::FindTracesStream>, Status> {
        let found = self.find(request.into_inner().query).await?;
        let traces = spans::found(&self.0.engine, &found, true).await?.whole()?;
        let chunks = move || traces.into_iter().flat_map(|trace| chunks::of_otlp(trace.groups)).collect();
        Ok(ready(computed(chunks).await?))
    }

    async fn find_trace_i_ds(
        &self,
        request: Request<FindTraceIDsRequest>,
    ) -> Result<Response<FindTraceIDsResponse>, Status> {
        let found = self.find(request.into_inner().query).await?;
        let end = |time: i64| Some(timestamp(time.max(0) as u64));
        let ranges = found.around(spans::AROUND_NS);
        let start = ranges.first().and_then(|range| end(range.from));
        let end = ranges.last().and_then(|range| end(range.until));
        let id = |id: &TraceId| FoundTraceId { trace_id: id.bytes(), start, end };
        Ok(Response::new(FindTraceIDsResponse { trace_ids: found.ids.iter().map(id).collect() }))
    }

    async fn find_trace_summaries(
        &self,
        request: Request<FindTraceSummariesRequest>,
    ) -> Result<Response<Self::FindTraceSummariesStream>, Status> {
        let found = self.find(request.into_inner().query).await?;
        let summaries = summary::summaries(&self.0.engine, &found).await?;
        let runs = chunks::split(summaries.into_iter().map(summary_of), prost::Message::encoded_len);
        let message = |summaries| FindTraceSummariesResponse { summaries };
        Ok(ready(runs.into_iter().map(message).collect()))
    }
}

#[tonic::async_trait]
impl DependencyReader for Reader {
    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<GetDependenciesResponse>, Status> {
        let GetDependenciesRequest { start_time, end_time } = request.into_inner();
        let range = asked::range(start_time.as_ref(), end_time.as_ref()).unwrap_or(TimeRange::ALL);
        let links = dependencies::links(&self.0.engine, range, None).await?;
        let dependency = |link: dependencies::Link| Dependency {
            parent: link.parent,
            child: link.child,
            call_count: link.call_count,
            source: String::new(),
        };
        let dependencies = links.into_iter().map(dependency).collect();
        Ok(Response::new(GetDependenciesResponse { dependencies }))
    }
}

#[tonic::async_trait]
impl Capabilities for Reader {
    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        let search = SearchCapabilities { without_service_name: true, same_span_conjunction: true };
        Ok(Response::new(GetCapabilitiesResponse { search: Some(search) }))
    }
}

impl Reader {
    async fn find(&self, query: Option<TraceQueryParameters>) -> Result<search::Found, Status> {
        Ok(asked_search(query)?.find(&self.0.engine).await?)
    }
}

/// The messages of one trace; none where it is not there.
async fn of_one(api: Arc<Api>, id: TraceId, hint: Option<TimeRange>) -> Result<Vec<TracesData>, Status> {
    let Some(trace) = spans::trace(&api.engine, id, hint, true).await? else { return Ok(Vec::new()) };
    Ok(computed(move || chunks::of_otlp(trace.said_if_cut().groups)).await?)
}

fn asked_search(query: Option<TraceQueryParameters>) -> Result<Search, Status> {
    let query = query.ok_or_else(|| Status::invalid_argument("missing query"))?;
    if query.filter.is_some() {
        return Err(asked::no_filters());
    }
    let mut tags = BTreeMap::new();
    for KeyValue { key, value } in query.attributes {
        let (text, _) = to_text(value.map(otlp).as_ref());
        tags.insert(key, text.to_string());
    }
    let start = asked::range(query.start_time_min.as_ref(), query.start_time_max.as_ref());
    Ok(asked::search(
        [query.service_name, query.operation_name],
        tags,
        start.unwrap_or(TimeRange::ALL),
        [query.duration_min.as_ref(), query.duration_max.as_ref()],
        query.search_depth,
    ))
}

/// The same value in OpenTelemetry's own message.
fn otlp(value: AnyValue) -> common::AnyValue {
    let entry = |KeyValue { key, value }| common::KeyValue { key, value: value.map(otlp), key_strindex: 0 };
    let value = value.value.map(|value| match value {
        any_value::Value::StringValue(text) => Value::StringValue(text),
        any_value::Value::BoolValue(claim) => Value::BoolValue(claim),
        any_value::Value::IntValue(number) => Value::IntValue(number),
        any_value::Value::DoubleValue(number) => Value::DoubleValue(number),
        any_value::Value::BytesValue(bytes) => Value::BytesValue(bytes),
        any_value::Value::ArrayValue(array) => {
            Value::ArrayValue(common::ArrayValue { values: array.values.into_iter().map(otlp).collect() })
        }
        any_value::Value::KvlistValue(map) => {
            Value::KvlistValue(common::KeyValueList { values: map.values.into_iter().map(entry).collect() })
        }
    });
    common::AnyValue { value }
}

fn summary_of(summary: summary::Summary) -> TraceSummary {
    let service = |service: summary::Service| ServiceSummary {
        name: service.name,
        span_count: service.counts.span_count as i32,
        error_span_count: service.counts.error_span_count as i32,
    };
    TraceSummary {
        trace_id: summary.trace_id.bytes(),
        root_service_name: summary.root_service_name,
        root_operation_name: summary.root_operation_name,
        min_start_time_unix_nano: summary.min_start_time_unix_nano,
        max_end_time_unix_nano: summary.max_end_time_unix_nano,
        span_count: summary.counts.span_count as i32,
        error_span_count: summary.counts.error_span_count as i32,
        orphan_span_count: summary.orphan_span_count as i32,
        services: summary.services.into_iter().map(service).collect(),
    }
}
