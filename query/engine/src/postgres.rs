//! What PostgreSQL's clients expect of a server beside answers: their settings, their small talk, their catalogue.
//!
//! | file           | subject                                                                  |
//! |----------------|----------------------------------------------------------------------------|
//! | `split.rs`     | a text → its statements: questions, and what only clients send               |
//! | `words.rs`     | the words of one of them                                                     |
//! | `cursors.rs`   | `DECLARE`, `FETCH`, `CLOSE`                                                  |
//! | `copy.rs`      | `COPY … TO STDOUT`                                                           |
//! | `settings.rs`  | what a session has set                                                       |
//! | `types.rs`     | Arrow's types in PostgreSQL's words                                          |
//! | `catalog/`     | `pg_catalog` and `information_schema`, in memory                             |
//! | `functions.rs` | functions about the catalogue, names and rights                              |
//! | `rewrite/`     | PostgreSQL's way to say things → the engine's                                |
//!
//! Only questions that come by a [`Session`] see any of it: those by other doors have neither these tables nor functions.

mod catalog;
mod copy;
mod cursors;
mod functions;
mod rewrite;
mod settings;
mod split;
mod types;
mod words;

use std::sync::Arc;

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Parsed;

pub use copy::{CopyKind, CopyOut, Quoted};
pub use cursors::{Declare, Fetch, Steps};
pub use settings::{SettingError, Settings};
pub use split::{Command, Statement, statements};
pub use types::{Scalar, Type};

/// Who asks, and what it has set.
#[derive(Debug)]
pub struct Session {
    /// What it may be told of itself.
    pub settings: Settings,
    /// By which it is known to those that cancel.
    pub number: i32,
}

impl Session {
    fn user(&self) -> &str {
        self.settings.get("session_authorization").unwrap_or_default()
    }

    /// Changes a statement that was found to be a question, so that the engine understands it.
    pub(crate) fn rewrite(&self, statement: &mut Parsed) {
        rewrite::statement(statement, self);
    }

    /// Adds its tables to those of one question.
    pub(crate) fn add_tables(&self, tables: &MemoryCatalogProvider) -> Result<()> {
        let (catalogue, information) = catalog::schemas(self.settings.all(), self.user())?;
        tables.register_schema(catalog::PG_CATALOG.0, catalogue)?;
        tables.register_schema(catalog::INFORMATION.0, information)?;
        Ok(())
    }
}

/// The settings and functions of questions by a session.
pub(crate) fn state(state: &SessionState) -> SessionState {
    let mut state = state.clone();
    // Its own is in the catalogue, with PostgreSQL's names of types.
    state.config_mut().options_mut().catalog.information_schema = false;
    let context = SessionContext::new_with_state(state);
    functions::register(&context);
    context.state()
}

/// What an engine knows of the session that asks it.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) session: Arc<Session>,
    pub(crate) state: Arc<SessionState>,
}
