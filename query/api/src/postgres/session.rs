//! One client's session: what it says, one message after the other.
//!
//! There are no transactions, since nothing changes: they are told as PostgreSQL tells them, and an error in one is remembered until
//! it ends, because clients count on that.

use std::collections::HashMap;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use pgwire::messages::PgWireFrontendMessage as Said;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{Authentication, BackendKeyData, ParameterStatus, SecretKey};
use tokio::sync::futures::Notified;
use tokio::sync::watch;
use tokio::time::Instant;
use weir_query::postgres::{self, Command, Settings, statements};
use weir_query::{Caller, Engine, Lowered, Question};

use super::answering::{Answering, Client, Failure, columns, description};
use super::cancel::Place;
use super::encode::Form;
use super::extended::Prepared;
use super::portals::Portal;
use super::refusal::Refusal;
use super::wire::{PIECE_BYTES, Wire};
use crate::Api;

/// A client, and what is known of it.
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) caller: Caller,
    pub(super) engine: Engine,
    pub(super) settings: Settings,
    pub(super) transaction: TransactionStatus,
    pub(super) prepared: HashMap<String, Arc<Prepared>>,
    pub(super) portals: HashMap<String, Portal>,
    place: Place,
    /// An error is skipped over to the next `Sync`.
    is_skipping: bool,
}

impl Session {
    pub(super) fn new(api: &Api, wire: Wire, caller: Caller, place: Place, settings: Settings) -> Session {
        let asking = postgres::Session { settings: settings.clone(), number: place.number };
        Session {
            wire,
            caller,
            engine: api.engine.for_postgres(asking),
            settings,
            transaction: TransactionStatus::Idle,
            prepared: HashMap::new(),
            portals: HashMap::new(),
            place,
            is_skipping: false,
        }
    }

    /// Says that it has begun.
    pub(super) async fn greet(&mut self) -> io::Result<()> {
        self.wire.put(&Authentication::Ok)?;
        self.tell_settings()?;
        self.wire.put(&BackendKeyData::new(self.place.number, SecretKey::I32(self.place.secret)))?;
        self.ready().await
    }

    /// Answers until the client leaves, or `stop` says that Weir does.
    ///
    /// # Errors
    /// When the connection fails, or what comes can't be read.
    pub(super) async fn run(&mut self, mut stop: watch::Receiver<bool>) -> io::Result<()> {
        loop {
            // Also where a client talks on about other things.
            self.portals.values_mut().for_each(Portal::give_up_forgotten);
            let is_forgotten_at = self.portals.values().filter_map(Portal::is_forgotten_at).min();
            let message = tokio::select! {
                biased;
                () = stopped(&mut stop) => {
                    let refusal = Refusal::new("57P01", "Weir stops");
                    self.wire.put(&refusal.message(true))?;
                    return self.wire.flush().await;
                }
                message = self.wire.next() => message,
                () = reached(is_forgotten_at) => continue,
            };
            let message = match message {
                Ok(Some(Said::Terminate(_)) | None) => return Ok(()),
                Ok(Some(message)) => message,
                Err(err) => {
                    self.wire.put(&Refusal::protocol(err.to_string()).message(true))?;
                    self.wire.flush().await?;
                    return Err(err);
                }
            };
            self.message(message).await?;
        }
    }

    async fn message(&mut self, message: Said) -> io::Result<()> {
        let is_simple = matches!(message, Said::Query(_));
        let done = match message {
            Said::Sync(_) => {
                self.is_skipping = false;
                return self.synced().await;
            }
            Said::Query(query) => {
                self.is_skipping = false;
                self.simple(&query.query).await
            }
            Said::Flush(_) => return self.wire.flush().await,
            _ if self.is_skipping => return Ok(()),
            Said::Parse(parse) => self.parse(parse).await,
            Said::Bind(bind) => self.bind(&bind),
            Said::Describe(asked) => self.describe(&asked),
            Said::Execute(execute) => self.execute(&execute).await,
            Said::Close(close) => self.close(&close),
            // What follows a COPY that was refused.
            Said::CopyData(_) | Said::CopyDone(_) | Said::CopyFail(_) => return Ok(()),
            _ => Err(Refusal::protocol("this message has no place here").into()),
        };
        match done {
            Ok(()) => {}
            Err(Failure::Gone(err)) => return Err(err),
            Err(Failure::Refused(refusal)) => {
                self.wire.put(&refusal.message(false))?;
                self.transaction_ends(false);
                if self.transaction == TransactionStatus::Transaction {
                    self.transaction = TransactionStatus::Error;
                }
                self.is_skipping = !is_simple;
            }
        }
        if is_simple {
            return self.ready().await;
        }
        // Whoever asks on and on without reading waits.
        if self.wire.unsent.len() >= PIECE_BYTES { self.wire.flush().await } else { Ok(()) }
    }

    async fn synced(&mut self) -> io::Result<()> {
        if self.transaction == TransactionStatus::Idle {
            self.transaction_ends(true);
        }
        self.ready().await
    }

    async fn ready(&mut self) -> io::Result<()> {
        self.wire.put(&ReadyForQuery::new(self.transaction))?;
        self.wire.flush().await
    }

    /// The statements of a `Query`, each answered as text; the first that fails is the last.
    async fn simple(&mut self, text: &str) -> Result<(), Failure> {
        let statements = statements(text).map_err(|err| Refusal::of(&err, text))?;
        if statements.is_empty() {
            self.wire.put(&EmptyQueryResponse::new())?;
        }
        // PostgreSQL takes them for one transaction.
        let is_block = statements.len() > 1;
        let place = self.place.cancelled.clone();
        let mut cancelled = pin!(place.notified());
        cancelled.as_mut().enable();
        for statement in statements {
            self.allow(&statement.command)?;
            let cancelled = cancelled.as_mut();
            let question = Question { text: statement.text, parameters: Vec::new(), limits: self.limits() };
            match &statement.command {
                Command::Ask => self.answer(question, cancelled).await?,
                Command::Declare(declare) => {
                    self.declare(declare, question, 0, is_block, cancelled).await?;
                }
                Command::Fetch(fetch) => self.fetch(fetch, None, cancelled).await?,
                Command::Copy(copy) => self.copy(copy, question, cancelled).await?,
                command => self.command(command, true)?,
            }
        }
        if self.transaction == TransactionStatus::Idle {
            self.transaction_ends(true);
        }
        Ok(())
    }

    /// Answers a question at once, as text.
    async fn answer(&mut self, question: Question, cancelled: Pin<&mut Notified<'_>>) -> Result<(), Failure> {
        let tag = tag(&question.text);
        let mut client = Client { wire: &mut self.wire, cancelled };
        let answering = Answering::start(&self.engine, &self.caller, question, &mut client).await?;
        let columns = columns(answering.schema());
        client.wire.put(&description(answering.schema(), &columns))?;
        let mut answering = answering.in_form(columns)?;
        answering.send(usize::MAX, &mut Form::Rows, &mut client).await?;
        self.wire.put(&CommandComplete::new(counted(tag, answering.sent)))?;
        Ok(())
    }

    /// Runs the portal that `Execute` names.
    async fn execute(&mut self, execute: &pgwire::messages::extendedquery::Execute) -> Result<(), Failure> {
        let name = execute.name.clone().unwrap_or_default();
        let most = usize::try_from(execute.max_rows).ok().filter(|most| *most > 0).unwrap_or(usize::MAX);
        let mut portal = self.taken(&name)?;
        let done = self.run_portal(&mut portal, most).await;
        // What it declared may be called as it is.
        self.portals.entry(name).or_insert(portal);
        done
    }

    async fn run_portal(&mut self, portal: &mut Portal, most: usize) -> Result<(), Failure> {
        let place = self.place.cancelled.clone();
        let mut cancelled = pin!(place.notified());
        cancelled.as_mut().enable();
        let command = portal.command();
        if let Some(command) = &command {
            self.allow(command)?;
        }
        match command {
            None => {
                let mut client = Client { wire: &mut self.wire, cancelled };
                portal.run((&self.engine, &self.caller), most, &mut client).await
            }
            Some(Command::Declare(declare)) => {
                self.declare(&declare, portal.question.clone(), portal.bytes, false, cancelled).await
            }
            Some(Command::Fetch(fetch)) => self.fetch(&fetch, Some((portal, most)), cancelled).await,
            Some(Command::Copy(copy)) => self.copy(&copy, portal.question.clone(), cancelled).await,
            Some(command) => self.command(&command, false),
        }
    }

    /// What this session's questions may cost.
    pub(super) fn limits(&self) -> Lowered {
        let most = self.engine.limits().time;
        let time = self.settings.statement_timeout().map(|time| time.min(most));
        Lowered { time, ..Lowered::default() }
    }

    /// Whether a statement may be worked on: after an error in a transaction, only its end.
    ///
    /// # Errors
    /// `25P02`, as PostgreSQL has it.
    pub(super) fn allow(&self, command: &Command) -> Result<(), Refusal> {
        let ends = matches!(command, Command::Commit | Command::Rollback | Command::RollbackTo);
        if self.transaction == TransactionStatus::Error && !ends {
            let message = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Refusal::new("25P02", message));
        }
        Ok(())
    }

    /// Tells of the settings, after they changed, to those who want to know.
    pub(super) fn tell_settings(&mut self) -> io::Result<()> {
        let asking = postgres::Session { settings: self.settings.clone(), number: self.place.number };
        self.engine = self.engine.for_postgres(asking);
        for (name, value) in self.settings.told() {
            self.wire.put(&ParameterStatus::new(name.to_owned(), value.replace('\0', " ")))?;
        }
        Ok(())
    }
}

/// Until Weir stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Nobody is left to say so: it has stopped.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Until then, where there is such a time.
async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What PostgreSQL calls a question when it was answered.
pub(super) fn tag(text: &str) -> &'static str {
    let first =
        text.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
    match first.to_ascii_uppercase().as_str() {
        "EXPLAIN" => "EXPLAIN",
        "SHOW" => "SHOW",
        _ => "SELECT",
    }
}

/// With the rows that were sent, where it says them.
pub(super) fn counted(tag: &str, rows: u64) -> String {
    if tag == "SELECT" { format!("{tag} {rows}") } else { tag.to_owned() }
}
