//! Answers that are asked for a part at a time: portals of the extended protocol, and cursors, which are the same by another door.

use std::sync::Arc;

use pgwire::messages::extendedquery::PortalSuspended;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};
use tokio::time::{Duration, Instant};
use weir_query::postgres::{Command, Declare};
use weir_query::{Caller, Engine, Question};

use super::answering::{Answering, Client, Failure, columns};
use super::encode::{Column, Form};
use super::extended::Prepared;
use super::refusal::Refusal;
use super::session::{counted, tag};

/// An answer of which the rest isn't fetched for so long is given up, and its turn with it.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// A statement with its values.
pub(super) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    pub(super) question: Question,
    /// How many bytes its values took, and its text where nothing else has it.
    pub(super) bytes: usize,
    pub(super) columns: Vec<Column>,
    state: State,
    stays: Stays,
    /// Rows of a `FETCH` that was begun and not finished.
    pub(super) wanted: Option<usize>,
}

enum State {
    Bound,
    UnderWay {
        answering: Box<Answering>,
        /// When the last part of it was fetched.
        since: Instant,
    },
    Over,
    /// The rest wasn't fetched in time.
    GivenUp,
    /// Something went wrong on its way.
    Failed,
}

/// How long a portal does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stays {
    /// Until its transaction ends, or where there is none, with the next `Sync`.
    Transaction,
    /// `WITH HOLD`, in its transaction: it goes with it where that one fails.
    Held,
    /// Until it is closed.
    Kept,
}

impl Portal {
    pub(super) fn new(
        prepared: Arc<Prepared>,
        question: Question,
        bytes: usize,
        columns: Vec<Column>,
    ) -> Portal {
        Portal {
            prepared,
            question,
            bytes,
            columns,
            state: State::Bound,
            stays: Stays::Transaction,
            wanted: None,
        }
    }

    /// A cursor, whose question has begun.
    pub(super) async fn declared(
        declare: &Declare,
        question: Question,
        bytes: usize,
        (engine, caller): (&Engine, &Caller),
        client: &mut Client<'_, '_>,
    ) -> Result<Portal, Failure> {
        let answering = Answering::start(engine, caller, question.clone(), client).await?;
        let schema = answering.schema().clone();
        let mut columns = columns(&schema);
        for column in &mut columns {
            column.is_binary = declare.is_binary;
        }
        let prepared = Arc::new(Prepared::question(question.text.clone(), schema));
        Ok(Portal {
            state: State::UnderWay { answering: Box::new(answering), since: Instant::now() },
            stays: if declare.is_held { Stays::Held } else { Stays::Transaction },
            ..Portal::new(prepared, question, bytes, columns)
        })
    }

    /// When the rest of its answer will have been waiting for too long.
    pub(super) fn is_forgotten_at(&self) -> Option<Instant> {
        match self.state {
            State::UnderWay { since, .. } => Some(since + FORGOTTEN),
            _ => None,
        }
    }

    /// Drops the rest of its answer, where it has waited for too long.
    pub(super) fn give_up_forgotten(&mut self) {
        if self.is_forgotten_at().is_some_and(|at| at <= Instant::now()) {
            self.state = State::GivenUp;
        }
    }

    /// Whether it outlives its transaction.
    pub(super) fn outlives(&mut self, is_committed: bool) -> bool {
        if is_committed && self.stays == Stays::Held {
            self.stays = Stays::Kept;
        }
        self.stays == Stays::Kept
    }

    /// Whether a row was told last, and there may be more.
    pub(super) fn is_on_row(&self) -> bool {
        matches!(&self.state, State::UnderWay { answering, .. } if answering.sent > 0)
    }

    /// What it does, where that is no question.
    pub(super) fn command(&self) -> Option<Command> {
        self.prepared.command.clone().filter(|command| *command != Command::Ask)
    }

    /// Sends at most so many rows of its answer, and whether these were all.
    pub(super) async fn run(
        &mut self,
        asking: (&Engine, &Caller),
        most: usize,
        client: &mut Client<'_, '_>,
    ) -> Result<(), Failure> {
        if self.prepared.command.is_none() {
            client.wire.put(&EmptyQueryResponse::new())?;
            return Ok(());
        }
        let columns = self.columns.clone();
        let (sent, is_over) = self.advance(asking, most, &mut Form::Rows, columns, client).await?;
        if is_over {
            client.wire.put(&CommandComplete::new(counted(tag(&self.prepared.text), sent)))?;
        } else {
            client.wire.put(&PortalSuspended::new())?;
        }
        Ok(())
    }

    /// Goes on by at most so many rows, in these columns; gives how many there were, and whether there are no more.
    pub(super) async fn advance(
        &mut self,
        (engine, caller): (&Engine, &Caller),
        most: usize,
        form: &mut Form,
        columns: Vec<Column>,
        client: &mut Client<'_, '_>,
    ) -> Result<(u64, bool), Failure> {
        // What is broken off on the way isn't begun again in its middle.
        let answering = match std::mem::replace(&mut self.state, State::Failed) {
            State::Bound => Answering::start(engine, caller, self.question.clone(), client).await?,
            State::UnderWay { answering, .. } => *answering,
            State::Over => {
                self.state = State::Over;
                return Ok((0, true));
            }
            State::GivenUp => {
                self.state = State::GivenUp;
                let message = "limit.time: the rest of the answer was not fetched in time";
                return Err(Refusal::new("57014", message).into());
            }
            State::Failed => {
                return Err(Refusal::new("55000", "the rest of the answer can't be had: it failed").into());
            }
        };
        let mut answering = answering.in_form(columns)?;
        let before = answering.sent;
        let is_over = answering.send(most, form, client).await?;
        let sent = answering.sent - before;
        self.state = if is_over {
            State::Over
        } else {
            State::UnderWay { answering: Box::new(answering), since: Instant::now() }
        };
        Ok((sent, is_over))
    }
}
