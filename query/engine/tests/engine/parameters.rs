//! `$1`, `$2` …: values of their places' types, and what is wrong with them is said with its place.

use weir_query::{Position, QueryError, ScalarValue};

use super::*;

fn asked(text: &str, parameters: Vec<ScalarValue>) -> Question {
    Question { text: text.to_owned(), parameters, ..Question::default() }
}

async fn refused(text: &str, parameters: Vec<ScalarValue>) -> QueryError {
    let world = World::new().await.with_flows().await;
    world.engine.collect(asked(text, parameters), 10).await.expect_err(text)
}

#[tokio::test]
async fn values_take_the_type_of_their_place() {
    let world = World::new().await.with_flows().await;
    for (text, values, expected) in [
        ("SELECT count(*) FROM flows WHERE client_bytes < $1", vec![100.into()], "100"),
        ("SELECT count(*) FROM flows WHERE client_bytes < $1", vec![99.5.into()], "100"),
        ("SELECT count(*) FROM flows WHERE client_bytes < $1", vec!["100".into()], "100"),
        (
            "SELECT count(*) FROM flows WHERE server_port = $1 AND client_bytes >= $2",
            vec![443.into(), 290.into()],
            "10",
        ),
        ("SELECT count(*) FROM flows WHERE client_ip = $1", vec!["10.0.0.3".into()], "30"),
        (
            "SELECT count(*) FROM flows WHERE client_ip IN ($2, $1)",
            vec!["10.0.0.3".into(), "10.0.0.4".into()],
            "60",
        ),
        ("SELECT count(*) FROM flows WHERE time >= $1", vec!["2023-11-14T23:13:20Z".into()], "200"),
        (
            "SELECT count(*) FROM flows WHERE time BETWEEN $1 AND $2",
            vec!["2023-11-14 22:00:00".into(), "2023-11-14T23:00:00+00:00".into()],
            "100",
        ),
        ("SELECT count(*) FROM flows WHERE client_namespace = $1", vec![ScalarValue::Null], "0"),
        ("SELECT count(*) FROM (SELECT * FROM flows LIMIT $1)", vec![7.into()], "7"),
        ("SELECT $1 AS a, $1 = 'x' AS b", vec!["x".into()], "x|true"),
        ("SELECT count(*) FROM flows WHERE (client_bytes > 5) = $1", vec![true.into()], "294"),
        ("SELECT count(*) FROM flows WHERE cidr_contains($1, client_ip)", vec!["10.0.0.0/30".into()], "120"),
        ("SELECT '$1', count(*) FROM flows", vec![], "$1|300"),
    ] {
        assert_eq!(world.rows(asked(text, values)).await, [expected], "{text}");
    }
}

/// A value is a value: it is never read as SQL.
#[tokio::test]
async fn no_value_is_read_as_sql() {
    let world = World::new().await.with_flows().await;
    let value = "x' OR '1'='1";
    assert_eq!(
        world.rows(asked("SELECT count(*) FROM flows WHERE client_ip = $1", vec![value.into()])).await,
        ["0"]
    );
    assert_eq!(world.rows(asked("SELECT $1", vec![value.into()])).await, [value]);
}

#[tokio::test]
async fn a_time_that_is_given_narrows_what_is_read_and_said() {
    let world = World::new().await.with_flows().await;
    let question =
        || asked("SELECT count(client_ip) FROM flows WHERE time >= $1", vec!["2023-11-15T00:00:00Z".into()]);
    let answer = world.engine.sql(question()).await.unwrap();
    assert_eq!(answer.range.from, 1_700_006_400_000_000_000);
    let plan = world
        .rows(asked("EXPLAIN SELECT client_ip FROM flows WHERE time >= $1", question().parameters))
        .await
        .join("\n");
    assert!(!plan.contains("parquet"), "both files are older: {plan}");
}

#[tokio::test]
async fn too_few_and_too_many_values_are_refused_with_the_place() {
    let missing =
        refused("SELECT *\nFROM flows WHERE server_port = $1 AND client_ip = $2", vec![443.into()]).await;
    assert_eq!(
        (missing.code, missing.position),
        ("sql.parameter", Some(Position { line: 2, column: 51 })),
        "{missing:?}"
    );
    assert_eq!(missing.message, "$2 has no value: 2 are wanted, 1 given");
    assert!(missing.hint.is_some());
    let many = refused("SELECT $1", vec![1.into(), 2.into(), 3.into()]).await;
    assert_eq!(
        (many.code, many.message.as_str()),
        ("sql.parameter", "3 values are given, and the text has none beyond $1")
    );
    let none = refused("SELECT 1", vec![1.into()]).await;
    assert_eq!((none.code, none.hint.is_some()), ("sql.parameter", true));
    for text in ["SELECT $0", "SELECT $x", "SELECT $1001"] {
        let wrong = refused(text, vec![1.into()]).await;
        assert_eq!(
            (wrong.code, wrong.position),
            ("sql.parameter", Some(Position { line: 1, column: 8 })),
            "{text}: {wrong:?}"
        );
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_refused_with_the_place() {
    let time = refused("SELECT * FROM flows WHERE time > $1", vec!["yesterday".into()]).await;
    assert_eq!((time.code, time.position), ("sql.parameter", Some(Position { line: 1, column: 34 })));
    assert_eq!(time.message, "$1 is \"yesterday\", which is no TIMESTAMP");
    assert!(time.hint.unwrap().contains("2026-11-24T08:00:00Z"));
    let port = refused("SELECT * FROM flows WHERE server_port = $1", vec!["https".into()]).await;
    assert_eq!((port.code, port.message.as_str()), ("sql.parameter", "$1 is \"https\", which is no INTEGER"));
}
