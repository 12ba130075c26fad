//! Did you mean …: the nearest name that exists.

use datafusion::common::utils::datafusion_strsim::levenshtein;
use weir_model::tables;

/// Names further away than this share of their length are no help.
const FAR: usize = 2;

/// Words that begin a part of a question.
const KEYWORDS: [&str; 10] =
    ["SELECT", "FROM", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "JOIN", "BETWEEN", "INTERVAL"];

pub(crate) fn for_column<'a>(name: &str, there: impl Iterator<Item = &'a str>) -> String {
    // Exactly that name in another table says more than a similar one in this.
    let elsewhere: Vec<&str> =
        tables::ALL.iter().filter(|table| table.column(name).is_some()).map(|table| table.name).collect();
    if !elsewhere.is_empty() {
        let tables = elsewhere.join(" and ");
        return format!("{name} is a column of {tables}: join it, by connection_id or trace_id");
    }
    nearest(name, there).map_or_else(
        || "GET /api/v1/tables, or DESCRIBE flows, lists the columns".to_owned(),
        |meant| format!("did you mean {meant}?"),
    )
}

pub(crate) fn for_table(name: &str) -> String {
    let names: Vec<&str> = tables::ALL.iter().map(|table| table.name).collect();
    nearest(name, names.iter().copied()).map_or_else(
        || format!("the tables are {}", names.join(", ")),
        |meant| format!("did you mean {meant}?"),
    )
}

pub(crate) fn for_syntax(text: &str) -> Option<String> {
    let first = text.split_whitespace().next()?.to_ascii_uppercase();
    let starts = ["SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "VALUES"];
    if !starts.contains(&first.as_str()) {
        return Some(match nearest(&first, starts.into_iter()) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "a question begins with SELECT".to_owned(),
        });
    }
    misspelt(text).map(|(word, meant)| format!("did you mean {meant} where it says {word}?"))
}

/// A word that is nearly one of SQL's and nothing else that we know: the parser takes it for a name and stumbles later.
fn misspelt(text: &str) -> Option<(&str, &'static str)> {
    // Every other part lies between quotes.
    let unquoted = text.split('\'').step_by(2);
    let words = unquoted.flat_map(|part| part.split(|c: char| !(c.is_alphanumeric() || c == '_')));
    words.filter(|word| word.len() >= 4).find_map(|word| {
        let upper = word.to_ascii_uppercase();
        let is_name = tables::ALL.iter().any(|table| table.name == word || table.column(word).is_some());
        if is_name || KEYWORDS.contains(&upper.as_str()) {
            return None;
        }
        let meant = KEYWORDS.into_iter().find(|keyword| levenshtein(&upper, keyword) == 1)?;
        Some((word, meant))
    })
}

fn nearest<'a>(name: &str, there: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    there
        .map(|candidate| (levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance * FAR <= candidate.len().min(name.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        assert_eq!(for_table("flow"), "did you mean flows?");
        assert_eq!(for_syntax("SELCT 1").as_deref(), Some("did you mean SELECT?"));
        assert_eq!(
            for_column("client_pi", ["client_ip", "server_ip"].into_iter()),
            "did you mean client_ip?"
        );
    }

    #[test]
    fn a_misspelt_word_of_sql_is_found_where_the_parser_takes_it_for_a_name() {
        assert_eq!(
            for_syntax("SELECT * FROM flows LIMT 3").as_deref(),
            Some("did you mean LIMIT where it says LIMT?")
        );
        assert_eq!(for_syntax("SELECT 'LIMT' FROM flows WHERE ("), None);
        assert_eq!(for_syntax("SELECT node, form FROM flows ORDER node"), None);
    }

    #[test]
    fn a_column_of_another_table_is_named_with_its_table() {
        let hint = for_column("tls_ja4", ["time", "tls_sni"].into_iter());
        assert!(hint.contains("tls_handshakes"), "{hint}");
    }
}
