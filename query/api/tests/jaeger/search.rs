//! What a search of v1 finds, and in which words it fails, in v3 too.

use super::*;

/// One span has to fulfil all conditions, wherever its attributes lie; and the same from a file as from memory.
#[tokio::test]
async fn a_search_finds_by_every_condition() {
    let weir = Weir::with_spans().await;
    let stitched = ids::trace_id(CONNECTION).to_string();
    for sealed in [false, true] {
        if sealed {
            weir.store.seal().await.expect("seals");
        }
        let back = |conditions: &str| format!("service=back%20o%27house&{conditions}");
        let tags = |tags: Json| {
            url::form_urlencoded::Serializer::new("service=back%20o%27house&".to_owned())
                .append_pair("tags", &tags.to_string())
                .finish()
        };
        let front = |key: &str, value: &str| {
            url::form_urlencoded::Serializer::new("service=front&".to_owned())
                .append_pair("tags", &json!({key: value}).to_string())
                .finish()
        };
        for (query, is_found) in [
            (back("operation=POST+%2Fpay"), true),
            (back("operation=GET+%2Fcart"), false),
            (back("minDuration=1ms&maxDuration=1000us"), true),
            (back("minDuration=1.1ms"), false),
            (back("maxDuration=999us"), false),
            (tags(json!({"error": "true", "tenant": "t1"})), true),
            (tags(json!({"error": "false"})), false),
            (tags(json!({"span.status": "ERROR", "span.kind": "server"})), true),
            (tags(json!({"span.kind": "client"})), false),
            (tags(json!({"zone": "z1"})), true),
            (tags(json!({"resource.zone": "z1"})), true),
            (tags(json!({"resource.tenant": "t1"})), false),
            (tags(json!({"exception.type": "Poor"})), true),
            (tags(json!({"exception.type": "Rich"})), false),
            (tags(json!({"why": "retry"})), true),
            (tags(json!({"tenant": "t1' OR '1'='1"})), false),
            (tags(json!({"no'thing": "x"})), false),
            (back("tag=tenant:t1&tag=card:visa"), true),
            (back("tag=tenant:t1&tag=card:amex"), false),
            (front("http.response.status_code", "500"), true),
            (front("http.response.status_code", "50"), false),
            (front("ratio", "0.5"), true),
            (front("list", r#"["a","b"]"#), true),
            (front("scope.name", "lib"), true),
            (front("scope.version", "2"), false),
            (front("error", "false"), true),
        ] {
            let expected: Vec<&str> = if is_found { vec![SHOP] } else { Vec::new() };
            assert_eq!(weir.found(&query).await, expected, "sealed: {sealed}, {query}");
        }
        assert_eq!(weir.found("service=nginx").await, [stitched.as_str()]);
        assert_eq!(weir.found("service=a%2Fb+c%2Bd%25e&tag=ends:old").await, ["000000000000abcd"]);
    }
}

#[tokio::test]
async fn a_search_answers_whole_traces_the_newest_first() {
    let weir = Weir::with_spans().await;
    let times = format!("query.startTimeMin={}&query.startTimeMax={}", rfc3339(T - 200), rfc3339(T + 200));
    // A match by one span brings its trace's others, from before the range and of other services.
    let answer = weir
        .get(&format!(
            "/api/traces?service=back%20o%27house&start={}&end={}",
            T * 1_000_000 + 1_500,
            T * 1_000_000 + 2_500
        ))
        .await;
    assert_eq!(answer, shop_answer());

    let summaries = weir.get(&format!("/api/v3/trace-summaries?{times}")).await;
    let ids: Vec<_> =
        summaries["summaries"].as_array().expect("a list").iter().map(|s| &s["traceId"]).collect();
    let newest = ids::trace_id(CONNECTION);
    assert_eq!(ids, [newest.as_str(), SHOP, "0000000000000000000000000000abcd"]);
    let two = weir.get(&format!("/api/v3/trace-summaries?{times}&query.searchDepth=2")).await;
    assert_eq!(two["summaries"].as_array().map(Vec::len), Some(2));

    // Ranges may be as long as time.
    let ever = "query.startTimeMin=0001-01-01T00:00:00Z&query.startTimeMax=9999-12-31T23:59:59Z";
    let all = weir.get(&format!("/api/v3/trace-summaries?{ever}")).await;
    assert_eq!(all["summaries"].as_array().map(Vec::len), Some(3));
    let ever = format!("start={}&end={}", i64::MIN, i64::MAX);
    assert_eq!(weir.get(&format!("/api/traces?service=front&{ever}")).await, shop_answer());
    assert_eq!(weir.get(&format!("/api/traces/{SHOP}?{ever}")).await, shop_answer());
    // Out of the range, nothing.
    assert_eq!(weir.get("/api/traces?service=front&start=1&end=2").await["data"], json!([]));
}

#[tokio::test]
async fn a_search_by_ids_needs_no_service_and_names_what_is_missing() {
    let weir = Weir::with_spans().await;
    let answer = weir.get(&format!("/api/traces?traceID=beef&traceID=abcd&traceID={SHOP}")).await;
    let ids: Vec<_> = answer["data"].as_array().expect("traces").iter().map(|t| &t["traceID"]).collect();
    assert_eq!(ids, ["000000000000abcd", SHOP]);
    assert_eq!(answer["errors"], json!([{"msg": "trace not found", "traceID": "000000000000beef"}]));
}

#[tokio::test]
async fn what_is_wrong_with_a_search_is_said_in_jaeger_s_words() {
    let weir = Weir::empty().await;
    let fails = async |query: &str, code: u16, msg: &str| {
        weir.v1_fails("GET", &format!("/api/traces?{query}"), code, msg).await;
    };
    fails("", 400, "parameter 'service' is required").await;
    fails("service=s&limit=x", 400, r#"strconv.ParseInt: parsing "x": invalid syntax"#).await;
    fails("service=s&limit=0", 500, "search depth must be greater than 0 and less than max traces").await;
    fails("service=s&limit=-1", 500, "search depth must be greater than 0 and less than max traces").await;
    fails(
        "service=s&minDuration=2s&maxDuration=1s",
        400,
        "'maxDuration' should be greater than 'minDuration'",
    )
    .await;
    fails("service=s&tag=x", 400, "malformed 'tag' parameter, expecting key:value, received: x").await;

    let times = "query.startTimeMin=2023-01-01T00:00:00Z&query.startTimeMax=2024-01-01T00:00:00Z";
    for route in ["traces", "trace-summaries"] {
        let required = "query.startTimeMin and query.startTimeMax are required";
        weir.v3_fails(&format!("/api/v3/{route}"), 400, required).await;
        weir.v3_fails(
            &format!("/api/v3/{route}?{times}&query.durationMin=1"),
            400,
            r#"malformed parameter query.durationMin: time: missing unit in duration "1""#,
        )
        .await;
        weir.v3_fails(
            &format!("/api/v3/{route}?{times}&query.searchDepth=0"),
            500,
            "search depth must be greater than 0 and less than max traces",
        )
        .await;
    }
    weir.v3_fails(&format!("/api/v3/traces?{times}"), 404, "No traces found").await;
}

/// Most traces lie near the span that was found; where a span points elsewhere, that is looked at, too.
#[tokio::test]
async fn a_trace_that_lasts_long_is_found_whole() {
    let weir = Weir::empty().await;
    let span = |number: i64, parent: Option<i64>, minute: i64, minutes: i64| SpanRow {
        time: (T + minute * 60) * 1_000_000_000,
        end_time: Some((T + (minute + minutes) * 60) * 1_000_000_000),
        duration_ns: minutes * 60_000_000_000,
        trace_id: Some(SHOP.into()),
        span_id: Some(format!("{number:016x}").into()),
        parent_span_id: parent.map(|parent| format!("{parent:016x}").into()),
        service: Some(format!("service-{number}").into()),
        ..SpanRow::default()
    };
    let spans = vec![span(1, None, 0, 50), span(2, Some(1), 5, 20), span(3, Some(2), 20, 0)];
    weir.store_spans(1, spans).await;
    for service in ["service-1", "service-2", "service-3"] {
        let range = format!("start={}&end={}", T * 1_000_000, (T + 3_600) * 1_000_000);
        let found = weir.get(&format!("/api/traces?service={service}&{range}")).await;
        assert_eq!(found["data"][0]["spans"].as_array().map(Vec::len), Some(3), "by {service}");
    }
}
