//! `jaeger.api_v2.QueryService`: spans in Jaeger's own form.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::proto::api_v2::query_service_server::QueryService;
use super::proto::api_v2::{
    ArchiveTraceRequest, ArchiveTraceResponse, DependencyLink, FindTracesRequest, GetDependenciesRequest,
    GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse, GetServicesRequest,
    GetServicesResponse, GetTraceRequest, Operation, SpansResponseChunk,
};
use super::{Messages, asked, chunks, ready};
use crate::Api;
use crate::jaeger::failure::{Failure, computed};
use crate::jaeger::{archive, dependencies, names, spans};
use weir_query::TimeRange;

/// Answers.
#[derive(Debug)]
pub(super) struct Query(pub(super) Arc<Api>);

#[tonic::async_trait]
impl QueryService for Query {
    type GetTraceStream = Messages<SpansResponseChunk>;
    type FindTracesStream = Messages<SpansResponseChunk>;

    async fn get_trace(
        &self,
        request: Request<GetTraceRequest>,
    ) -> Result<Response<Self::GetTraceStream>, Status> {
        let asked = request.into_inner();
        let id = asked::trace_id(&asked.trace_id)?;
        let hint = asked::range(asked.start_time.as_ref(), asked.end_time.as_ref());
        let found = spans::trace(&self.0.engine, id, hint, asked.raw_traces).await?;
        let trace = found.ok_or_else(Failure::trace_not_found)?;
        Ok(ready(computed(move || chunks::of_api_v2(&trace.said_if_cut().groups)).await?))
    }

    async fn archive_trace(
        &self,
        request: Request<ArchiveTraceRequest>,
    ) -> Result<Response<ArchiveTraceResponse>, Status> {
        let asked = request.into_inner();
        let id = asked::trace_id(&asked.trace_id)?;
        let hint = asked::range(asked.start_time.as_ref(), asked.end_time.as_ref());
        archive::archive(&self.0, id, hint).await?;
        Ok(Response::new(ArchiveTraceResponse {}))
    }

    async fn find_traces(
        &self,
        request: Request<FindTracesRequest>,
    ) -> Result<Response<Self::FindTracesStream>, Status> {
        let query = request.into_inner().query.ok_or_else(|| Status::invalid_argument("missing query"))?;
        let start = asked::range(query.start_time_min.as_ref(), query.start_time_max.as_ref());
        let search = asked::search(
            [query.service_name, query.operation_name],
            query.tags.into_iter().collect(),
            start.unwrap_or(TimeRange::ALL),
            [query.duration_min.as_ref(), query.duration_max.as_ref()],
            query.search_depth,
        );
        let found = search.find(&self.0.engine).await?;
        let traces = spans::found(&self.0.engine, &found, query.raw_traces).await?.whole()?;
        let chunks = move || traces.iter().flat_map(|trace| chunks::of_api_v2(&trace.groups)).collect();
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
        let mut operation_names: Vec<String> =
            operations.iter().map(|operation| operation.name.clone()).collect();
        operation_names.dedup();
        let operation =
            |operation: names::Operation| Operation { name: operation.name, span_kind: operation.span_kind };
        let operations = operations.into_iter().map(operation).collect();
        Ok(Response::new(GetOperationsResponse { operation_names, operations }))
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<GetDependenciesResponse>, Status> {
        let GetDependenciesRequest { start_time, end_time } = request.into_inner();
        let why = "StartTime and EndTime must be initialized.";
        let range = asked::whole_range(start_time.as_ref(), end_time.as_ref(), why)?;
        let links = dependencies::links(&self.0.engine, range, None).await?;
        let dependency = |link: dependencies::Link| DependencyLink {
            parent: link.parent,
            child: link.child,
            call_count: link.call_count,
            source: String::new(),
        };
        let dependencies = links.into_iter().map(dependency).collect();
        Ok(Response::new(GetDependenciesResponse { dependencies }))
    }
}
