//! Services and operations.

use super::*;

/// What jaeger-ui before v2.16 and Grafana ask first.
#[tokio::test]
async fn services_and_operations_are_listed_by_v1() {
    let weir = Weir::with_spans().await;
    let services = json!(["a/b c+d%e", "back o'house", "curl", "front", "missing-service-name", "nginx"]);
    assert_eq!(
        weir.get("/api/services").await,
        json!({"data": services, "total": 6, "limit": 0, "offset": 0, "errors": null})
    );
    let names = |data: Json, total: u32| json!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null});
    assert_eq!(weir.get("/api/services/front/operations").await, names(json!(["GET /cart", "call"]), 2));
    assert_eq!(weir.get("/api/services/back%20o%27house/operations").await, names(json!(["POST /pay"]), 1));
    // Slashes, spaces, plus and percent signs survive; Jaeger itself loses the last two.
    assert_eq!(weir.get("/api/services/a%2Fb%20c%2Bd%25e/operations").await, names(json!(["tock"]), 1));
    assert_eq!(weir.get("/api/services/nobody/operations").await, names(Json::Null, 0));

    let operations = weir.get("/api/operations?service=front").await;
    let both = json!([{"name": "GET /cart", "spanKind": "server"}, {"name": "call", "spanKind": "client"}]);
    assert_eq!(operations, names(both, 2));
    let servers = weir.get("/api/operations?service=front&spanKind=server").await;
    assert_eq!(servers, names(json!([{"name": "GET /cart", "spanKind": "server"}]), 1));
    // A kind that nobody named is empty here, and `internal` in v3.
    let unsaid = weir.get("/api/operations?service=a%2Fb+c%2Bd%25e").await;
    assert_eq!(unsaid, names(json!([{"name": "tock", "spanKind": ""}]), 1));
    assert_eq!(weir.get("/api/operations?service=nobody").await, names(json!([]), 0));
    weir.v1_fails("GET", "/api/operations", 400, "parameter 'service' is required").await;
}

#[tokio::test]
async fn services_and_operations_are_listed_by_v3() {
    let weir = Weir::with_spans().await;
    assert_eq!(
        weir.get("/api/v3/services").await,
        json!({"services": ["a/b c+d%e", "back o'house", "curl", "front", "missing-service-name", "nginx"]})
    );
    assert_eq!(
        weir.get("/api/v3/operations?service=a%2Fb+c%2Bd%25e").await,
        json!({"operations": [{"name": "tock", "spanKind": "internal"}]})
    );
    for name in ["spanKind", "span_kind"] {
        assert_eq!(
            weir.get(&format!("/api/v3/operations?service=front&{name}=client")).await,
            json!({"operations": [{"name": "call", "spanKind": "client"}]})
        );
    }
    for query in ["", "?service=nobody"] {
        assert_eq!(weir.get(&format!("/api/v3/operations{query}")).await, json!({"operations": []}));
    }
}

/// Names with numbers in them are many: they take no other service's place.
#[tokio::test]
async fn a_service_with_too_many_operations_hides_no_other() {
    let weir = Weir::empty().await;
    let row = |number: i64, service: &str, operation: String| SpanRow {
        time: T * 1_000_000_000 + number,
        trace_id: Some(SHOP.into()),
        span_id: Some(format!("{:016x}", number + 1).into()),
        service: Some(service.into()),
        operation: Some(operation.into()),
        kind: Some("server".into()),
        ..SpanRow::default()
    };
    let mut rows: Vec<SpanRow> =
        (0..12_000).map(|number| row(number, "noisy", format!("GET /{number:05}"))).collect();
    rows.push(row(12_000, "shop", "GET /".to_owned()));
    weir.store_spans(1, rows).await;
    for sealed in [false, true] {
        if sealed {
            weir.store.seal().await.expect("seals");
        }
        assert_eq!(weir.get("/api/v3/services").await["services"], json!(["noisy", "shop"]), "{sealed}");
        assert_eq!(weir.get("/api/services/shop/operations").await["data"], json!(["GET /"]), "{sealed}");
        let noisy = weir.get("/api/services/noisy/operations").await;
        assert_eq!(
            (&noisy["total"], &noisy["data"][11_999]),
            (&json!(12_000), &json!("GET /11999")),
            "{sealed}"
        );
    }
}
