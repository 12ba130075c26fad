//! The Flight service: messages → batches → a [`Sink`] → acknowledgements, in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;
use weir_model::BatchMeta;

use crate::ack::{Ack, Refusal};
use crate::busy::busy;
use crate::control::Switchboard;
use crate::decode::{Limits, decode, unpacked_size};

/// Batches of one stream that are decoded and made durable at the same time, in any order; acknowledged in order.
const IN_FLIGHT: usize = 8;

/// Where batches go. It returns when the batch is durable, not before.
pub trait Sink: Send + Sync + 'static {
    /// Takes a batch that has exactly its table's columns.
    fn ingest(
        &self,
        meta: BatchMeta,
        batch: RecordBatch,
    ) -> impl Future<Output = Result<(), IngestError>> + Send;

    /// The same, with the batch as it came (Arrow IPC stream, compressed): a sink that writes batches down saves
    /// encoding them again. The bytes may have columns that the batch has not.
    fn ingest_encoded(
        &self,
        meta: BatchMeta,
        batch: RecordBatch,
        _ipc: Bytes,
    ) -> impl Future<Output = Result<(), IngestError>> + Send {
        self.ingest(meta, batch)
    }

    /// Room for a batch that takes so many bytes until it is durable; asked for before it is unpacked, and given back
    /// when it was answered. While a stream waits for it, nothing more of the stream is read.
    fn room(
        &self,
        _bytes: usize,
    ) -> impl Future<Output = Result<Option<OwnedSemaphorePermit>, IngestError>> + Send {
        async { Ok(None) }
    }

    /// A batch was refused before it reached the sink: for counters.
    fn refused(&self, _meta: &BatchMeta, _refusal: &Refusal) {}
}

/// Why a sink did not take a batch.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Sending it again can't help: the sender counts its rows as lost.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The sender keeps it and comes back later (gRPC `UNAVAILABLE`).
    #[error("{0}")]
    Unavailable(String),
    /// There is no room: the sender keeps it and comes back after `retry` (gRPC `RESOURCE_EXHAUSTED`).
    #[error("{message}")]
    Busy {
        /// For people.
        message: String,
        /// When to come back.
        retry: Duration,
    },
}

impl IngestError {
    /// As gRPC says it; a refusal is no failure of the call.
    fn status(self) -> Result<Refusal, Status> {
        match self {
            IngestError::Refused(refusal) => Ok(refusal),
            IngestError::Unavailable(message) => Err(Status::unavailable(message)),
            IngestError::Busy { message, retry } => Err(busy(message, retry)),
        }
    }
}

/// The service for a tonic router.
pub fn flight_service<S: Sink>(sink: Arc<S>, limits: Limits) -> FlightServiceServer<FlightIngest<S>> {
    flight_service_until(sink, limits, CancellationToken::new())
}

/// The same; when `stop` is cancelled, streams end once what they have read is acknowledged.
pub fn flight_service_until<S: Sink>(
    sink: Arc<S>,
    limits: Limits,
    stop: CancellationToken,
) -> FlightServiceServer<FlightIngest<S>> {
    flight_service_with(sink, Switchboard::default(), limits, stop)
}

/// The same, with probes that can be asked for captures.
pub fn flight_service_with<S: Sink>(
    sink: Arc<S>,
    switchboard: Switchboard,
    limits: Limits,
    stop: CancellationToken,
) -> FlightServiceServer<FlightIngest<S>> {
    FlightServiceServer::new(FlightIngest { sink, switchboard, limits, stop })
        .max_decoding_message_size(limits.max_batch_bytes)
}

/// Arrow Flight with `DoPut` for rows, and `DoExchange` for the lines of probes.
#[derive(Debug)]
pub struct FlightIngest<S> {
    sink: Arc<S>,
    switchboard: Switchboard,
    limits: Limits,
    stop: CancellationToken,
}

/// One batch as it came off the stream.
struct Received {
    meta: BatchMeta,
    messages: Vec<FlightData>,
}

/// The same, with room for what it becomes.
struct Admitted {
    received: Received,
    room: Option<OwnedSemaphorePermit>,
}

impl Received {
    /// Bytes that it takes until it is durable: as it came, as it is written down, and unpacked.
    fn bytes(&self, limits: &Limits) -> usize {
        let came: usize =
            self.messages.iter().map(|message| message.data_header.len() + message.data_body.len()).sum();
        // One that is beyond the limits is refused before it is unpacked.
        2 * came + unpacked_size(&self.messages, limits).unwrap_or(0)
    }
}

/// What a `DoPut` stream is between two batches.
struct Incoming {
    stream: Streaming<FlightData>,
    stop: CancellationToken,
    limit: usize,
    is_over: bool,
}

impl Incoming {
    /// The next whole batch; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Result<Received, Status>> {
        if self.is_over {
            return None;
        }
        let next = self.read().await.transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }

    async fn read(&mut self) -> Result<Option<Received>, Status> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(message) = self.message().await? else { return Ok(None) };
            bytes += message.data_header.len() + message.data_body.len();
            if bytes > self.limit {
                // Without the end of the batch there is no sequence to refuse it by.
                let text = format!("a batch of more than {} bytes: send smaller ones", self.limit);
                return Err(Status::resource_exhausted(text));
            }
            let metadata = message.app_metadata.clone();
            messages.push(message);
            if !metadata.is_empty() {
                let meta =
                    BatchMeta::decode(&metadata).map_err(|err| Status::invalid_argument(err.to_string()))?;
                return Ok(Some(Received { meta, messages }));
            }
        }
    }

    async fn message(&mut self) -> Result<Option<FlightData>, Status> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(None),
            message = self.stream.message() => message,
        }
    }
}

impl<S: Sink> FlightIngest<S> {
    fn acks(&self, schema: FlightData, incoming: Incoming) -> BoxStream<'static, Result<PutResult, Status>> {
        let sink = self.sink.clone();
        let limits = self.limits;
        let admitting = sink.clone();
        let received = stream::unfold(incoming, move |mut incoming| {
            let sink = admitting.clone();
            async move {
                let next = incoming.next().await?;
                let next = match next {
                    Ok(received) => admit(&*sink, &limits, received).await,
                    Err(status) => Err(status),
                };
                // What follows a batch that is sent again comes again, too.
                incoming.is_over |= next.is_err();
                Some((next, incoming))
            }
        });
        received
            .map(move |received| take(sink.clone(), schema.clone(), limits, received))
            .buffered(IN_FLIGHT)
            .boxed()
    }
}

async fn admit<S: Sink>(sink: &S, limits: &Limits, received: Received) -> Result<Admitted, Status> {
    match sink.room(received.bytes(limits)).await {
        Ok(room) => Ok(Admitted { received, room }),
        Err(err) => Err(match err.status() {
            Ok(refusal) => Status::resource_exhausted(refusal.to_string()),
            Err(status) => status,
        }),
    }
}

/// Decodes one batch, hands it to the sink, and says how that went.
async fn take<S: Sink>(
    sink: Arc<S>,
    schema: FlightData,
    limits: Limits,
    admitted: Result<Admitted, Status>,
) -> Result<PutResult, Status> {
    let Admitted { received: Received { meta, messages }, room: _room } = admitted?;
    let sequence = meta.sequence;
    let for_decoder = meta.clone();
    let decoded =
        tokio::task::spawn_blocking(move || decode(&for_decoder, &schema, &messages, &limits)).await;
    let decoded = decoded.map_err(|err| Status::internal(err.to_string()))?;
    let outcome = match decoded {
        Ok((batch, ipc)) => sink.ingest_encoded(meta, batch, ipc).await,
        Err(refusal) => {
            warn!(node = meta.node, table = meta.table, sequence, %refusal, "batch refused");
            sink.refused(&meta, &refusal);
            Err(refusal.into())
        }
    };
    let refused = match outcome {
        Ok(()) => None,
        Err(err) => Some(err.status()?),
    };
    Ok(PutResult { app_metadata: Ack { sequence, refused }.encode().into() })
}

fn only_do_put<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this port takes DoPut; queries go to the HTTP API"))
}

#[tonic::async_trait]
impl<S: Sink> FlightService for FlightIngest<S> {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let mut incoming = Incoming {
            stream: request.into_inner(),
            stop: self.stop.clone(),
            limit: self.limits.max_batch_bytes,
            is_over: false,
        };
        let schema = incoming
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("an empty stream: the schema comes first"))?;
        let is_schema = arrow::ipc::root_as_message(&schema.data_header)
            .is_ok_and(|message| message.header_type() == arrow::ipc::MessageHeader::Schema);
        if !is_schema {
            return Err(Status::invalid_argument("the first message of a stream is its schema"));
        }
        Ok(Response::new(self.acks(schema, incoming)))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        only_do_put()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        only_do_put()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        only_do_put()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        only_do_put()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        only_do_put()
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        only_do_put()
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let answers = self.switchboard.exchange(request.into_inner(), self.stop.clone()).await?;
        Ok(Response::new(answers))
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        only_do_put()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        only_do_put()
    }
}
