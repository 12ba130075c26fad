//! What a client sends as one text → its statements, each a question or one of those that only PostgreSQL's clients send.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::copy::{self, CopyOut};
use super::cursors::{self, Declare, Fetch};
use super::settings::Settings;
use super::words::Words;
use crate::error::QueryError;

/// So many statements may come as one text: each is a copy of it, so that places in it stay what they are.
const MOST: usize = 100;
/// So many bytes these copies may have.
const MOST_BYTES: usize = 16 << 20;

/// `SHOW ALL`, as a question.
const SETTINGS: &str = "SELECT name, setting, short_desc AS description FROM pg_settings ORDER BY name";

/// One statement of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The statement where it stood in the text: what was before it is blank. Of one that has a question in it, only the question.
    pub text: String,
    /// What it wants.
    pub command: Command,
}

/// What a statement wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// An answer from the engine, which refuses what is no question.
    Ask,
    /// `SET name TO value`; `None` is its default.
    Set(String, Option<String>),
    /// `SET TRANSACTION …` and the like: each question sees one snapshot, whatever it says.
    SetTransaction,
    /// `RESET name`; `None` is all.
    Reset(Option<String>),
    /// `SHOW name`, of a setting.
    Show(String),
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `ROLLBACK TO name`.
    RollbackTo,
    /// `SAVEPOINT name`.
    Savepoint,
    /// `RELEASE name`.
    Release,
    /// `DISCARD ALL` and its parts.
    Discard,
    /// `DEALLOCATE name`; `None` is all.
    Deallocate(Option<String>),
    /// `DECLARE name CURSOR FOR …`.
    Declare(Declare),
    /// `FETCH … FROM name`, `MOVE … FROM name`.
    Fetch(Fetch),
    /// `CLOSE name`; `None` is all.
    Close(Option<String>),
    /// `COPY … TO STDOUT`.
    Copy(CopyOut),
    /// `UNLISTEN *`.
    Unlisten,
}

impl Command {
    /// What PostgreSQL says when it was done.
    pub fn tag(&self) -> &'static str {
        match self {
            Command::Ask => "SELECT",
            Command::Set(..) | Command::SetTransaction => "SET",
            Command::Reset(_) => "RESET",
            Command::Show(_) => "SHOW",
            Command::Begin => "BEGIN",
            Command::Commit => "COMMIT",
            Command::Rollback | Command::RollbackTo => "ROLLBACK",
            Command::Savepoint => "SAVEPOINT",
            Command::Release => "RELEASE",
            Command::Discard => "DISCARD ALL",
            Command::Deallocate(None) => "DEALLOCATE ALL",
            Command::Deallocate(Some(_)) => "DEALLOCATE",
            Command::Declare(_) => "DECLARE CURSOR",
            Command::Fetch(fetch) if fetch.is_move => "MOVE",
            Command::Fetch(_) => "FETCH",
            Command::Close(None) => "CLOSE CURSOR ALL",
            Command::Close(Some(_)) => "CLOSE CURSOR",
            Command::Copy(_) => "COPY",
            Command::Unlisten => "UNLISTEN",
        }
    }
}

/// Which part of a statement is its question.
pub(super) enum Asked {
    All,
    /// From here on, to there or to its end.
    Part(Location, Option<Location>),
    /// Another text.
    Told(String),
}

/// The statements of a text; none where it says nothing.
///
/// # Errors
/// `sql.syntax` where a quote has no end or a statement that the engine never sees isn't whole, `sql.several` where there are too many.
pub fn statements(text: &str) -> Result<Vec<Statement>, QueryError> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().map_err(|err| {
        let err = ParserError::TokenizerError(err.to_string());
        QueryError::from_datafusion(&DataFusionError::SQL(Box::new(err), None), text)
    })?;
    let mut statements = Vec::new();
    let mut from = 0;
    for part in tokens.split_inclusive(|token| token.token == Token::SemiColon) {
        let ended = part.last().filter(|token| token.token == Token::SemiColon);
        let until = ended.map_or(text.len(), |end| offset(text, end.span.start));
        let words: Vec<&TokenWithSpan> = part
            .iter()
            .filter(|word| !matches!(word.token, Token::Whitespace(_) | Token::SemiColon | Token::EOF))
            .collect();
        if !words.is_empty() {
            if statements.len() == MOST || statements.len() * text.len() > MOST_BYTES {
                return Err(QueryError::invalid(
                    "sql.several",
                    format!("more than {MOST} statements at once"),
                ));
            }
            let (command, asked) = command(&words)?;
            let text = match asked {
                Asked::All => alone(text, from, until),
                Asked::Part(from, end) => {
                    alone(text, offset(text, from), end.map_or(until, |end| offset(text, end)))
                }
                Asked::Told(text) => text,
            };
            statements.push(Statement { text, command });
        }
        from = (until + 1).min(text.len());
    }
    Ok(statements)
}

/// A part of a text, where it stood.
fn alone(text: &str, from: usize, until: usize) -> String {
    let before = text[..from].chars().map(|c| if c == '\n' { '\n' } else { ' ' });
    before.chain(text[from..until].chars()).collect()
}

/// Where a place lies, in bytes.
fn offset(text: &str, place: Location) -> usize {
    let line = text.split_inclusive('\n').take(place.line as usize - 1).map(str::len).sum::<usize>();
    let column = text[line..].char_indices().nth(place.column as usize - 1);
    column.map_or(text.len(), |(column, _)| line + column)
}

fn command(words: &[&TokenWithSpan]) -> Result<(Command, Asked), QueryError> {
    let rest = || Words::new(&words[1..]);
    let first = said(&words[0].token).to_ascii_uppercase();
    Ok(match first.as_str() {
        "DECLARE" => {
            let (declare, question) = cursors::declare(rest())?;
            (declare, Asked::Part(question, None))
        }
        "COPY" => copy::copy(rest())?.unwrap_or((Command::Ask, Asked::All)),
        "FETCH" | "MOVE" => (cursors::fetch(rest(), first == "MOVE")?, Asked::All),
        "CLOSE" => (cursors::close(rest())?, Asked::All),
        "SHOW" if words.len() == 2 && said(&words[1].token).eq_ignore_ascii_case("ALL") => {
            (Command::Ask, Asked::Told(SETTINGS.to_owned()))
        }
        _ => {
            let words: Vec<&Token> = words.iter().map(|word| &word.token).collect();
            (plain(&words), Asked::All)
        }
    })
}

/// One whose words stand where they always do.
fn plain(words: &[&Token]) -> Command {
    let upper: Vec<String> = words.iter().map(|word| said(word).to_ascii_uppercase()).collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    let rest = |from: usize| words[from..].iter().map(|word| said(word)).collect::<String>();
    match upper.as_slice() {
        ["SET", "SESSION" | "LOCAL", name, ..] if !["CHARACTERISTICS", "AUTHORIZATION"].contains(name) => {
            set(&upper[2..], &words[2..])
        }
        ["SET", "TRANSACTION", ..] | ["SET", "SESSION", "CHARACTERISTICS", ..] => Command::SetTransaction,
        ["SET", ..] => set(&upper[1..], &words[1..]),
        ["RESET", "ALL"] => Command::Reset(None),
        ["RESET", _, ..] => Command::Reset(Some(rest(1))),
        ["SHOW", "TRANSACTION", "ISOLATION", "LEVEL"] => Command::Show("transaction_isolation".to_owned()),
        ["SHOW", "TIME", "ZONE"] => Command::Show("timezone".to_owned()),
        // Others (SHOW TABLES) are questions.
        ["SHOW", _] if Settings::default().get(&rest(1)).is_some() => Command::Show(rest(1)),
        ["BEGIN" | "START", ..] => Command::Begin,
        ["COMMIT" | "END", ..] => Command::Commit,
        ["ROLLBACK", "TO", ..] | ["ROLLBACK", _, "TO", ..] => Command::RollbackTo,
        ["ROLLBACK" | "ABORT", ..] => Command::Rollback,
        ["SAVEPOINT", _] => Command::Savepoint,
        ["RELEASE", ..] => Command::Release,
        ["DISCARD", _] => Command::Discard,
        ["DEALLOCATE", "ALL"] | ["DEALLOCATE", "PREPARE", "ALL"] => Command::Deallocate(None),
        ["DEALLOCATE", "PREPARE", _] => Command::Deallocate(Some(rest(2))),
        ["DEALLOCATE", _] => Command::Deallocate(Some(rest(1))),
        ["UNLISTEN", ..] => Command::Unlisten,
        _ => Command::Ask,
    }
}

/// What follows `SET`, `SET SESSION` or `SET LOCAL`.
fn set(upper: &[&str], words: &[&Token]) -> Command {
    let value = |from: usize| {
        let value = words[from..].iter().map(|word| said(word)).collect::<String>();
        (!value.eq_ignore_ascii_case("default")).then_some(value)
    };
    match upper {
        ["TIME", "ZONE", _, ..] => Command::Set("timezone".to_owned(), value(2)),
        ["NAMES", _, ..] => Command::Set("client_encoding".to_owned(), value(1)),
        ["TRANSACTION", ..] => Command::SetTransaction,
        _ => match upper.iter().position(|word| ["TO", "="].contains(word)) {
            Some(to) if to > 0 && to + 1 < words.len() => {
                Command::Set(words[..to].iter().map(|word| said(word)).collect(), value(to + 1))
            }
            _ => Command::Ask,
        },
    }
}

/// A word without its quotes.
fn said(token: &Token) -> String {
    match token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart_and_stay_where_they_stood() {
        let found = statements("SELECT ';' AS ä; -- ; no\n SELECT 2;;").expect("statements");
        let texts: Vec<_> = found.iter().map(|statement| statement.text.as_str()).collect();
        assert_eq!(texts, ["SELECT ';' AS ä", "                 -- ; no\n SELECT 2"]);
        assert_eq!(statements(" ;-- nothing\n;").expect("none"), []);
        assert_eq!(statements("SELECT 'x").expect_err("no end").code, "sql.syntax");
        assert_eq!(statements(&"SELECT 1;".repeat(101)).expect_err("many").code, "sql.several");
    }

    #[test]
    fn what_only_clients_send_is_known() {
        let set = |name: &str, value: &str| Command::Set(name.to_owned(), Some(value.to_owned()));
        for (text, expected) in [
            ("SET application_name = 'psql'", set("application_name", "psql")),
            ("set session datestyle to ISO, MDY", set("datestyle", "ISO,MDY")),
            ("SET TIME ZONE 'UTC'", set("timezone", "UTC")),
            ("SET NAMES 'utf8'", set("client_encoding", "utf8")),
            ("SET extra_float_digits TO DEFAULT", Command::Set("extra_float_digits".to_owned(), None)),
            ("SET datafusion.execution.batch_size = 1", set("datafusion.execution.batch_size", "1")),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Command::SetTransaction),
            ("SHOW TRANSACTION ISOLATION LEVEL", Command::Show("transaction_isolation".to_owned())),
            ("show Server_Version", Command::Show("Server_Version".to_owned())),
            ("SHOW TABLES", Command::Ask),
            ("BEGIN ISOLATION LEVEL READ COMMITTED", Command::Begin),
            ("rollback to savepoint a", Command::RollbackTo),
            ("DEALLOCATE \"_pg3_0\"", Command::Deallocate(Some("_pg3_0".to_owned()))),
            ("DISCARD ALL", Command::Discard),
            ("DROP TABLE flows", Command::Ask),
        ] {
            let found = statements(text).expect("statements");
            assert_eq!(found[0].command, expected, "{text}");
        }
    }
}
