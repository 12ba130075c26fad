//! `GET /api/v1/flows`, `/api/v1/status`, `/metrics`.

use serde_json::json;

use super::*;

#[tokio::test]
async fn the_newest_flows_with_what_their_handshakes_said() {
    let world = World::new().await.with_rows().await;
    let body = world.get("/api/v1/flows?limit=4").await.json();
    let rows = body["rows"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["client_bytes"].as_i64().unwrap()).collect::<Vec<_>>(),
        [109, 108, 107, 106]
    );
    assert_eq!(rows[0]["tls_ja4"], "t13d1516h2_8daaf6152771_e5627efa2ab1");
    assert_eq!(rows[1]["tls_ja4"], Value::Null);
    assert_eq!(body["truncated"], true);
    assert_eq!(body["completeness"]["complete"], true);
}

#[tokio::test]
async fn filters_narrow_and_can_t_break_out() {
    let world = World::new().await.with_rows().await;
    let count = async |query: &str| {
        let answer = world.get(&format!("/api/v1/flows?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        answer.json()["rows"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 10);
    assert_eq!(count("filter=server_port%3D443").await, 5);
    assert_eq!(count("filter=server_port%3D443&filter=client_process%3Dcurl").await, 1);
    assert_eq!(count("filter=tls_ja4~t13").await, 5);
    assert_eq!(count("q=443").await, 5);
    assert_eq!(count("q=API_V2").await, 10);
    assert_eq!(count("start=1s").await, 0);
    for evil in ["x' OR '1'='1", "'; DROP TABLE flows; --", "\\' OR 1=1 --", "') OR ('1'='1"] {
        let evil: String = url::form_urlencoded::byte_serialize(evil.as_bytes()).collect();
        assert_eq!(count(&format!("q={evil}")).await, 0);
        assert_eq!(count(&format!("filter=client_process%3D{evil}")).await, 0);
        assert_eq!(count(&format!("filter=tls_ja4~{evil}")).await, 0);
    }
    assert_eq!(count("").await, 10);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let world = World::new().await;
    for query in [
        "filter=nope%3D1",
        "filter=server_port",
        "start=yesterday",
        "limit=many",
        "limt=3",
        "start=1m&end=1h",
    ] {
        let answer = world.get(&format!("/api/v1/flows?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.json()["error"]["code"], "request.parameter", "{query}");
    }
}

#[tokio::test]
async fn status_and_metrics_count_what_is_there() {
    let world = World::new().await.with_rows().await;
    let status = world.get("/api/v1/status").await.json();
    let flows = status["tables"].as_array().unwrap().iter().find(|table| table["name"] == "flows").unwrap();
    assert_eq!(
        (&flows["rows_memory"], &flows["rows_sealed"], &flows["files"]),
        (&json!(5), &json!(5), &json!(1))
    );
    assert_eq!(status["probe"]["state"], "off");
    assert_eq!(status["listeners"], json!([{ "name": "http", "address": "127.0.0.1:8480" }]));
    let metrics = world.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "weir_store_memory_rows{table=\"flows\"} 5",
        "weir_store_sealed_rows{table=\"flows\"} 5",
        "weir_query_running 0",
        "weir_probe_running 0",
    ] {
        assert!(metrics.text().lines().any(|have| have == line), "{line}\n{}", metrics.text());
    }
    assert_eq!(world.get("/healthz").await.text(), "ok\n");
    assert_eq!(world.get("/readyz").await.text(), "ready\n");
}
