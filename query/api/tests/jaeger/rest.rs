//! Dependencies, documents that people drop on the page, and what Weir has not.

use super::*;

/// A page that opens before anything was seen must get lists, not nulls.
#[tokio::test]
async fn an_empty_store_has_empty_lists() {
    let weir = Weir::empty().await;
    let none = |total: Json| json!({"data": [], "total": total, "limit": 0, "offset": 0, "errors": null});
    assert_eq!(weir.get("/api/services").await, none(json!(0)));
    assert_eq!(weir.get("/api/v3/services").await, json!({"services": []}));
    assert_eq!(weir.get("/api/traces?service=x").await, none(json!(0)));
    assert_eq!(weir.get("/api/dependencies").await, none(json!(0)));
    let times = "query.startTimeMin=2023-01-01T00:00:00Z&query.startTimeMax=2024-01-01T00:00:00Z";
    assert_eq!(weir.get(&format!("/api/v3/trace-summaries?{times}")).await, json!({"summaries": []}));
}

#[tokio::test]
async fn dependencies_are_calls_between_services() {
    let weir = Weir::with_spans().await;
    let end = (T + 60) * 1_000;
    let links = |links: Json| json!({"data": links, "total": 0, "limit": 0, "offset": 0, "errors": null});
    let curl = json!({"parent": "curl", "child": "nginx", "callCount": 1});
    let front = json!({"parent": "front", "child": "back o'house", "callCount": 1});
    assert_eq!(
        weir.get(&format!("/api/dependencies?endTs={end}&lookback=604800000")).await,
        links(json!([curl, front]))
    );
    let of_one = weir.get(&format!("/api/dependencies?endTs={end}&service=back%20o%27house")).await;
    assert_eq!(of_one, links(json!([front])));
    let before = weir.get(&format!("/api/dependencies?endTs={}&lookback=1000", (T - 10) * 1_000)).await;
    assert_eq!(before, links(json!([])));
    let no_time = r#"unable to parse param 'endTs': strconv.ParseInt: parsing "x": invalid syntax"#;
    weir.v1_fails("GET", "/api/dependencies?endTs=x", 400, no_time).await;
}

/// People drop OTLP files on the page.
#[tokio::test]
async fn an_otlp_document_is_shown_like_a_search() {
    let weir = Weir::empty().await;
    let answer = weir.ask("POST", "/api/transform", &shop_trace().to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let shown: Json = serde_json::from_str(&answer.text).expect("JSON");
    assert_eq!(shown["data"][0]["spans"].as_array().map(Vec::len), Some(3));
    assert_eq!(shown["data"][0]["processes"]["p2"]["serviceName"], "back o'house");
    let broken = weir.ask("POST", "/api/transform", "{").await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    let error: Json = serde_json::from_str(&broken.text).expect("JSON");
    let msg = error["errors"][0]["msg"].as_str().expect("a message");
    assert!(msg.starts_with("cannot unmarshal OTLP : "), "{msg}");
}

/// The trace is asked for as before once its spans are too old; a search has only what is not.
#[tokio::test]
async fn an_archived_trace_outlives_its_spans() {
    let soon = Retention { age: Some(Duration::from_millis(1)), ..Retention::default() };
    let weir = Weir::keeping(soon).await;
    weir.store_spans(1, otlp(&shop_trace())).await;
    weir.v1_fails("POST", "/api/archive/beef", 404, "trace not found").await;
    weir.v1_fails("POST", "/api/archive/0", 404, "trace not found").await;
    let path = format!("/api/traces/{SHOP}");
    let before = weir.get(&path).await;
    // As often as one likes, also at once.
    let archive = format!("/api/archive/{SHOP}");
    let (one, other) = tokio::join!(weir.ask("POST", &archive, ""), weir.ask("POST", &archive, ""));
    for answer in [one, other, weir.ask("POST", &archive, "").await] {
        assert_eq!(
            (answer.status, answer.headers["content-type"].as_bytes()),
            (StatusCode::OK, &b"application/json"[..])
        );
        let done = json!({"data": [], "total": 0, "limit": 0, "offset": 0, "errors": []});
        assert_eq!(serde_json::from_str::<Json>(&answer.text).expect("JSON"), done);
    }
    assert_eq!(weir.get(&path).await, before, "each span once");
    // What the trace gets afterwards is no part of the archive, and is shown with it.
    assert_eq!(weir.found("service=front").await, [SHOP]);
    weir.store.seal().await.expect("seals");
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(weir.store.retain().await.expect("deletes"), 3, "the spans, and nothing of the archive");
    assert!(weir.found("service=front").await.is_empty());
    assert_eq!(weir.get(&path).await, before);
    let hint = format!("{path}?{}", around(100));
    assert_eq!(weir.get(&hint).await, before, "where a link says that it is");
    assert_eq!(weir.ask("POST", &archive, "").await.status, StatusCode::OK, "it is there already");
}

#[tokio::test]
async fn what_weir_has_not_is_refused_as_jaeger_refuses_it() {
    let weir = Weir::with_spans().await;
    let deep = "Weir follows no paths through many services: /api/dependencies has who calls whom";
    weir.v1_fails("GET", "/api/deep-dependencies?service=front", 501, deep).await;
    let quality = "Weir does not judge how well services are instrumented";
    weir.v1_fails("GET", "/api/quality-metrics?service=front&hours=1", 501, quality).await;
    for (method, path) in [
        ("GET", "/api/nothing"),
        ("GET", "/api/metrics"),
        ("GET", "/api/metrics/nothing"),
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/v3/dependencies"),
        ("GET", "/api/archive/1f"),
        ("POST", "/api/services"),
        ("DELETE", "/api/traces/1f"),
        ("POST", "/api/v3/traces"),
    ] {
        let answer = weir.ask(method, path, "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(answer.text, "404 page not found\n", "{method} {path}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
}
