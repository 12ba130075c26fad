//! `COPY … TO STDOUT`: a question, and how its rows are written. What writes anything else is left for the engine to refuse.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::split::{Asked, Command};
use super::words::Words;
use crate::error::QueryError;

/// How rows are copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOut {
    /// The format.
    pub kind: CopyKind,
    /// Between values: one byte.
    pub delimiter: u8,
    /// What stands for no value.
    pub null: String,
    /// Whether the names of the columns come first.
    pub has_header: bool,
    /// What CSV puts around values.
    pub quote: u8,
    /// What CSV puts before a quote in them.
    pub escape: u8,
    /// Which values CSV puts quotes around.
    pub quoted: Quoted,
    /// Whether a table was named: places in its question are none in what the client said.
    pub is_table: bool,
}

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// PostgreSQL's own.
    Text,
    /// Values between commas.
    Csv,
    /// Values as they are sent in binary.
    Binary,
}

/// Which values have quotes around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quoted {
    /// Those that would be misread without.
    Needed,
    /// All that are there.
    All,
    /// All of these columns.
    Columns(Vec<String>),
}

/// What follows `COPY`; `None` where it doesn't go to the client.
pub(super) fn copy(mut words: Words<'_>) -> Result<Option<(Command, Asked)>, QueryError> {
    let asked = if words.has_sign(&Token::LParen) {
        let Some(from) = words.place() else { return Ok(None) };
        let Some(until) = words.past_parenthesis() else { return Ok(None) };
        Asked::Part(from, Some(until))
    } else {
        let Some(question) = table(&mut words) else { return Ok(None) };
        Asked::Told(question)
    };
    if !words.has("TO") || !words.has("STDOUT") {
        return Ok(None);
    }
    let is_table = matches!(asked, Asked::Told(_));
    let copy = CopyOut { is_table, ..options(words)?.checked()? };
    Ok(Some((Command::Copy(copy), asked)))
}

/// A table and maybe its columns, as a question.
fn table(words: &mut Words<'_>) -> Option<String> {
    let mut table = words.next()?.to_string();
    while words.has_sign(&Token::Period) {
        table = format!("{table}.{}", words.next()?);
    }
    if !words.has_sign(&Token::LParen) {
        return Some(format!("SELECT * FROM {table}"));
    }
    let mut columns = Vec::new();
    loop {
        columns.push(words.next()?.to_string());
        if words.has_sign(&Token::RParen) {
            return Some(format!("SELECT {} FROM {table}", columns.join(", ")));
        }
        if !words.has_sign(&Token::Comma) {
            return None;
        }
    }
}

/// What was said of the format.
#[derive(Default)]
struct Options {
    kind: Option<CopyKind>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<bool>,
    quote: Option<String>,
    escape: Option<String>,
    quoted: Option<Quoted>,
    encoding: Option<String>,
}

fn options(mut words: Words<'_>) -> Result<Options, QueryError> {
    words.has("WITH");
    let mut options = Options::default();
    if words.has_sign(&Token::LParen) {
        loop {
            options.listed(&mut words)?;
            if words.has_sign(&Token::RParen) {
                break;
            }
            if !words.has_sign(&Token::Comma) {
                return Err(words.unexpected("a comma"));
            }
        }
    } else {
        while words.left() > 0 {
            options.in_a_row(&mut words)?;
        }
    }
    words.end()?;
    Ok(options)
}

impl Options {
    /// One between parentheses.
    fn listed(&mut self, words: &mut Words<'_>) -> Result<(), QueryError> {
        let name = words.name()?;
        match name.as_str() {
            "format" => {
                let kind = match words.told()?.to_lowercase().as_str() {
                    "text" => CopyKind::Text,
                    "csv" => CopyKind::Csv,
                    "binary" => CopyKind::Binary,
                    other => return Err(wrong(format!("COPY has no format {other:?}"))),
                };
                once(&mut self.kind, kind)
            }
            "delimiter" => once(&mut self.delimiter, words.told()?),
            "null" => once(&mut self.null, words.told()?),
            "quote" => once(&mut self.quote, words.told()?),
            "escape" => once(&mut self.escape, words.told()?),
            "encoding" => once(&mut self.encoding, words.told()?),
            "header" => {
                let has_value = !words.is_sign(&Token::Comma) && !words.is_sign(&Token::RParen);
                let value = if has_value { words.told()?.to_lowercase() } else { "true".to_owned() };
                let header = match value.as_str() {
                    "true" | "on" | "1" => true,
                    "false" | "off" | "0" => false,
                    other => return Err(wrong(format!("HEADER is true or false, not {other:?}"))),
                };
                once(&mut self.header, header)
            }
            "force_quote" if words.has_sign(&Token::Mul) => once(&mut self.quoted, Quoted::All),
            "force_quote" if words.has_sign(&Token::LParen) => {
                let columns = Quoted::Columns(words.names()?);
                if !words.has_sign(&Token::RParen) {
                    return Err(words.unexpected(")"));
                }
                once(&mut self.quoted, columns)
            }
            "force_quote" => Err(words.unexpected("* or columns in parentheses")),
            _ => Err(wrong(format!("COPY … TO STDOUT has no option {name:?}"))),
        }
    }

    /// One as they were said before PostgreSQL 9.
    fn in_a_row(&mut self, words: &mut Words<'_>) -> Result<(), QueryError> {
        let text = |words: &mut Words<'_>| {
            words.has("AS");
            words.told()
        };
        if words.has("CSV") {
            once(&mut self.kind, CopyKind::Csv)
        } else if words.has("BINARY") {
            once(&mut self.kind, CopyKind::Binary)
        } else if words.has("HEADER") {
            once(&mut self.header, true)
        } else if words.has("DELIMITER") || words.has("DELIMITERS") {
            once(&mut self.delimiter, text(words)?)
        } else if words.has("NULL") {
            once(&mut self.null, text(words)?)
        } else if words.has("QUOTE") {
            once(&mut self.quote, text(words)?)
        } else if words.has("ESCAPE") {
            once(&mut self.escape, text(words)?)
        } else if words.has("ENCODING") {
            once(&mut self.encoding, words.told()?)
        } else if words.has("FORCE") {
            words.expect("QUOTE")?;
            let quoted =
                if words.has_sign(&Token::Mul) { Quoted::All } else { Quoted::Columns(words.names()?) };
            once(&mut self.quoted, quoted)
        } else {
            Err(words.unexpected("an option of COPY"))
        }
    }

    /// All of it, where it goes together as PostgreSQL wants it to.
    fn checked(self) -> Result<CopyOut, QueryError> {
        let kind = self.kind.unwrap_or(CopyKind::Text);
        let is_csv = kind == CopyKind::Csv;
        if kind == CopyKind::Binary
            && (self.delimiter.is_some() || self.null.is_some() || self.header == Some(true))
        {
            return Err(wrong("the binary format has no DELIMITER, NULL and HEADER"));
        }
        if !is_csv && (self.quote.is_some() || self.escape.is_some() || self.quoted.is_some()) {
            return Err(wrong("only CSV has QUOTE, ESCAPE and FORCE_QUOTE"));
        }
        if let Some(encoding) = &self.encoding
            && !["utf8", "utf-8", "unicode"].contains(&encoding.to_lowercase().as_str())
        {
            return Err(wrong(format!("rows are copied in UTF8, not in {encoding}")));
        }
        let delimiter = one_byte("DELIMITER", self.delimiter.as_deref(), if is_csv { b',' } else { b'\t' })?;
        let quote = one_byte("QUOTE", self.quote.as_deref(), b'"')?;
        let escape = one_byte("ESCAPE", self.escape.as_deref(), quote)?;
        let null = self.null.unwrap_or_else(|| if is_csv { String::new() } else { "\\N".to_owned() });
        if null.contains(['\n', '\r']) || null.as_bytes().contains(&delimiter) {
            return Err(wrong("NULL has neither the delimiter nor an end of a line in it"));
        }
        if is_csv && (delimiter == quote || null.as_bytes().contains(&quote)) {
            return Err(wrong("in CSV, QUOTE is neither the delimiter nor in NULL"));
        }
        // They would be read as part of what a backslash begins.
        if !is_csv
            && (delimiter == b'\\'
                || delimiter == b'.'
                || delimiter.is_ascii_lowercase()
                || delimiter.is_ascii_digit())
        {
            return Err(wrong(format!("DELIMITER can't be {:?} in text", char::from(delimiter))));
        }
        Ok(CopyOut {
            kind,
            delimiter,
            null,
            has_header: self.header.unwrap_or_default(),
            quote,
            escape,
            quoted: self.quoted.unwrap_or(Quoted::Needed),
            is_table: false,
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), QueryError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(wrong("an option of COPY is said twice")),
    }
}

fn one_byte(name: &str, given: Option<&str>, usual: u8) -> Result<u8, QueryError> {
    match given.map(str::as_bytes) {
        None => Ok(usual),
        Some([byte]) if !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        Some(_) => Err(wrong(format!("{name} is one character of one byte, and no end of a line"))),
    }
}

fn wrong(message: impl Into<String>) -> QueryError {
    QueryError::invalid("sql.syntax", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::{Statement, statements};

    fn copied(text: &str) -> Result<(String, CopyOut), &'static str> {
        let Statement { text, command } = statements(text).map_err(|err| err.code)?.remove(0);
        match command {
            Command::Copy(copy) => Ok((text.trim().to_owned(), copy)),
            _ => Err("left to the engine"),
        }
    }

    #[test]
    fn both_ways_to_say_options_are_the_same() {
        let plain = copied("COPY (SELECT 1) TO STDOUT").expect("a copy").1;
        assert_eq!((plain.kind, plain.delimiter, plain.null.as_str()), (CopyKind::Text, b'\t', "\\N"));
        for (old, new) in [
            ("CSV", "(FORMAT csv)"),
            ("WITH CSV HEADER", "WITH (FORMAT csv, HEADER)"),
            ("CSV HEADER QUOTE '''' ESCAPE AS '\\'", "(FORMAT 'CSV', QUOTE '''', ESCAPE '\\', HEADER on)"),
            ("DELIMITER AS '|' NULL ''", "(FORMAT text, DELIMITER '|', NULL '', HEADER false)"),
            ("CSV FORCE QUOTE *", "(FORMAT csv, FORCE_QUOTE *)"),
            ("CSV FORCE QUOTE a, \"B\"", "(FORMAT csv, FORCE_QUOTE (a, \"B\"))"),
            ("DELIMITER E'\\x01'", "(DELIMITER E'\\x01', ENCODING 'utf-8')"),
            ("BINARY", "(FORMAT binary)"),
        ] {
            let [old, new] = [old, new].map(|options| {
                copied(&format!("COPY (SELECT 1) TO STDOUT {options}"))
                    .unwrap_or_else(|err| panic!("{options}: {err}"))
            });
            assert_eq!(old, new);
        }
        for wrong in [
            "(FORMAT parquet)",
            "(FORMAT csv, FORMAT csv)",
            "(DELIMITER 'ab')",
            "(DELIMITER 'a')",
            "(DELIMITER 'ä')",
            "(FORMAT csv, DELIMITER '\"')",
            "(QUOTE 'x')",
            "(NULL 'a\tb')",
            "(FORMAT binary, HEADER)",
            "(HEADER match)",
            "(ENCODING 'latin1')",
            "(FREEZE)",
            "(FORMAT csv",
            "CSV TEA",
            "(FORMAT csv) x",
            "DELIMITER",
        ] {
            assert_eq!(copied(&format!("COPY (SELECT 1) TO STDOUT {wrong}")), Err("sql.syntax"), "{wrong}");
        }
    }

    #[test]
    fn what_is_copied_is_a_question() {
        for (text, question) in [
            ("copy (SELECT ')' AS a, (1)) to stdout;", "SELECT ')' AS a, (1)"),
            ("COPY flows TO STDOUT", "SELECT * FROM flows"),
            (
                "COPY public.\"Flows\" (time, \"Client\") TO STDOUT",
                "SELECT time, \"Client\" FROM public.\"Flows\"",
            ),
        ] {
            let (asked, copy) = copied(text).expect("a copy");
            assert_eq!((asked.as_str(), copy.is_table), (question, question.contains("lows")), "{text}");
        }
        let text = "COPY (\n  SELECT x) TO STDOUT";
        assert_eq!(statements(text).expect("one")[0].text.find("SELECT"), text.find("SELECT"));
        for text in [
            "COPY flows FROM STDIN",
            "COPY flows TO '/tmp/x'",
            "COPY flows TO PROGRAM 'cat'",
            "COPY (SELECT 1) TO 'x'",
            "COPY (SELECT 1",
            "COPY",
            "COPY flows (a b) TO STDOUT",
        ] {
            assert_eq!(copied(text), Err("left to the engine"), "{text}");
        }
    }
}
