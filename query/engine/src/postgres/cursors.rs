//! `DECLARE`, `FETCH`, `MOVE` and `CLOSE`: an answer by its name, a part at a time.

use datafusion::sql::sqlparser::tokenizer::Location;

use super::split::Command;
use super::words::Words;
use crate::error::QueryError;

/// A cursor that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declare {
    /// Its name.
    pub name: String,
    /// Whether it stays after its transaction.
    pub is_held: bool,
    /// Whether it must be able to go back.
    pub is_scrolled: bool,
    /// Whether its values are binary.
    pub is_binary: bool,
}

/// Rows that are wanted of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Its name.
    pub cursor: String,
    /// Which ones.
    pub steps: Steps,
    /// `MOVE`: they are passed over.
    pub is_move: bool,
}

/// Which way a cursor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Forward by so many rows; all are [`usize::MAX`].
    Forward(usize),
    /// Back, or to a place that may lie behind.
    Back,
}

/// What follows `DECLARE`: the cursor, and where its question begins.
pub(super) fn declare(mut words: Words<'_>) -> Result<(Command, Location), QueryError> {
    let mut declare = Declare { name: words.name()?, is_held: false, is_scrolled: false, is_binary: false };
    loop {
        if words.has("NO") {
            words.expect("SCROLL")?;
        } else if words.has("SCROLL") {
            declare.is_scrolled = true;
        } else if words.has("BINARY") {
            declare.is_binary = true;
        } else if !words.has("INSENSITIVE") && !words.has("ASENSITIVE") {
            break;
        }
    }
    words.expect("CURSOR")?;
    if words.has("WITH") {
        words.expect("HOLD")?;
        declare.is_held = true;
    } else if words.has("WITHOUT") {
        words.expect("HOLD")?;
    }
    words.expect("FOR")?;
    let question = words.place().ok_or_else(|| words.unexpected("a question"))?;
    Ok((Command::Declare(declare), question))
}

/// What follows `FETCH` and `MOVE`.
pub(super) fn fetch(mut words: Words<'_>, is_move: bool) -> Result<Command, QueryError> {
    // A cursor may be called as a direction is.
    let steps = if words.left() == 1 { Steps::Forward(1) } else { steps(&mut words)? };
    if !words.has("FROM") {
        words.has("IN");
    }
    let cursor = words.name()?;
    words.end()?;
    Ok(Command::Fetch(Fetch { cursor, steps, is_move }))
}

fn steps(words: &mut Words<'_>) -> Result<Steps, QueryError> {
    if words.has("NEXT") {
        return Ok(Steps::Forward(1));
    }
    if words.has("PRIOR") || words.has("FIRST") || words.has("LAST") {
        return Ok(Steps::Back);
    }
    if words.has("ABSOLUTE") || words.has("RELATIVE") {
        return match words.number()? {
            Some(_) => Ok(Steps::Back),
            None => Err(words.unexpected("a number")),
        };
    }
    let is_back = words.has("BACKWARD");
    if !is_back {
        words.has("FORWARD");
    }
    let (count, is_negative) =
        if words.has("ALL") { (usize::MAX, false) } else { words.number()?.unwrap_or((1, false)) };
    Ok(if is_back || is_negative { Steps::Back } else { Steps::Forward(count) })
}

/// What follows `CLOSE`.
pub(super) fn close(mut words: Words<'_>) -> Result<Command, QueryError> {
    let name = if words.has("ALL") { None } else { Some(words.name()?) };
    words.end()?;
    Ok(Command::Close(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::statements;

    fn command(text: &str) -> Result<Command, &'static str> {
        statements(text).map(|mut found| found.remove(0).command).map_err(|err| err.code)
    }

    #[test]
    fn a_cursors_question_stays_where_it_stood() {
        let text = "DECLARE \"C\" BINARY NO SCROLL CURSOR\n WITH HOLD FOR SELECT 1";
        let found = statements(text).expect("one").remove(0);
        assert_eq!(found.text.trim(), "SELECT 1");
        assert_eq!(found.text.find("SELECT"), text.find("SELECT"));
        let Command::Declare(declare) = found.command else { panic!("{found:?}") };
        assert_eq!((declare.name.as_str(), declare.is_held, declare.is_binary), ("C", true, true));
        let plain = Declare { name: "c".to_owned(), is_held: false, is_scrolled: false, is_binary: false };
        assert_eq!(command("declare C cursor for select 1"), Ok(Command::Declare(plain.clone())));
        assert_eq!(
            command("DECLARE c SCROLL CURSOR WITHOUT HOLD FOR SELECT 1"),
            Ok(Command::Declare(Declare { is_scrolled: true, ..plain }))
        );
        for wrong in ["DECLARE", "DECLARE c", "DECLARE c CURSOR FOR", "DECLARE c CURSOR WITH FOR SELECT 1"] {
            assert_eq!(command(wrong), Err("sql.syntax"), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_is_asked_in_all_of_postgresqls_ways() {
        use Steps::{Back, Forward};
        for (text, steps) in [
            ("FETCH c", Forward(1)),
            ("FETCH FROM c", Forward(1)),
            ("FETCH NEXT IN c", Forward(1)),
            ("FETCH 7 c", Forward(7)),
            ("FETCH 0 FROM c", Forward(0)),
            ("FETCH ALL FROM c", Forward(usize::MAX)),
            ("fetch forward from C", Forward(1)),
            ("FETCH FORWARD 100 FROM \"c\"", Forward(100)),
            ("FETCH FORWARD ALL c", Forward(usize::MAX)),
            ("FETCH -1 FROM c", Back),
            ("FETCH BACKWARD ALL IN c", Back),
            ("FETCH PRIOR FROM c", Back),
            ("FETCH ABSOLUTE -3 FROM c", Back),
        ] {
            let fetch = Fetch { cursor: "c".to_owned(), steps, is_move: false };
            assert_eq!(command(text), Ok(Command::Fetch(fetch)), "{text}");
        }
        let called_next = Fetch { cursor: "next".to_owned(), steps: Forward(1), is_move: true };
        assert_eq!(command("MOVE next"), Ok(Command::Fetch(called_next)));
        assert_eq!(command("CLOSE ALL"), Ok(Command::Close(None)));
        assert_eq!(command("CLOSE \"ALL x\""), Ok(Command::Close(Some("ALL x".to_owned()))));
        for wrong in ["FETCH", "FETCH 1.5 FROM c", "FETCH - c", "FETCH 1 FROM c d", "CLOSE", "CLOSE a b"] {
            assert_eq!(command(wrong), Err("sql.syntax"), "{wrong}");
        }
    }
}
