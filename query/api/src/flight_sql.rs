//! Arrow Flight SQL, for ADBC, JDBC and whatever else speaks it: the same questions as `POST /api/v1/sql`, by the same engine.
//!
//! The server keeps nothing between calls: a ticket is the question, and a prepared statement's handle is its text with the
//! values that were bound last. So no statement can be forgotten to be closed, and none is anybody's but who has it.

mod handle;
mod tables;

use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult,
    ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{Action, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use weir_query::{Answer, Engine, QueryError, Question};

use crate::Api;
use crate::turn::InTurn;
use handle::Handle;

/// What may come in with one message: a question and its values.
const MOST_BYTES: usize = 4 << 20;

type Batches = Pin<Box<dyn Stream<Item = Result<arrow_flight::FlightData, Status>> + Send>>;

/// What a gRPC server of it serves.
pub fn flight_sql(api: &Arc<Api>) -> Routes {
    let service = FlightServiceServer::new(FlightSql { api: api.clone() });
    Routes::new(service.max_decoding_message_size(MOST_BYTES))
}

#[derive(Clone)]
struct FlightSql {
    api: Arc<Api>,
}

impl FlightSql {
    /// The engine as this request's caller may ask it, once it is its turn.
    async fn asked<T>(&self, request: &Request<T>) -> Result<Arc<Engine>, Status> {
        let api = InTurn::of(&self.api, request.extensions()).await.map_err(|busy| status(&busy.error))?;
        Ok(api.engine.clone())
    }

    /// Starts a question; how complete its answer is comes with the schema, as the message's metadata.
    async fn answer<T>(&self, question: Question, request: &Request<T>) -> Result<Response<Batches>, Status> {
        let engine = self.asked(request).await?;
        let mut answer = engine.sql(question).await.map_err(|err| status(&err))?;
        let completeness = answer.completeness(&engine).await.map_err(|err| status(&err))?;
        let completeness = serde_json::to_string(&completeness).unwrap_or_default();
        let schema = answer.schema.clone();
        let data = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_metadata(completeness.clone().into())
            .build(batches(answer))
            .map_err(Status::from);
        let mut response = Response::new(Box::pin(data) as Batches);
        if let Ok(value) = completeness.parse() {
            response.metadata_mut().insert("x-weir-completeness", value);
        }
        Ok(response)
    }
}

fn batches(answer: Answer) -> impl Stream<Item = Result<RecordBatch, FlightError>> + Send {
    futures::stream::unfold(Some(answer), async |answer| {
        let mut answer = answer?;
        match answer.next().await? {
            Ok(batch) => Some((Ok(batch), Some(answer))),
            Err(err) => Some((Err(FlightError::Tonic(Box::new(status(&err)))), None)),
        }
    })
}

/// A small answer that is known already.
fn known(batch: Result<RecordBatch, impl std::fmt::Display>) -> Result<Response<Batches>, Status> {
    let batch = batch.map_err(|err| Status::internal(err.to_string()))?;
    let schema = batch.schema();
    let data = FlightDataEncoderBuilder::new().with_schema(schema).build(futures::stream::iter([Ok(batch)]));
    Ok(Response::new(Box::pin(data.map_err(Status::from))))
}

/// Where an answer with `schema` is fetched: here, by `ticket`.
fn info(
    schema: &Schema,
    ticket: &impl ProstMessageExt,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec()));
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|err| Status::internal(err.to_string()))?
        .with_endpoint(endpoint)
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &IpcWriteOptions::default())
        .try_into()
        .map_err(|err: arrow::error::ArrowError| Status::internal(err.to_string()))?;
    Ok(bytes)
}

/// The same codes, places and hints as everywhere, in gRPC's words.
fn status(error: &QueryError) -> Status {
    let code = match error.code {
        "limit.time" => Code::DeadlineExceeded,
        code if code.starts_with("limit.") => Code::ResourceExhausted,
        _ if error.is_askers() => Code::InvalidArgument,
        code if code.starts_with("data.") => Code::Unavailable,
        _ => Code::Internal,
    };
    let mut message = format!("{}: {}", error.code, error.message);
    if let Some(position) = error.position {
        let _ = write!(message, " (line {}, column {})", position.line, position.column);
    }
    if let Some(hint) = &error.hint {
        let _ = write!(message, "; {hint}");
    }
    Status::new(code, message)
}

fn read_only() -> Status {
    Status::invalid_argument(
        "sql.read_only: only questions are answered here; begin with SELECT, WITH, SHOW, DESCRIBE or EXPLAIN",
    )
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = FlightSql;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let described =
            self.asked(&request).await?.describe(&query.query).await.map_err(|err| status(&err))?;
        let ticket = TicketStatementQuery { statement_handle: query.query.into() };
        info(&described.schema, &ticket, request.into_inner())
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Batches>, Status> {
        let text = std::str::from_utf8(&ticket.statement_handle);
        let text = text.map_err(|_| Status::invalid_argument("this ticket is no question"))?;
        self.answer(text.into(), &request).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let described =
            self.asked(&request).await?.describe(&query.query).await.map_err(|err| status(&err))?;
        let parameters = described.parameters.into_iter().enumerate();
        let parameters = parameters
            .map(|(index, kind)| Field::new(format!("${}", index + 1), kind.unwrap_or(DataType::Null), true));
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: Handle { text: query.query, values: None }.encode(),
            dataset_schema: ipc(&described.schema)?,
            parameter_schema: ipc(&Schema::new(parameters.collect::<Vec<_>>()))?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _: ActionClosePreparedStatementRequest,
        _: Request<Action>,
    ) -> Result<(), Status> {
        // Nothing is kept of one.
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let handle = Handle::decode(&query.prepared_statement_handle)?;
        let data = request.into_inner().map_err(|status| FlightError::Tonic(Box::new(status)));
        let mut batches = FlightRecordBatchStream::new_from_flight_data(data);
        let mut values: Option<RecordBatch> = None;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(Status::from)?;
            let before = values.as_ref().map_or(0, RecordBatch::num_rows);
            if before + batch.num_rows() > 1 {
                return Err(Status::invalid_argument(
                    "sql.parameter: one row of values at a time; ask once for each row",
                ));
            }
            if batch.num_rows() == 1 {
                values = Some(batch);
            }
        }
        let bound = Handle { values, ..handle }.encode();
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(bound) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let question = Handle::decode(&query.prepared_statement_handle)?.question()?;
        let described = self.asked(&request).await?.describe(question).await.map_err(|err| status(&err))?;
        info(&described.schema, &query, request.into_inner())
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Batches>, Status> {
        let question = Handle::decode(&query.prepared_statement_handle)?.question()?;
        self.answer(question, &request).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _: Request<Ticket>,
    ) -> Result<Response<Batches>, Status> {
        known(tables::catalogs(query))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.clone().into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _: Request<Ticket>,
    ) -> Result<Response<Batches>, Status> {
        known(tables::schemas(query))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.clone().into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        _: Request<Ticket>,
    ) -> Result<Response<Batches>, Status> {
        known(tables::tables(query, &self.api.engine))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        info(&query.into_builder().schema(), &query, request.into_inner())
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _: Request<Ticket>,
    ) -> Result<Response<Batches>, Status> {
        known(tables::table_types(query))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let infos = tables::infos(self.api.info.version).map_err(|err| Status::internal(err.to_string()))?;
        let schema: SchemaRef = query.clone().into_builder(&infos).schema();
        info(&schema, &query, request.into_inner())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _: Request<Ticket>,
    ) -> Result<Response<Batches>, Status> {
        let infos = tables::infos(self.api.info.version).map_err(|err| Status::internal(err.to_string()))?;
        known(query.into_builder(&infos).build())
    }

    async fn do_put_statement_update(
        &self,
        _: CommandStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn do_put_prepared_statement_update(
        &self,
        _: CommandPreparedStatementUpdate,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn do_put_statement_ingest(
        &self,
        _: CommandStatementIngest,
        _: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        Err(read_only())
    }

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
