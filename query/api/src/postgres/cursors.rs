//! Cursors, as SQL has them: portals that are declared, fetched from and closed by statements.

use std::pin::Pin;

use pgwire::messages::extendedquery::PortalSuspended;
use pgwire::messages::response::{CommandComplete, TransactionStatus};
use tokio::sync::futures::Notified;
use weir_query::Question;
use weir_query::postgres::{Command, Declare, Fetch, Steps};

use super::answering::{Client, Failure, description};
use super::encode::Form;
use super::portals::Portal;
use super::refusal::Refusal;
use super::session::Session;

impl Session {
    /// Starts a cursor's question, whose values took so many bytes; `is_block` where what else was said with it is one transaction.
    pub(super) async fn declare(
        &mut self,
        declare: &Declare,
        question: Question,
        bytes: usize,
        is_block: bool,
        cancelled: Pin<&mut Notified<'_>>,
    ) -> Result<(), Failure> {
        if declare.is_scrolled {
            let hint = Some("declare it with NO SCROLL".to_owned());
            let refusal = Refusal::new("0A000", "a cursor goes forward only: rows are not kept");
            return Err(Refusal { hint, ..refusal }.into());
        }
        if self.transaction == TransactionStatus::Idle && !declare.is_held && !is_block {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            let hint = Some("BEGIN one, or declare it WITH HOLD".to_owned());
            return Err(Refusal { hint, ..Refusal::new("25P01", message) }.into());
        }
        if self.portals.contains_key(&declare.name) {
            return Err(Refusal::new("42P03", format!("cursor {:?} already exists", declare.name)).into());
        }
        let bytes = bytes + question.text.len();
        self.room(bytes)?;
        let mut client = Client { wire: &mut self.wire, cancelled };
        let asking = (&self.engine, &self.caller);
        let cursor = Portal::declared(declare, question, bytes, asking, &mut client).await?;
        self.portals.insert(declare.name.clone(), cursor);
        self.wire.put(&CommandComplete::new(Command::Declare(declare.clone()).tag().to_owned()))?;
        Ok(())
    }

    /// Fetches, or passes over, rows of a cursor. `portal`: of a client that has been told the columns, and wants at most so many
    /// rows at once.
    pub(super) async fn fetch(
        &mut self,
        fetch: &Fetch,
        portal: Option<(&mut Portal, usize)>,
        cancelled: Pin<&mut Notified<'_>>,
    ) -> Result<(), Failure> {
        let mut cursor = self.portals.remove(&fetch.cursor).ok_or_else(|| no_cursor(&fetch.cursor))?;
        let done = self.fetched(&mut cursor, fetch, portal, cancelled).await;
        // Also where it failed: one that is held must still be closed.
        self.portals.insert(fetch.cursor.clone(), cursor);
        done
    }

    async fn fetched(
        &mut self,
        cursor: &mut Portal,
        fetch: &Fetch,
        mut portal: Option<(&mut Portal, usize)>,
        cancelled: Pin<&mut Notified<'_>>,
    ) -> Result<(), Failure> {
        let wanted = match (fetch.steps, cursor.is_on_row()) {
            // The row where it stands would be told once more.
            (Steps::Back, _) => return Err(only_forward().into()),
            (Steps::Forward(0), true) if !fetch.is_move => return Err(only_forward().into()),
            (Steps::Forward(wanted), _) => wanted,
        };
        let mut form = if fetch.is_move { Form::Nothing } else { Form::Rows };
        let (wanted, most, columns) = match &portal {
            Some((portal, most)) if !fetch.is_move => {
                (portal.wanted.unwrap_or(wanted), *most, portal.columns.clone())
            }
            _ => (wanted, usize::MAX, cursor.columns.clone()),
        };
        if portal.is_none()
            && !fetch.is_move
            && let Some(schema) = &cursor.prepared.columns
        {
            self.wire.put(&description(schema, &columns))?;
        }
        let count = if wanted == 0 {
            u64::from(fetch.is_move && cursor.is_on_row())
        } else {
            let asking = (&self.engine, &self.caller);
            let mut client = Client { wire: &mut self.wire, cancelled };
            let (count, is_over) =
                cursor.advance(asking, wanted.min(most), &mut form, columns, &mut client).await?;
            let left = wanted - count as usize;
            if let Some((portal, _)) = &mut portal {
                portal.wanted = Some(if is_over { 0 } else { left });
                if !is_over && left > 0 {
                    self.wire.put(&PortalSuspended::new())?;
                    return Ok(());
                }
            }
            count
        };
        let tag = Command::Fetch(fetch.clone()).tag();
        self.wire.put(&CommandComplete::new(format!("{tag} {count}")))?;
        Ok(())
    }

    /// Closes a cursor, or all.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<(), Refusal> {
        match name {
            None => self.portals.clear(),
            Some(name) => {
                self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
            }
        }
        Ok(())
    }

    /// A transaction is over, or what is one as long as nobody says `BEGIN`: what doesn't outlive it goes.
    pub(super) fn transaction_ends(&mut self, is_committed: bool) {
        self.portals.retain(|_, portal| portal.outlives(is_committed));
    }
}

pub(super) fn no_cursor(name: &str) -> Refusal {
    Refusal::new("34000", format!("cursor {name:?} does not exist"))
}

fn only_forward() -> Refusal {
    let hint = "declare it again: rows that were told are not kept";
    Refusal { hint: Some(hint.to_owned()), ..Refusal::new("55000", "cursor can only scan forward") }
}
