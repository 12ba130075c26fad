//! What goes back instead of an answer: the engine's codes, places and hints in PostgreSQL's words.

use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use tracing::error;
use weir_query::postgres::SettingError;
use weir_query::{Completeness, Position, QueryError};

/// A refusal, with one of PostgreSQL's `SQLSTATE`s (its manual's appendix A).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `SQLSTATE`.
    pub(super) state: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// The character in the text that it is about, from 1.
    pub(super) position: Option<usize>,
}

impl Refusal {
    pub(super) fn new(state: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { state, message: message.into(), hint: None, position: None }
    }

    /// The client said something that it may not say here.
    pub(super) fn protocol(message: impl Into<String>) -> Refusal {
        Refusal::new("08P01", message)
    }

    /// The client asked for it.
    pub(super) fn cancelled() -> Refusal {
        Refusal::new("57014", "limit.cancelled: canceled because the client asked for it")
    }

    /// The engine's refusal of `text`.
    pub(super) fn of(error: &QueryError, text: &str) -> Refusal {
        let state = match error.code {
            "sql.syntax" | "sql.several" => "42601",
            "sql.unknown_table" => "42P01",
            "sql.unknown_column" => "42703",
            "sql.unknown_function" => "42883",
            "sql.read_only" => "25006",
            "sql.parameter" => "22023",
            "limit.time" => "57014",
            "limit.memory" => "53200",
            "limit.rows" => "54000",
            "limit.busy" => "53300",
            code if code.starts_with("limit.") => "53400",
            _ if error.is_askers() => "42000",
            code if code.starts_with("data.") => "58030",
            _ => "XX000",
        };
        if matches!(state, "58030" | "XX000") {
            error!(code = error.code, message = error.message, "a question failed");
        }
        Refusal {
            state,
            message: format!("{}: {}", error.code, error.message),
            hint: error.hint.clone(),
            position: error.position.and_then(|position| character(position, text)),
        }
    }

    /// As an `ErrorResponse`; `FATAL` where the connection ends with it.
    pub(super) fn message(&self, is_fatal: bool) -> ErrorResponse {
        ErrorResponse::new(self.fields(if is_fatal { "FATAL" } else { "ERROR" }))
    }

    fn fields(&self, severity: &str) -> Vec<(u8, String)> {
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', self.state.to_owned()),
            // A text of the wire ends at its first zero.
            (b'M', self.message.replace('\0', " ")),
        ];
        if let Some(hint) = &self.hint {
            fields.push((b'H', hint.replace('\0', " ")));
        }
        if let Some(position) = self.position {
            fields.push((b'P', position.to_string()));
        }
        fields
    }
}

impl From<SettingError> for Refusal {
    fn from(error: SettingError) -> Refusal {
        match error {
            SettingError::Unknown(name) => Refusal {
                hint: Some("SELECT name, setting FROM pg_settings lists what there is".to_owned()),
                ..Refusal::new("42704", format!("unrecognized configuration parameter {name:?}"))
            },
            SettingError::Invalid(message) => Refusal::new("22023", message),
        }
    }
}

/// Says that an answer isn't complete.
pub(super) fn notice(completeness: &Completeness) -> NoticeResponse {
    NoticeResponse::new(Refusal::new("01000", completeness.message.clone()).fields("NOTICE"))
}

/// Where a place is, in characters from the text's beginning.
fn character(position: Position, text: &str) -> Option<usize> {
    let line = usize::try_from(position.line).ok()?.checked_sub(1)?;
    let before: usize = text.split_inclusive('\n').take(line).map(|line| line.chars().count()).sum();
    Some(before + usize::try_from(position.column).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_where_and_what_to_do() {
        let error = QueryError {
            code: "sql.unknown_column",
            message: "no column \"ä\0\"".to_owned(),
            position: Some(Position { line: 2, column: 8 }),
            hint: Some("did you mean a?".to_owned()),
        };
        let response = Refusal::of(&error, "-- ä\nSELECT ä").message(false);
        let field =
            |code| response.fields.iter().find(|(known, _)| *known == code).map(|(_, text)| text.as_str());
        assert_eq!(field(b'C'), Some("42703"));
        assert_eq!(field(b'M'), Some("sql.unknown_column: no column \"ä \""));
        assert_eq!(field(b'H'), Some("did you mean a?"));
        assert_eq!(field(b'P'), Some("13"));
        assert_eq!(field(b'S'), Some("ERROR"));
    }

    #[test]
    fn every_code_has_a_state() {
        for (code, state) in [
            ("sql.invalid", "42000"),
            ("limit.time", "57014"),
            ("limit.busy", "53300"),
            ("request.limits", "42000"),
            ("data.damaged", "58030"),
            ("internal", "XX000"),
        ] {
            let error = QueryError { code, message: String::new(), position: None, hint: None };
            assert_eq!(Refusal::of(&error, "").state, state, "{code}");
        }
    }
}
