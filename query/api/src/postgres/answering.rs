//! An answer on its way to a client: batch by batch, no faster than the client takes it, until it is over, enough, or not wanted
//! any more.

use std::io;
use std::pin::Pin;

use arrow::datatypes::SchemaRef;
use pgwire::messages::data::{FieldDescription, RowDescription};
use tokio::sync::futures::Notified;
use weir_query::postgres::Type;
use weir_query::{Answer, Caller, Engine, Question};

use super::encode::{Column, Form, Rows};
use super::refusal::{Refusal, notice};
use super::wire::{PIECE_BYTES, Wire};

/// Why something that was asked for isn't done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client is told, and may go on.
    Refused(Refusal),
    /// There is nobody to tell, or no way to.
    Gone(io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Gone(error)
    }
}

/// A client, and its wish that what is under way ends.
pub(super) struct Client<'a, 'b> {
    pub(super) wire: &'a mut Wire,
    pub(super) cancelled: Pin<&'a mut Notified<'b>>,
}

impl Client<'_, '_> {
    /// `work`, as long as somebody waits for it.
    ///
    /// # Errors
    /// Where the client has cancelled, or left.
    pub(super) async fn waits_for<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.cancelled.as_mut() => Err(Refusal::cancelled().into()),
            done = self.wire.unless_left(work) => {
                done.ok_or_else(|| Failure::Gone(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }

    /// Sends what there is.
    async fn flush(&mut self) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.cancelled.as_mut() => Err(Refusal::cancelled().into()),
            sent = self.wire.flush() => Ok(sent?),
        }
    }
}

/// An answer that has begun.
pub(super) struct Answering {
    answer: Answer,
    columns: Vec<Column>,
    rows: Option<Rows>,
    /// Rows that were sent, or passed over.
    pub(super) sent: u64,
}

impl Answering {
    /// Starts a question once it is its caller's turn, and says so where its answer can't be complete.
    pub(super) async fn start(
        engine: &Engine,
        caller: &Caller,
        question: Question,
        client: &mut Client<'_, '_>,
    ) -> Result<Answering, Failure> {
        let text = question.text.clone();
        let refused = |err| Refusal::of(&err, &text);
        let engine = client.waits_for(engine.asked_by(caller.clone())).await?.map_err(refused)?;
        let mut answer = client.waits_for(engine.sql(question)).await?.map_err(refused)?;
        if answer.reads_rows {
            let completeness = client.waits_for(answer.completeness(&engine)).await?.map_err(refused)?;
            if !completeness.complete {
                client.wire.put(&notice(&completeness))?;
            }
        }
        Ok(Answering { answer, columns: Vec::new(), rows: None, sent: 0 })
    }

    /// The columns of the answer.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.answer.schema
    }

    /// Says in which form the columns are sent, from here on.
    pub(super) fn in_form(mut self, columns: Vec<Column>) -> Result<Answering, Failure> {
        if columns.len() != self.answer.schema.fields().len() {
            return Err(Refusal::new("0A000", "the answer has other columns than were described").into());
        }
        if let Some(rows) = &mut self.rows {
            rows.in_form(&columns);
        }
        Ok(Answering { columns, ..self })
    }

    /// Sends at most so many rows; gives whether there are no more.
    pub(super) async fn send(
        &mut self,
        most: usize,
        form: &mut Form,
        client: &mut Client<'_, '_>,
    ) -> Result<bool, Failure> {
        let mut room = most;
        loop {
            let Some(rows) = self.rows.as_mut().filter(|rows| rows.left() > 0) else {
                let batch = match client.waits_for(self.answer.next()).await? {
                    Some(batch) => batch.map_err(|err| Refusal::of(&err, ""))?,
                    None => return Ok(true),
                };
                let rows = Rows::new(&batch, &self.columns);
                self.rows = Some(rows.map_err(|err| Refusal::new("22000", format!("sql.invalid: {err}")))?);
                continue;
            };
            while rows.left() > 0 && room > 0 {
                let sent = rows.write(form, room, PIECE_BYTES, &mut client.wire.unsent);
                room -= sent;
                self.sent += sent as u64;
                if client.wire.unsent.len() >= PIECE_BYTES {
                    client.flush().await?;
                }
            }
            if room == 0 {
                return Ok(false);
            }
        }
    }
}

/// The columns as they are told to be, all as text.
pub(super) fn columns(schema: &SchemaRef) -> Vec<Column> {
    schema.fields().iter().map(|field| Column { kind: Type::of(field), is_binary: false }).collect()
}

/// The columns for the client.
pub(super) fn description(schema: &SchemaRef, columns: &[Column]) -> RowDescription {
    let fields = schema.fields().iter().zip(columns).map(|(field, Column { kind, is_binary })| {
        let name = field.name().replace('\0', " ");
        FieldDescription::new(name, 0, 0, kind.oid(), kind.size(), -1, i16::from(*is_binary))
    });
    RowDescription::new(fields.collect())
}
