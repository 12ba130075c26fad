//! What was wrong with a question, where in its text, and what to do.

use std::time::Duration;

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use serde::Serialize;
use weir_store::StoreError;

use crate::hint;

/// A place in the SQL, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column, in characters.
    pub column: u64,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// For programs: `sql.syntax`, `sql.unknown_column`, `sql.unknown_table`, `sql.unknown_function`, `sql.read_only`,
    /// `sql.several`, `sql.parameter`, `sql.invalid`, `limit.memory`, `limit.time`, `limit.rows`, `limit.busy`,
    /// `request.limits`, `data.damaged`, `data.changed`, `data.unavailable`, `internal`.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Where, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl QueryError {
    /// A refusal because the text would change something.
    pub(crate) fn read_only() -> QueryError {
        QueryError {
            code: "sql.read_only",
            message: "only questions are answered here: nothing can be created, changed or set".to_owned(),
            position: None,
            hint: Some("begin with SELECT, WITH, SHOW TABLES, DESCRIBE or EXPLAIN".to_owned()),
        }
    }

    /// One that says what, without a place and a hint.
    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> QueryError {
        QueryError { code, message: message.into(), position: None, hint: None }
    }

    /// The limits that a request sets for itself can't be.
    pub(crate) fn limits(message: String) -> QueryError {
        QueryError {
            hint: Some(
                "a request can lower the server's limits, not raise them: leave out what may stay".to_owned(),
            ),
            ..QueryError::invalid("request.limits", message)
        }
    }

    /// Too many ask; the same may be asked again later.
    pub(crate) fn busy(running: usize, waiting: usize) -> QueryError {
        QueryError {
            hint: Some("ask again in a moment, and fewer at a time".to_owned()),
            ..QueryError::invalid(
                "limit.busy",
                format!("{running} requests are worked on and {waiting} wait: there is no turn for this one"),
            )
        }
    }

    /// The answer has more rows than it may.
    pub(crate) fn too_many_rows(limit: usize) -> QueryError {
        QueryError {
            hint: Some("add a LIMIT, narrow the time range, or group".to_owned()),
            ..QueryError::invalid("limit.rows", format!("stopped after {limit} rows: the answer has more"))
        }
    }

    /// The question took longer than it may.
    pub(crate) fn too_slow(limit: Duration) -> QueryError {
        QueryError {
            code: "limit.time",
            message: format!("stopped after {} s", limit.as_secs_f64()),
            position: None,
            hint: Some(
                "narrow the time range (WHERE time > now() - INTERVAL '1 hour') or the columns".to_owned(),
            ),
        }
    }

    /// A file was damaged: it is in no table any more.
    pub(crate) fn damaged(table: &str, rows: u64) -> QueryError {
        QueryError {
            hint: Some("ask again: answers go without these rows now, and say so".to_owned()),
            ..QueryError::invalid(
                "data.damaged",
                format!("a file with {rows} rows of {table} can't be read: it is set aside in quarantine/"),
            )
        }
    }

    /// Files went while they were read.
    pub(crate) fn changed(table: &str) -> QueryError {
        QueryError {
            hint: Some("ask again".to_owned()),
            ..QueryError::invalid(
                "data.changed",
                format!("files of {table} were taken away while they were read"),
            )
        }
    }

    /// Of several machines that answer together, one went when some of its rows were told already.
    pub(crate) fn broken_off() -> QueryError {
        QueryError {
            hint: Some("ask again".to_owned()),
            ..QueryError::invalid(
                "data.changed",
                "a machine that answers with us went while its rows were read",
            )
        }
    }

    /// Whoever has the files gives no answer.
    pub(crate) fn unavailable(why: &StoreError) -> QueryError {
        QueryError {
            hint: Some("ask again in a moment; the log of weir says more".to_owned()),
            ..QueryError::invalid("data.unavailable", format!("files can't be read now: {why}"))
        }
    }

    /// Whether the same question may have an answer the next time.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.code, "data.damaged" | "data.changed")
    }

    /// Whether the question was wrong, and not we.
    pub fn is_askers(&self) -> bool {
        ["sql.", "limit.", "request."].iter().any(|kind| self.code.starts_with(kind))
    }

    /// DataFusion's error in our words; `text` is the SQL, for positions.
    pub(crate) fn from_datafusion(error: &DataFusionError, text: &str) -> QueryError {
        if let DataFusionError::External(told) = error.find_root()
            && let Some(told) = told.downcast_ref::<QueryError>()
        {
            return told.clone();
        }
        let position = error
            .diagnostic()
            .and_then(|diagnostic| diagnostic.span)
            .map(|span| Position { line: span.start.line, column: span.start.column });
        let mut found = describe(error.find_root(), text);
        found.position = position.or(found.position).filter(|position| position.line > 0);
        if found.position.is_none() {
            found.position = found.word.as_deref().and_then(|word| position_of(word, text));
        }
        QueryError { code: found.code, message: found.message, position: found.position, hint: found.hint }
    }
}

impl From<QueryError> for DataFusionError {
    fn from(error: QueryError) -> DataFusionError {
        DataFusionError::External(Box::new(error))
    }
}

/// What an error says, before it is known where.
struct Described {
    code: &'static str,
    message: String,
    hint: Option<String>,
    position: Option<Position>,
    /// The word in the SQL that it is about.
    word: Option<String>,
}

impl Described {
    fn new(code: &'static str, message: impl Into<String>) -> Described {
        Described { code, message: message.into(), hint: None, position: None, word: None }
    }
}

fn describe(error: &DataFusionError, text: &str) -> Described {
    match error {
        DataFusionError::SQL(parser, _) => {
            let message = parser.to_string();
            let (message, position) = split_position(message.trim_start_matches("sql parser error: "));
            // The parser names no place for what is missing at the end.
            let position = position.or_else(|| message.ends_with("found: EOF").then(|| end_of(text)));
            let hint = hint::for_syntax(text);
            Described { hint, position, ..Described::new("sql.syntax", message) }
        }
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => Described {
                hint: Some(hint::for_column(
                    &field.name,
                    valid_fields.iter().map(|field| field.name.as_str()),
                )),
                word: Some(field.name.clone()),
                ..Described::new(
                    "sql.unknown_column",
                    format!("no column {:?} in the tables of this query", field.name),
                )
            },
            other => Described::new("sql.invalid", other.to_string()),
        },
        DataFusionError::ResourcesExhausted(message) => Described {
            hint: Some("narrow the time range, take or group by fewer columns, or add a LIMIT".to_owned()),
            ..Described::new("limit.memory", message.clone())
        },
        DataFusionError::Plan(message) => plan(message),
        DataFusionError::NotImplemented(message) | DataFusionError::Execution(message) => {
            Described::new("sql.invalid", message.clone())
        }
        DataFusionError::ArrowError(arrow, _) => Described::new(of_arrow(arrow), arrow.to_string()),
        other => Described::new("internal", other.strip_backtrace()),
    }
}

/// The code of an error of Arrow's.
pub(crate) fn of_arrow(error: &ArrowError) -> &'static str {
    match error {
        // Whoever asks for it reads no file; these come of reading one.
        ArrowError::ExternalError(_) | ArrowError::ParquetError(_) | ArrowError::IoError(..) => "internal",
        _ => "sql.invalid",
    }
}

fn plan(message: &str) -> Described {
    // DataFusion has one kind for all planning errors; their words are stable enough to tell the common ones apart,
    // and where they change the message itself still goes through.
    if let Some(name) = between(message, "table '", "' not found") {
        let name = name.rsplit('.').next().unwrap_or(name).to_owned();
        return Described {
            hint: Some(hint::for_table(&name)),
            word: Some(name.clone()),
            ..Described::new("sql.unknown_table", format!("no table {name:?}"))
        };
    }
    if let Some(name) = between(message, "Invalid function '", "'") {
        return Described {
            hint: between(message, "Did you mean '", "'").map(|meant| format!("did you mean {meant}?")),
            word: Some(name.to_owned()),
            ..Described::new("sql.unknown_function", format!("no function {name:?}"))
        };
    }
    if let Some(name) = between(message, "column \"", "\" must appear in the GROUP BY") {
        let name = name.rsplit('.').next().unwrap_or(name).to_owned();
        return Described {
            hint: Some(format!(
                "add it to GROUP BY (GROUP BY ALL takes every such column), or take max({name})"
            )),
            word: Some(name.clone()),
            ..Described::new("sql.invalid", format!("column {name:?} is neither grouped nor in an aggregate"))
        };
    }
    if let Some(name) =
        message.strip_prefix("Invalid placeholder, ").and_then(|rest| rest.rsplit(": ").next())
    {
        return Described {
            hint: Some("write $1, $2 …".to_owned()),
            word: Some(name.to_owned()),
            ..Described::new("sql.parameter", format!("{name} is no parameter with a number"))
        };
    }
    // Every signature that the function has, each with its refusal: too much to read.
    if message.contains("failed to match any signature")
        && let Some(name) = between(message, "Function '", "'")
    {
        let given = between(message, "but received ", " (DataType").unwrap_or("values of this type");
        return Described {
            hint: Some(
                "CAST the value, or choose another column: DESCRIBE flows lists their types".to_owned(),
            ),
            word: Some(name.to_owned()),
            ..Described::new("sql.invalid", format!("{name} does not take {given}"))
        };
    }
    Described::new("sql.invalid", message)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

/// Takes `… at Line: 1, Column: 8` off a message.
fn split_position(message: &str) -> (String, Option<Position>) {
    let Some(at) = message.rfind(" at Line: ") else { return (message.to_owned(), None) };
    let mut numbers = message[at..]
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(str::parse::<u64>);
    let position = match (numbers.next(), numbers.next()) {
        (Some(Ok(line)), Some(Ok(column))) => Some(Position { line, column }),
        _ => None,
    };
    (message[..at].to_owned(), position)
}

/// Behind the last character that says something.
fn end_of(text: &str) -> Position {
    let said = text.trim_end();
    let line = said.lines().count().max(1) as u64;
    let column = said.lines().last().map_or(0, |line| line.chars().count()) as u64 + 1;
    Position { line, column }
}

/// Where `word` stands alone in `text` for the first time.
pub(crate) fn position_of(word: &str, text: &str) -> Option<Position> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    for (index, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices(word) {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            if !before.is_some_and(is_part) && !after.is_some_and(is_part) {
                return Some(Position {
                    line: index as u64 + 1,
                    column: line[..at].chars().count() as u64 + 1,
                });
            }
        }
    }
    None
}
