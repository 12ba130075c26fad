//! What is wrong is said with its place and with what to do.

use weir_query::{Position, QueryError};

use super::*;

async fn error(sql: &str) -> QueryError {
    let world = World::new().await.with_flows().await;
    world.engine.collect(sql, 10).await.expect_err(sql)
}

fn at(line: u64, column: u64) -> Position {
    Position { line, column }
}

#[tokio::test]
async fn a_column_that_is_not_there() {
    let error = error("SELECT client_ip,\n       client_prot FROM flows").await;
    assert_eq!((error.code, error.position), ("sql.unknown_column", Some(at(2, 8))));
    assert_eq!(error.hint.as_deref(), Some("did you mean client_port?"));
}

#[tokio::test]
async fn a_column_of_another_table() {
    let error = error("SELECT tls_ja4 FROM flows").await;
    assert_eq!((error.code, error.position), ("sql.unknown_column", Some(at(1, 8))));
    assert!(error.hint.as_deref().unwrap().contains("tls_handshakes"), "{error:?}");
}

#[tokio::test]
async fn a_table_that_is_not_there() {
    let error = error("SELECT * FROM flow").await;
    assert_eq!((error.code, error.position), ("sql.unknown_table", Some(at(1, 15))));
    assert_eq!(error.hint.as_deref(), Some("did you mean flows?"));
}

#[tokio::test]
async fn a_function_that_is_not_there() {
    let error = error("SELECT summ(client_bytes) FROM flows").await;
    assert_eq!((error.code, error.position), ("sql.unknown_function", Some(at(1, 8))));
    assert!(error.hint.as_deref().unwrap().contains("sum"), "{error:?}");
}

#[tokio::test]
async fn words_that_are_no_sql() {
    let slip = error("SELCT 1").await;
    assert_eq!((slip.code, slip.hint.as_deref()), ("sql.syntax", Some("did you mean SELECT?")));
    assert_eq!(slip.position, Some(at(1, 1)));
    let unfinished = error("SELECT client_ip\nFROM flows WHERE (client_bytes > 1").await;
    assert_eq!((unfinished.code, unfinished.position.is_some()), ("sql.syntax", true), "{unfinished:?}");
    let ended = error("SELECT client_ip\n  FROM \n").await;
    assert_eq!((ended.code, ended.position), ("sql.syntax", Some(at(2, 7))));
    let quote = error("SELECT 'unfinished").await;
    assert_eq!((quote.code, quote.position), ("sql.syntax", Some(at(1, 8))));
}

#[tokio::test]
async fn a_column_that_is_not_grouped() {
    let error = error("SELECT client_process, count(*) FROM flows").await;
    assert_eq!((error.code, error.position), ("sql.invalid", Some(at(1, 8))));
    assert_eq!(error.message, "column \"client_process\" is neither grouped nor in an aggregate");
    assert!(error.hint.as_deref().unwrap().contains("GROUP BY ALL"), "{error:?}");
}

#[tokio::test]
async fn a_misspelt_word_of_sql() {
    let error = error("SELECT * FROM flows LIMT 3").await;
    assert_eq!(error.code, "sql.syntax");
    assert_eq!(error.hint.as_deref(), Some("did you mean LIMIT where it says LIMT?"));
}

#[tokio::test]
async fn values_that_do_not_fit() {
    for sql in [
        "SELECT CAST(client_ip AS BIGINT) FROM flows",
        "SELECT client_bytes + client_ip FROM flows",
        "SELECT 1 / 0 FROM flows",
        "SELECT sum(client_ip) FROM flows",
        "SELECT cidr_contains('not a network', client_ip) FROM flows",
        "SELECT client_ip, count(*) FROM flows",
    ] {
        let error = error(sql).await;
        assert!(error.code.starts_with("sql."), "{sql}: {error:?}");
        assert!(error.message.len() < 300, "{sql}: {error:?}");
        assert!(!error.message.is_empty() && !error.message.contains("Internal error"), "{sql}: {error:?}");
    }
}
