//! `POST /api/v1/sql` in its five formats, with parameters and limits.

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
async fn a_file_that_cannot_be_read_is_said_once_and_counted_then() {
    let world = World::new().await.with_rows().await;
    let sealed = world.store.snapshot(&weir_model::tables::FLOWS).segments[0].path.to_string();
    std::fs::write(world.store.dir().join(sealed), b"PAR1 was here").unwrap();
    let answer = world.ask(BY_PROCESS, "*/*").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "data.damaged");
    assert!(!answer.header("retry-after").is_empty());
    let answer = world.ask(BY_PROCESS, "*/*").await;
    assert_eq!(answer.json()["rows"][0][1], 5, "the other half: {}", answer.text());
    let told = &answer.json()["completeness"];
    assert_eq!((&told["complete"], &told["rows_damaged"]), (&json!(false), &json!(5)));
    assert_eq!(told["message"], "5 rows in damaged files");
    let flows = world.get("/api/v1/flows").await.json();
    assert_eq!(
        (flows["rows"].as_array().unwrap().len(), &flows["completeness"]["rows_damaged"]),
        (5, &json!(5))
    );
    let status = world.get("/api/v1/status").await.json();
    let flows = status["tables"].as_array().unwrap().iter().find(|table| table["name"] == "flows").unwrap();
    assert_eq!((&flows["rows_sealed"], &flows["rows_damaged"]), (&json!(0), &json!(5)));
    let metrics = world.get("/metrics").await;
    assert!(metrics.text().contains("weir_store_damaged_rows{table=\"flows\"} 5"), "{}", metrics.text());
}

#[tokio::test]
async fn json_in_is_as_good_as_text() {
    let world = World::new().await.with_rows().await;
    for body in [json!({ "sql": "SELECT 1 AS one" }), json!({ "query": "SELECT 1 AS one" })] {
        assert_eq!(world.ask_json(&body, "*/*").await.json()["rows"], json!([[1]]));
    }
    for body in [
        r#"{"sql":1}"#,
        r#"{"question":"SELECT 1"}"#,
        r#"{"query":"SELECT 1","sql":"SELECT 2"}"#,
        r#"{"query":"SELECT $1","params":[[1]]}"#,
        r#"{"query":"SELECT $1","params":[{"a":1}]}"#,
        r#"{"query":"SELECT 1","limits":{"row":1}}"#,
        r#"{"query":"SELECT 1","limits":{"rows":-1}}"#,
        "",
        r#"{"sql":" "}"#,
    ] {
        let request = Request::post("/api/v1/sql").header("content-type", "application/json; charset=utf-8");
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
async fn parquet_is_a_file_that_any_reader_takes() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let world = World::new().await.with_rows().await;
    let sql = "SELECT f.time, f.client_process, client_bytes, f.end_time - f.time AS lasted, tls_alpn_offered
               FROM flows f LEFT JOIN tls_handshakes USING (connection_id) ORDER BY 1";
    let answer = world.ask(sql, "application/vnd.apache.parquet").await;
    assert_eq!(answer.header("content-type"), "application/vnd.apache.parquet", "{}", answer.text());
    let file = ParquetRecordBatchReaderBuilder::try_new(answer.body.clone()).unwrap();
    let kinds: Vec<String> =
        file.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(kinds[..3], ["Timestamp(ns, \"UTC\")", "Utf8", "Int64"]);
    let rows: usize = file.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 10);
    let none =
        world.ask("SELECT time FROM flows WHERE client_port = 1", "application/vnd.apache.parquet").await;
    let none = ParquetRecordBatchReaderBuilder::try_new(none.body).unwrap();
    assert_eq!((none.metadata().file_metadata().num_rows(), none.schema().fields().len()), (0, 1));
}

/// A large file comes in several row groups, the first of them before the last row is known.
#[tokio::test]
async fn parquet_is_sent_while_it_is_written() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let world = World::new().await;
    let sql = "SELECT value FROM generate_series(1, 500000)";
    let answer = world.ask(sql, "application/vnd.apache.parquet").await;
    let file = ParquetRecordBatchReaderBuilder::try_new(answer.body).unwrap();
    assert!(file.metadata().num_row_groups() > 2, "{}", file.metadata().num_row_groups());
    assert_eq!(file.metadata().file_metadata().num_rows(), 500_000);
    let endless = "SELECT value FROM generate_series(1, 1000000000000)";
    let response =
        world.router.clone().oneshot(question(endless, "application/vnd.apache.parquet")).await.unwrap();
    let mut chunks = response.into_body().into_data_stream();
    let mut bytes = 0;
    while bytes < 100_000 {
        bytes += chunks.next().await.unwrap().unwrap().len();
    }
    drop(chunks);
    idle(&world.engine).await;
}

#[tokio::test]
async fn parameters_are_values_by_their_json_type() {
    let world = World::new().await.with_rows().await;
    let now = now();
    for (query, params, expected) in [
        ("SELECT count(*) FROM flows WHERE server_port = $1", json!([443]), json!(5)),
        (
            "SELECT count(*) FROM flows WHERE server_port = $1 AND client_process = $2",
            json!([443, "curl"]),
            json!(1),
        ),
        ("SELECT count(*) FROM flows WHERE client_bytes > $1", json!([104.5]), json!(5)),
        ("SELECT count(*) FROM flows WHERE (encryption = 'tls') = $1", json!([true]), json!(5)),
        ("SELECT count(*) FROM flows WHERE $1 IS NULL", json!([null]), json!(10)),
        ("SELECT count(*) FROM flows WHERE time > $1", json!(["2026-01-01T00:00:00Z"]), json!(10)),
        ("SELECT count(*) FROM flows WHERE time < $1", json!(["1999-01-01T00:00:00+02:00"]), json!(0)),
        ("SELECT $1", json!([18_446_744_073_709_551_615_u64]), json!("18446744073709551615")),
        ("SELECT $1", json!([now]), json!(now.to_string())),
    ] {
        let answer = world.ask_json(&json!({ "query": query, "params": params }), "*/*").await;
        assert_eq!(answer.status, StatusCode::OK, "{query} {params}: {}", answer.text());
        assert_eq!(answer.json()["rows"], json!([[expected]]), "{query} {params}");
    }
    let missing = world.ask_json(&json!({ "query": "SELECT\n $1, $2", "params": [1] }), "text/csv").await;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST);
    let error = &missing.json()["error"];
    assert_eq!(
        (&error["code"], &error["position"]),
        (&json!("sql.parameter"), &json!({ "line": 2, "column": 6 }))
    );
    assert!(error["hint"].as_str().unwrap().contains("params"), "{error}");
}

#[tokio::test]
async fn a_request_can_lower_its_limits_and_not_raise_them() {
    let world = World::new().await;
    let many = "SELECT value FROM generate_series(1, 100000)";
    let cut =
        world.ask_json(&json!({ "query": many, "limits": { "rows": 5 } }), "application/json").await.json();
    assert_eq!((&cut["row_count"], &cut["truncated"]), (&json!(5), &json!(true)));
    let request =
        Request::post("/api/v1/sql").header("content-type", "application/json").header("accept", "text/csv");
    let body = json!({ "query": many, "limits": { "rows": 5 } }).to_string();
    let response = world.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    assert!(to_bytes(response.into_body(), MOST_BYTES).await.is_err(), "a part must not look whole");
    for (limits, code, status) in [
        (json!({ "time_ms": 50 }), "limit.time", StatusCode::UNPROCESSABLE_ENTITY),
        (json!({ "memory_bytes": 100_000 }), "limit.memory", StatusCode::UNPROCESSABLE_ENTITY),
        (json!({ "time_ms": 3_600_000 }), "request.limits", StatusCode::BAD_REQUEST),
        (json!({ "memory_bytes": 1_u64 << 50 }), "request.limits", StatusCode::BAD_REQUEST),
        (json!({ "rows": 0 }), "request.limits", StatusCode::BAD_REQUEST),
    ] {
        let query = "SELECT array_agg(value) FROM generate_series(1, 100000000)";
        let answer = world.ask_json(&json!({ "query": query, "limits": limits }), "*/*").await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{limits}");
        assert!(answer.json()["error"]["hint"].is_string(), "{limits}");
    }
}

#[tokio::test]
async fn who_finds_no_turn_is_told_when_to_ask_again() {
    let world = World::with(Limits { at_once: 1, waiting: 0, threads: 2, ..Limits::default() }).await;
    let sql = "SELECT value FROM generate_series(1, 1000000000000)";
    let response = world.router.clone().oneshot(question(sql, "text/csv")).await.unwrap();
    for path in ["/api/v1/flows", "/api/v1/export?format=csv"] {
        assert_eq!(world.get(path).await.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
    let busy = world.ask("SELECT 1", "*/*").await;
    assert_eq!((busy.status, busy.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(busy.json()["error"]["code"], "limit.busy");
    assert!(busy.json()["error"]["hint"].is_string());
    let grpc = weir_api::jaeger::grpc::query(&world.api).await.into_axum_router();
    let status = async |path: &str| {
        let request =
            Request::post(path).header("content-type", "application/grpc").body(Body::empty()).unwrap();
        let response = grpc.clone().oneshot(request).await.unwrap();
        response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
    };
    assert_eq!(
        status("/jaeger.api_v3.QueryService/GetServices").await.as_deref(),
        Some("8"),
        "RESOURCE_EXHAUSTED"
    );
    assert_ne!(status("/grpc.health.v1.Health/Check").await.as_deref(), Some("8"));
    // What isn't asked of the engine on a caller's behalf needs no turn.
    for path in ["/readyz", "/api/v1/status", "/api/v1/tables"] {
        assert_eq!(world.get(path).await.status, StatusCode::OK, "{path}");
    }
    drop(response);
    idle(&world.engine).await;
    assert_eq!(world.ask("SELECT 1", "*/*").await.status, StatusCode::OK);
}

const FORMATS: [&str; 5] = [
    "application/json",
    "text/csv",
    "application/x-ndjson",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
];

#[tokio::test]
async fn every_format_says_how_complete_it_is() {
    let world = World::new().await.with_rows().await;
    for accept in FORMATS {
        let answer = world.ask("SELECT count(*) FROM flows", accept).await;
        assert!(answer.header("content-type").starts_with(accept), "{accept}");
        let completeness: Value = serde_json::from_str(answer.header("x-weir-completeness")).unwrap();
        assert_eq!(completeness["complete"], true, "{accept}");
    }
}

#[tokio::test]
async fn what_a_format_has_no_room_for_is_said() {
    let world = World::new().await;
    let answer =
        world.ask("SELECT INTERVAL '1 month 3 seconds' AS i", "application/vnd.apache.parquet").await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("sql.invalid"))
    );
    assert!(answer.json()["error"]["hint"].as_str().unwrap().contains("CAST"), "{}", answer.text());
}

#[tokio::test]
async fn what_is_wrong_has_a_place_and_a_hint_in_every_format() {
    let world = World::new().await;
    for accept in FORMATS {
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
    for accept in &FORMATS[1..] {
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
