//! `jaeger.api_v3.QueryService`: spans in OpenTelemetry's form.
//!
//! A trace that is not there is `NOT_FOUND`, as in Jaegers after 2.20, which themselves answer nothing at all.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use weir_otlp::proto::trace::v1::TracesData;

use super::proto::api_v3::query_service_server::QueryService;
use super::proto::api_v3::{
    DependenciesResponse, Dependency, FindTraceSummariesRequest, FindTraceSummariesResponse,
    FindTracesRequest, GetDependenciesRequest, GetOperationsRequest, GetOperationsResponse,
    GetServicesRequest, GetServicesResponse, GetTraceRequest, Operation, ServiceSummary,
    TraceQueryParameters, TraceSummary,
};
use super::{Messages, asked, chunks, ready};
use crate::Api;
use crate::jaeger::failure::{Failure, computed};
use crate::jaeger::search::Search;
use crate::jaeger::trace_id::TraceId;
use crate::jaeger::{dependencies, names, spans, summary};

/// Answers.
#[derive(Debug)]
pub(super) struct Query(pub(super) Arc<Api>);

#[tonic::async_trait]
impl QueryService for Query {
    type GetTraceStream = Messages<TracesData>;
    type FindTracesStream = Messages<TracesData>;
    type FindTraceSummariesStream = Messages<FindTraceSummariesResponse>;

    async fn get_trace(
        &self,
        request: Request<GetTraceRequest>,
    ) -> Result<Response<Self::GetTraceStream>, Status> {
        let asked = request.into_inner();
        let id = TraceId::parse(&asked.trace_id)
            .map_err(|why| Status::invalid_argument(format!("malform trace ID: {why}")))?;
        let hint = asked::range(asked.start_time.as_ref(), asked.end_time.as_ref());
        let found = spans::trace(&self.0.engine, id, hint, asked.raw_traces).await?;
        let trace = found.ok_or_else(Failure::trace_not_found)?;
        Ok(ready(computed(move || chunks::of_otlp(trace.said_if_cut().groups)).await?))
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Result<Response<Self::FindTracesStream>, Status> {
        let (search, is_raw) = search(request.into_inner().query)?;
        let found = search.find(&self.0.engine).await?;
        let traces = spans::found(&self.0.engine, &found, is_raw).await?.whole()?;
        let chunks = move || traces.into_iter().flat_map(|trace| chunks::of_otlp(trace.groups)).collect();
        Ok(ready(computed(chunks).await?))
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

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<DependenciesResponse>, Status> {
        let GetDependenciesRequest { start_time, end_time } = request.into_inner();
        let why = "start time and end time are required parameters";
        let range = asked::whole_range(start_time.as_ref(), end_time.as_ref(), why)?;
        let links = dependencies::links(&self.0.engine, range, None).await?;
        let dependency = |link: dependencies::Link| Dependency {
            parent: link.parent,
            child: link.child,
            call_count: link.call_count,
        };
        Ok(Response::new(DependenciesResponse { dependencies: links.into_iter().map(dependency).collect() }))
    }

    async fn find_trace_summaries(
        &self,
        request: Request<FindTraceSummariesRequest>,
    ) -> Result<Response<Self::FindTraceSummariesStream>, Status> {
        let (search, _) = search(request.into_inner().query)?;
        let found = search.find(&self.0.engine).await?;
        let summaries = summary::summaries(&self.0.engine, &found).await?;
        let runs = chunks::split(summaries.into_iter().map(summary_of), prost::Message::encoded_len);
        let message = |summaries| FindTraceSummariesResponse { summaries };
        Ok(ready(runs.into_iter().map(message).collect()))
    }
}

/// What is looked for, and whether it is to be raw.
fn search(query: Option<TraceQueryParameters>) -> Result<(Search, bool), Status> {
    let query = query.ok_or_else(|| Status::invalid_argument("missing query"))?;
    if query.filter.is_some() {
        return Err(asked::no_filters());
    }
    let why = "start time min and max are required parameters";
    let start = asked::whole_range(query.start_time_min.as_ref(), query.start_time_max.as_ref(), why)?;
    let search = asked::search(
        [query.service_name, query.operation_name],
        query.attributes.into_iter().collect(),
        start,
        [query.duration_min.as_ref(), query.duration_max.as_ref()],
        query.search_depth,
    );
    Ok((search, query.raw_traces))
}

fn summary_of(summary: summary::Summary) -> TraceSummary {
    let service = |service: summary::Service| ServiceSummary {
        name: service.name,
        span_count: service.counts.span_count as i32,
        error_span_count: service.counts.error_span_count as i32,
    };
    TraceSummary {
        trace_id: summary.trace_id.long(),
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
