//! Filters of the flows page: `column op value`, checked against the schema, as SQL.

use weir_model::tables::{FLOWS, TLS_HANDSHAKES};
use weir_model::{DataKind, Table};

/// Columns of the handshakes that a flow is shown with.
pub(crate) const HANDSHAKE_COLUMNS: [&str; 4] = ["tls_ja4", "tls_ja3", "tls_alpn", "tls_cipher"];

/// Where free text is looked for.
const SEARCHED: [&str; 13] = [
    "connection_id",
    "client_ip",
    "server_ip",
    "service_ip",
    "client_process",
    "server_process",
    "client_pod",
    "server_pod",
    "client_workload",
    "server_workload",
    "client_name",
    "server_name",
    "tls_sni",
];

/// Longest first, so that `>=` is not read as `>`.
const OPERATORS: [&str; 7] = ["!=", ">=", "<=", "=", "~", ">", "<"];

/// One filter as an SQL condition on `flows`.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn condition(filter: &str) -> Result<String, String> {
    let filter = filter.trim();
    let end = filter.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(filter.len());
    let (column, rest) = filter.split_at(end);
    let rest = rest.trim_start();
    let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) else {
        return Err(format!("{filter:?} has no operator: write column=value, with one of = != ~ > < >= <="));
    };
    let value = rest[operator.len()..].trim();
    if HANDSHAKE_COLUMNS.contains(&column) {
        let inner = compare(&TLS_HANDSHAKES, column, operator, value)?;
        return Ok(format!("connection_id IN (SELECT connection_id FROM tls_handshakes WHERE {inner})"));
    }
    compare(&FLOWS, column, operator, value)
}

fn compare(table: &'static Table, column: &str, operator: &str, value: &str) -> Result<String, String> {
    let Some(known) = table.column(column) else {
        return Err(format!("no column {column:?} in {}: GET /api/v1/tables lists them", table.name));
    };
    if operator == "~" {
        return Ok(contains(column, value));
    }
    let literal = match known.kind {
        DataKind::Text | DataKind::Str => quoted(value),
        DataKind::Int | DataKind::Count | DataKind::Port => value
            .parse::<i64>()
            .map_err(|_| format!("{column} is a whole number, {value:?} is none"))?
            .to_string(),
        DataKind::Float => {
            let number =
                value.parse::<f64>().map_err(|_| format!("{column} is a number, {value:?} is none"))?;
            format!("{number:?}")
        }
        DataKind::Bool => match value {
            "true" | "false" => value.to_owned(),
            _ => return Err(format!("{column} is true or false, not {value:?}")),
        },
        DataKind::Time | DataKind::OptTime => {
            format!("to_timestamp_nanos({})", crate::times::parse(value, crate::times::now())?)
        }
        DataKind::TextList | DataKind::Map => return Err(format!("{column} takes ~ (contains) only")),
    };
    // "Not this value" includes rows that have none: to hide what is known, not what is unknown.
    if operator == "!=" {
        return Ok(format!("{column} IS DISTINCT FROM {literal}"));
    }
    Ok(format!("{column} {operator} {literal}"))
}

/// Free text: in addresses, names, processes, SNI; a number is also a port.
pub(crate) fn free_text(text: &str) -> String {
    let mut conditions: Vec<String> = SEARCHED.iter().map(|column| contains(column, text)).collect();
    if let Ok(port) = text.parse::<u16>() {
        conditions.push(format!("client_port = {port} OR server_port = {port}"));
    }
    format!("({})", conditions.join(" OR "))
}

fn contains(column: &str, value: &str) -> String {
    format!("strpos(lower(CAST({column} AS VARCHAR)), {}) > 0", quoted(&value.to_lowercase()))
}

/// A text as an SQL literal. Everything that comes from outside goes into SQL through here.
pub(crate) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_conditions_of_the_column_s_type() {
        for (filter, sql) in [
            ("server_port=443", "server_port = 443"),
            ("rtt_us >= 1000", "rtt_us >= 1000"),
            ("tls_sni=O'Hara", "tls_sni = 'O''Hara'"),
            ("close_reason!=fin", "close_reason IS DISTINCT FROM 'fin'"),
            ("tls_sni~Demo", "strpos(lower(CAST(tls_sni AS VARCHAR)), 'demo') > 0"),
        ] {
            assert_eq!(condition(filter).as_deref(), Ok(sql));
        }
    }

    #[test]
    fn what_is_no_filter_is_explained() {
        for (filter, word) in [
            ("server_port", "operator"),
            ("server_prt=1", "no column"),
            ("server_port=https", "whole number"),
            ("x; DROP TABLE flows=1", "operator"),
        ] {
            let why = condition(filter).expect_err("refused");
            assert!(why.contains(word), "{why}");
        }
    }
}
