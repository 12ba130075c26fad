//! Did you mean …: the nearest name that exists.

use datafusion::common::utils::datafusion_strsim::levenshtein;
use weir_model::tables;

/// Names further away than this share of their length are no help.
const FAR: usize = 2;

pub(crate) fn for_column<'a>(name: &str, there: impl Iterator<Item = &'a str>) -> Option<String> {
    // Exactly that name in another table says more than a similar one in this.
    let elsewhere: Vec<&str> =
        tables::ALL.iter().filter(|table| table.column(name).is_some()).map(|table| table.name).collect();
    if !elsewhere.is_empty() {
        let tables = elsewhere.join(" and ");
        return Some(format!("{name} is a column of {tables}: join it, by connection_id or trace_id"));
    }
    Some(match nearest(name, there) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "GET /api/v1/tables, or DESCRIBE flows, lists the columns".to_owned(),
    })
}

pub(crate) fn for_table(name: &str) -> Option<String> {
    match nearest(name, tables::ALL.iter().map(|table| table.name)) {
        Some(meant) => Some(format!("did you mean {meant}?")),
        None => {
            let names: Vec<&str> = tables::ALL.iter().map(|table| table.name).collect();
            Some(format!("the tables are {}", names.join(", ")))
        }
    }
}

pub(crate) fn for_syntax(text: &str) -> Option<String> {
    let first = text.split_whitespace().next()?.to_ascii_uppercase();
    let starts = ["SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "VALUES"];
    if starts.contains(&first.as_str()) {
        return None;
    }
    Some(match nearest(&first, starts.into_iter()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => "a question begins with SELECT".to_owned(),
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
        assert_eq!(for_table("flow").as_deref(), Some("did you mean flows?"));
        assert_eq!(for_syntax("SELCT 1").as_deref(), Some("did you mean SELECT?"));
        assert_eq!(
            for_column("client_pi", ["client_ip", "server_ip"].into_iter()).as_deref(),
            Some("did you mean client_ip?")
        );
    }

    #[test]
    fn a_column_of_another_table_is_named_with_its_table() {
        let hint = for_column("tls_ja4", ["time", "tls_sni"].into_iter()).expect("a hint");
        assert!(hint.contains("tls_handshakes"), "{hint}");
    }
}
