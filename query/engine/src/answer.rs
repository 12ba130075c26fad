//! An answer: rows as they are found, within their limits, and how complete they are.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::EmptyRecordBatchStream;
use futures::StreamExt;
use futures::future::{Either, select};
use futures::stream::Peekable;

use crate::completeness::Completeness;
use crate::damage::Reading;
use crate::engine::{Again, Engine, Running};
use crate::error::QueryError;
use crate::limits::Allowed;
use crate::plain;
use crate::range::TimeRange;
use crate::turns::Turn;

/// An answer, on its way. Dropping it cancels the question.
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The times that the question is about.
    pub range: TimeRange,
    /// Whether it reads rows of the store; one that doesn't is complete whatever was lost.
    pub reads_rows: bool,
    stream: Peekable<SendableRecordBatchStream>,
    deadline: tokio::time::Instant,
    limit: Duration,
    /// Rows that may still come, of so many.
    rows: (usize, usize),
    /// Whether there were more.
    is_over: bool,
    /// How to begin once more, where memory doesn't suffice; `None` once rows were given.
    again: Option<Again>,
    reading: Reading,
    _running: Running,
    _turn: Option<Arc<Turn>>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The columns.
    pub schema: SchemaRef,
    /// The times that the question is about.
    pub range: TimeRange,
    /// At most as many rows as were asked for.
    pub batches: Vec<RecordBatch>,
    /// Whether there were more.
    pub is_truncated: bool,
}

impl Answer {
    pub(crate) fn new(
        stream: SendableRecordBatchStream,
        deadline: tokio::time::Instant,
        allowed: Allowed,
        again: Again,
        reading: Reading,
        running: Running,
        turn: Option<Arc<Turn>>,
    ) -> Answer {
        let range = reading.pins.lock().range;
        Answer {
            schema: plain::answered(&stream.schema()),
            range: range.unwrap_or(TimeRange::ALL),
            reads_rows: range.is_some(),
            stream: stream.peekable(),
            deadline,
            limit: allowed.time,
            rows: (allowed.rows, allowed.rows),
            is_over: false,
            again: Some(again),
            reading,
            _running: running,
            _turn: turn,
        }
    }

    /// What was lost, shed or late in the times that the answer is about, or was in damaged files. The answer's first rows are looked for meanwhile,
    /// and are not waited for.
    ///
    /// # Errors
    /// When `probe_health` can't be read.
    pub async fn completeness(&mut self, engine: &Engine) -> Result<Completeness, QueryError> {
        // A question of its own is much for a future that is part of others.
        let tables = self.reading.tables();
        let told = Box::pin(engine.completeness(self.range, &tables));
        match select(told, Pin::new(&mut self.stream).peek()).await {
            Either::Left((told, _)) => told,
            Either::Right((_, told)) => told.await,
        }
    }

    /// All of it, cut after `most_rows`, or after as many as it may have.
    ///
    /// # Errors
    /// What goes wrong on the way, but not that there are more rows.
    pub async fn collect(mut self, most_rows: usize) -> Result<Collected, QueryError> {
        let mut batches = Vec::new();
        let mut room = most_rows.min(self.rows.1);
        let mut is_truncated = false;
        while let Some(batch) = self.next().await {
            let batch = match batch {
                Err(err) if err.code == "limit.rows" => {
                    is_truncated = true;
                    break;
                }
                batch => batch?,
            };
            is_truncated = batch.num_rows() > room;
            let batch = batch.slice(0, batch.num_rows().min(room));
            room -= batch.num_rows();
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
            if is_truncated {
                break;
            }
        }
        Ok(Collected { schema: self.schema.clone(), range: self.range, batches, is_truncated })
    }

    /// The next rows; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        if self.is_over {
            return Some(Err(QueryError::too_many_rows(self.rows.1)));
        }
        let Ok(next) = tokio::time::timeout_at(self.deadline, self.found()).await else {
            return Some(Err(QueryError::too_slow(self.limit)));
        };
        let batch = next?.and_then(|batch| {
            plain::answer(batch, &self.schema).map_err(|err| QueryError::from_datafusion(&err.into(), ""))
        });
        Some(batch.map(|batch| self.counted(batch)))
    }

    /// As many of the rows as may come; the rest is told of next time.
    fn counted(&mut self, batch: RecordBatch) -> RecordBatch {
        self.is_over = batch.num_rows() > self.rows.0;
        let batch = if self.is_over { batch.slice(0, self.rows.0) } else { batch };
        self.rows.0 -= batch.num_rows();
        batch
    }

    /// The next rows of the stream, or of another one in its place where it asked for too much memory before it had any.
    async fn found(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        let error = match self.stream.next().await? {
            Ok(batch) => {
                self.again = None;
                return Some(Ok(batch));
            }
            Err(err) => QueryError::from_datafusion(&err, ""),
        };
        // What it holds is given back first.
        let schema = self.stream.get_ref().schema();
        let nothing: SendableRecordBatchStream = Box::pin(EmptyRecordBatchStream::new(schema));
        self.stream = nothing.peekable();
        let Some(again) = self.again.take().filter(|_| error.code == "limit.memory") else {
            return Some(Err(self.reading.blame(error).await));
        };
        match again.start().await {
            Ok(second) => self.stream = second.peekable(),
            Err(err) => return Some(Err(err)),
        }
        match self.stream.next().await? {
            Ok(batch) => Some(Ok(batch)),
            Err(err) => Some(Err(self.reading.blame(QueryError::from_datafusion(&err, "")).await)),
        }
    }
}
