//! `COPY … TO STDOUT`: an answer as the text of a file.

use std::pin::Pin;

use pgwire::messages::copy::{CopyDone, CopyOutResponse};
use pgwire::messages::response::CommandComplete;
use tokio::sync::futures::Notified;
use weir_query::Question;
use weir_query::postgres::CopyOut;

use super::answering::{Answering, Client, Failure, columns};
use super::encode::{CopyForm, Form};
use super::refusal::Refusal;
use super::session::Session;

impl Session {
    /// Copies an answer to the client.
    pub(super) async fn copy(
        &mut self,
        copy: &CopyOut,
        question: Question,
        cancelled: Pin<&mut Notified<'_>>,
    ) -> Result<(), Failure> {
        let mut client = Client { wire: &mut self.wire, cancelled };
        let started = Answering::start(&self.engine, &self.caller, question, &mut client).await;
        let answering = started.map_err(|failure| placed(copy, failure))?;
        let schema = answering.schema().clone();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let form = CopyForm::new(copy.clone(), &names).map_err(|unknown| {
            Refusal::new("42703", format!("FORCE_QUOTE column {unknown:?} is not copied"))
        })?;
        let mut columns = columns(&schema);
        for column in &mut columns {
            column.is_binary = form.is_binary();
        }
        let format = i16::from(form.is_binary());
        let response = CopyOutResponse::new(format as i8, columns.len() as i16, vec![format; columns.len()]);
        client.wire.put(&response)?;
        form.begin(&names, &mut client.wire.unsent);
        let mut answering = answering.in_form(columns)?;
        let mut form = Form::Copy(form);
        answering.send(usize::MAX, &mut form, &mut client).await?;
        if let Form::Copy(form) = &mut form {
            form.end(&mut client.wire.unsent);
        }
        self.wire.put(&CopyDone::new())?;
        self.wire.put(&CommandComplete::new(format!("COPY {}", answering.sent)))?;
        Ok(())
    }
}

/// Where a table was named, its question is none that the client has seen.
pub(super) fn placed(copy: &CopyOut, failure: Failure) -> Failure {
    match failure {
        Failure::Refused(refusal) if copy.is_table => Refusal { position: None, ..refusal }.into(),
        failure => failure,
    }
}
