//! `GET /api/v1/export`: every row once, in the three formats. That OCSF events are valid is tested beside their code,
//! against OCSF's schema.

use std::collections::BTreeSet;

use super::*;

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn ocsf_has_an_event_for_each_flow_and_each_handshake() {
    let world = World::new().await.with_rows().await;
    let answer = world.get("/api/v1/export?format=ocsf&since=1h").await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let events = lines(&answer);
    assert_eq!(events.len(), 15);
    let (flows, handshakes): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| event.get("traffic").is_some());
    assert_eq!((flows.len(), handshakes.len()), (10, 5));
    assert!(flows.is_sorted_by_key(|event| event["time"].as_i64()), "oldest first");
    let bytes: i64 = flows.iter().map(|event| event["traffic"]["bytes_out"].as_i64().unwrap()).sum();
    assert_eq!(bytes, 1045);
    assert!(events.iter().all(|event| event["class_uid"] == 4001 && event["metadata"]["version"] == "1.2.0"));
    assert_eq!(flows[0]["dst_endpoint"]["name"], "api_v2.example", "no hostname: it has an underscore");
    assert_eq!(handshakes[0]["dst_endpoint"]["hostname"], "api.example");
    assert!(answer.header("x-weir-completeness").contains("\"complete\":true"));
}

#[tokio::test]
async fn json_lines_say_their_table_and_leave_out_what_is_unknown() {
    let world = World::new().await.with_rows().await;
    let rows = lines(&world.get("/api/v1/export?format=jsonl").await);
    assert_eq!(rows.len(), 15);
    let ids: BTreeSet<(&str, &str)> = rows
        .iter()
        .map(|row| (row["table"].as_str().unwrap(), row["connection_id"].as_str().unwrap()))
        .collect();
    assert_eq!(ids.len(), 15, "each once");
    assert!(rows.iter().all(|row| row.get("client_pod").is_none()));
    assert_eq!(rows[14]["tls_alpn_offered"], serde_json::json!(["h2", "http/1.1"]));
}

#[tokio::test]
async fn csv_is_one_table_with_all_its_columns() {
    let world = World::new().await.with_rows().await;
    let answer = world.get("/api/v1/export?format=csv&tables=tls_handshakes").await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    let text = answer.text();
    assert_eq!(text.lines().count(), 6);
    let columns = weir_model::tables::TLS_HANDSHAKES.columns;
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    assert_eq!(header, columns.iter().map(|column| column.name).collect::<Vec<_>>());
    let empty = world.get("/api/v1/export?format=csv&tables=dns").await;
    assert_eq!(empty.text().lines().count(), 1, "a header also where there are no rows");
}

#[tokio::test]
async fn times_bound_what_is_exported() {
    let world = World::new().await.with_rows().await;
    assert_eq!(lines(&world.get("/api/v1/export?format=jsonl&since=1s").await).len(), 0);
    assert_eq!(lines(&world.get("/api/v1/export?format=jsonl&until=1h").await).len(), 0);
    let since = lines(&world.get("/api/v1/export?format=jsonl&tables=flows").await)[5]["time"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        lines(&world.get(&format!("/api/v1/export?format=jsonl&tables=flows&since={since}")).await).len(),
        5
    );
    assert_eq!(
        lines(&world.get(&format!("/api/v1/export?format=jsonl&tables=flows&until={since}")).await).len(),
        5
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let world = World::new().await;
    for query in [
        "",
        "format=xml",
        "format=ocsf&since=whenever",
        "format=jsonl&tables=flws",
        "format=ocsf&tables=dns",
        "format=csv&tables=flows,dns",
        "format=jsonl&tables=,",
        "format=jsonl&table=flows",
    ] {
        let answer = world.get(&format!("/api/v1/export?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.json()["error"]["code"], "request.parameter", "{query}");
    }
}
