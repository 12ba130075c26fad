//! What only PostgreSQL's clients send: settings, and transactions of which nothing depends. The engine never sees them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use pgwire::messages::response::{CommandComplete, TransactionStatus};
use weir_query::postgres::Command;

use super::answering::{Failure, columns, description};
use super::encode::{Form, Rows};
use super::refusal::Refusal;
use super::session::Session;

impl Session {
    /// Does what a command wants, and says so; `describes` where the columns of its answer weren't described before.
    pub(super) fn command(&mut self, command: &Command, describes: bool) -> Result<(), Failure> {
        let mut tag = command.tag();
        match command {
            Command::Set(name, value) => {
                self.settings.set(name, value.as_deref()).map_err(Refusal::from)?;
                self.tell_settings()?;
            }
            Command::Reset(Some(name)) => {
                self.settings.set(name, None).map_err(Refusal::from)?;
                self.tell_settings()?;
            }
            Command::Reset(None) => {
                self.settings.reset();
                self.tell_settings()?;
            }
            Command::Discard => {
                self.settings.reset();
                self.prepared.clear();
                self.portals.clear();
                self.tell_settings()?;
            }
            Command::Show(name) => self.show(name, describes)?,
            Command::Deallocate(None) => self.prepared.clear(),
            Command::Deallocate(Some(name)) => {
                if self.prepared.remove(name).is_none() {
                    return Err(
                        Refusal::new("26000", format!("prepared statement {name:?} does not exist")).into()
                    );
                }
            }
            Command::Begin => self.transaction = TransactionStatus::Transaction,
            Command::Commit | Command::Rollback => {
                let is_committed =
                    *command == Command::Commit && self.transaction != TransactionStatus::Error;
                if !is_committed {
                    tag = Command::Rollback.tag();
                }
                self.transaction = TransactionStatus::Idle;
                self.transaction_ends(is_committed);
            }
            Command::Close(name) => self.close_cursor(name.as_deref())?,
            Command::RollbackTo if self.transaction == TransactionStatus::Error => {
                self.transaction = TransactionStatus::Transaction;
            }
            Command::Ask
            | Command::Declare(_)
            | Command::Fetch(_)
            | Command::Copy(_)
            | Command::SetTransaction
            | Command::RollbackTo
            | Command::Savepoint
            | Command::Release
            | Command::Unlisten => {}
        }
        self.wire.put(&CommandComplete::new(tag.to_owned()))?;
        Ok(())
    }

    fn show(&mut self, name: &str, describes: bool) -> Result<(), Failure> {
        let batch = shown(name, self.settings.get(name).unwrap_or_default());
        let columns = columns(&batch.schema());
        if describes {
            self.wire.put(&description(&batch.schema(), &columns))?;
        }
        let rows = Rows::new(&batch, &columns);
        let mut rows = rows.map_err(|err| Refusal::new("XX000", err.to_string()))?;
        rows.write(&mut Form::Rows, 1, usize::MAX, &mut self.wire.unsent);
        Ok(())
    }
}

/// The answer to `SHOW name`.
pub(super) fn shown(name: &str, value: &str) -> RecordBatch {
    let value: ArrayRef = Arc::new(StringArray::from(vec![value]));
    RecordBatch::try_from_iter([(name, value)]).expect("a column of text")
}
