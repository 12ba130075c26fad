//! `POST /api/v1/sql` in its four formats.

use arrow::ipc::reader::StreamReader;
use futures::StreamExt;
use serde_json::json;

use super::*;

const BY_PROCESS: &str =
    "SELECT client_process, count(*) AS n, max(server_bytes) AS most FROM flows GROUP BY 1 ORDER BY n";

#[tokio::test]
async fn json_has_columns_rows_and_how_complete_they_are() {
    let world = World::new().await.with_rows().await;
    let answer = world.ask(BY_PROCESS, "*/*").await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!(
        body["columns"],
        json!([
            { "name": "client_process", "type": "VARCHAR" },
            { "name": "n", "type": "BIGINT" },
            { "name": "most", "type": "BIGINT" }
        ])
    );
    assert_eq!(
        body["rows"],
        json!([["curl", 3, 0], ["say \"hi\", twice", 7, "9007199254740993"]]),
        "what JavaScript can't hold is text"
    );
    assert_eq!((&body["row_count"], &body["truncated"]), (&json!(2), &json!(false)));
    assert_eq!(body["completeness"]["complete"], true);
    assert_eq!(
        serde_json::from_str::<Value>(answer.header("x-weir-completeness")).unwrap(),
        body["completeness"]
    );
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn json_in_is_as_good_as_text() {
    let world = World::new().await.with_rows().await;
    let request = Request::post("/api/v1/sql").header("content-type", "application/json; charset=utf-8");
    let answer = world.send(request.body(Body::from(r#"{"sql":"SELECT 1 AS one"}"#)).unwrap()).await;
    assert_eq!(answer.json()["rows"], json!([[1]]));
    for body in [r#"{"sql":1}"#, r#"{"query":"SELECT 1"}"#, "", r#"{"sql":" "}"#] {
        let request = Request::post("/api/v1/sql").header("content-type", "application/json");
        let answer = world.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json()["error"]["code"], "request.body", "{body}");
    }
    let latin = Request::post("/api/v1/sql").body(Body::from(&b"SELECT '\xe9'"[..])).unwrap();
    assert_eq!(world.send(latin).await.json()["error"]["code"], "request.body");
}

#[tokio::test]
async fn json_is_cut_and_says_so_while_the_others_go_on() {
    let world = World::new().await;
    let sql = "SELECT value FROM generate_series(1, 25000)";
    let json = world.ask(sql, "application/json").await.json();
    assert_eq!((json["row_count"].as_u64(), json["truncated"].as_bool()), (Some(10_000), Some(true)));
    assert_eq!(world.ask(sql, "text/csv").await.text().lines().count(), 25_001);
    assert_eq!(world.ask(sql, "application/x-ndjson").await.text().lines().count(), 25_000);
}

#[tokio::test]
async fn csv_quotes_what_must_be_quoted() {
    let world = World::new().await.with_rows().await;
    let answer = world.ask(BY_PROCESS, "text/csv").await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        answer.text(),
        "client_process,n,most\ncurl,3,0\n\"say \"\"hi\"\", twice\",7,9007199254740993\n"
    );
    let none = world.ask("SELECT client_ip, client_port FROM flows WHERE client_port = 1", "text/csv").await;
    assert_eq!(none.text(), "client_ip,client_port\n");
}

#[tokio::test]
async fn ndjson_is_one_object_a_line() {
    let world = World::new().await.with_rows().await;
    let answer = world.ask(BY_PROCESS, "application/x-ndjson").await;
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({ "client_process": "curl", "n": 3, "most": 0 }));
    assert_eq!(lines.len(), 2);
}

#[tokio::test]
async fn arrow_is_a_stream_that_any_reader_takes() {
    let world = World::new().await.with_rows().await;
    let sql = "SELECT time, client_process, client_bytes FROM flows ORDER BY time";
    let answer = world.ask(sql, "application/vnd.apache.arrow.stream").await;
    assert_eq!(answer.header("content-type"), "application/vnd.apache.arrow.stream");
    let reader = StreamReader::try_new(answer.body.as_ref(), None).unwrap();
    let names: Vec<String> =
        reader.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(names, ["Timestamp(ns, \"UTC\")", "Utf8", "Int64"]);
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 10);
    let none = world
        .ask("SELECT time FROM flows WHERE client_port = 1", "application/vnd.apache.arrow.stream")
        .await;
    assert_eq!(
        StreamReader::try_new(none.body.as_ref(), None)
            .unwrap()
            .map(Result::unwrap)
            .map(|batch| batch.num_rows())
            .sum::<usize>(),
        0
    );
}

#[tokio::test]
async fn what_is_wrong_has_a_place_and_a_hint_in_every_format() {
    let world = World::new().await;
    for accept in
        ["application/json", "text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream"]
    {
        let answer = world.ask("SELECT clint_ip FROM flows", accept).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{accept}");
        assert_eq!(
            answer.json()["error"],
            json!({
                "code": "sql.unknown_column",
                "message": "no column \"clint_ip\" in the tables of this query",
                "position": { "line": 1, "column": 8 },
                "hint": "did you mean client_ip?"
            }),
            "{accept}"
        );
    }
    let refused = world.ask("DROP TABLE flows", "*/*").await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("sql.read_only"))
    );
}

#[tokio::test]
async fn an_error_on_the_way_breaks_the_transfer_off() {
    let world = World::new().await;
    let sql = "SELECT 100 / (value - 60000) FROM generate_series(1, 100000)";
    for accept in ["text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream"] {
        let response = world.router.clone().oneshot(question(sql, accept)).await.unwrap();
        let body = to_bytes(response.into_body(), MOST_BYTES).await;
        assert!(body.is_err(), "{accept}: a part must not look whole");
    }
    let whole = world.ask(sql, "application/json").await;
    assert_eq!(whole.status, StatusCode::OK, "the error lies beyond the rows that JSON has room for");
}

#[tokio::test]
async fn rows_are_sent_as_they_are_found() {
    let world = World::new().await;
    let sql = "SELECT value FROM generate_series(1, 1000000000000)";
    let response = world.router.clone().oneshot(question(sql, "text/csv")).await.unwrap();
    let mut chunks = response.into_body().into_data_stream();
    let first = chunks.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"value\n1\n2\n"));
    assert_eq!(world.engine.running(), 1);
    drop(chunks);
    idle(&world.engine).await;
}

#[tokio::test]
async fn an_answer_is_incomplete_only_for_the_times_in_which_something_is_missing() {
    let mut world = World::new().await.with_rows().await;
    world
        .add(&[weir_model::ProbeHealthRow {
            time: now() - 7200 * SECOND,
            node: Some("node-1".into()),
            component: Some("probe".into()),
            counter: Some("ring_full".into()),
            kind: Some("lost".into()),
            value: 4,
            ..weir_model::ProbeHealthRow::default()
        }])
        .await;
    let ever = world.ask("SELECT count(client_ip) FROM flows", "*/*").await.json();
    assert_eq!(
        (&ever["completeness"]["complete"], &ever["completeness"]["lost"]),
        (&json!(false), &json!(4))
    );
    let lately = world
        .ask("SELECT count(client_ip) FROM flows WHERE time > now() - INTERVAL '10 minutes'", "*/*")
        .await
        .json();
    assert_eq!((&lately["rows"], &lately["completeness"]["complete"]), (&json!([[10]]), &json!(true)));
}
