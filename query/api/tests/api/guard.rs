//! Pages of other sites, and names that were made to point here, reach nothing.

use super::*;

async fn status(world: &World, path: &str, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    if answer.status == StatusCode::FORBIDDEN {
        assert!(
            answer.json()["error"]["code"].as_str().unwrap().starts_with("request."),
            "{}",
            answer.text()
        );
    }
    answer.status
}

#[tokio::test]
async fn every_path_is_guarded() {
    let world = World::new().await.with_rows().await;
    let document = world.get("/api/v1/openapi.json").await.json();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    for path in
        paths.into_iter().map(String::as_str).chain(["/api/traces", "/api/services", "/api/v3/services"])
    {
        for headers in [
            &[("host", "rebound.example:8480")][..],
            &[("host", "127.0.0.1:8480"), ("origin", "https://evil.example")],
            &[("host", "127.0.0.1:8480"), ("origin", "null")],
            &[("host", "127.0.0.1:8480"), ("origin", "http://127.0.0.1:9999")],
            &[("host", "127.0.0.1:8480"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        ] {
            assert_eq!(status(&world, path, headers).await, StatusCode::FORBIDDEN, "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn this_page_and_tools_are_let_in() {
    let world = World::new().await;
    for headers in [
        &[("host", "127.0.0.1:8480")][..],
        &[("host", "localhost:8480"), ("origin", "http://localhost:8480")],
        &[("host", "[::1]:8480")],
        &[("host", "weir.weir-system.svc.cluster.local:8480")],
        &[("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
    ] {
        assert_eq!(status(&world, "/api/v1/tables", headers).await, StatusCode::OK, "{headers:?}");
    }
}

#[tokio::test]
async fn no_answer_is_shared_with_other_sites_or_kept() {
    let world = World::new().await;
    let answer = world.get("/api/v1/tables").await;
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_question_that_is_too_long_is_refused() {
    let world = World::new().await;
    let long = format!("SELECT '{}'", "x".repeat(3 << 20));
    assert_eq!(world.ask(&long, "*/*").await.status, StatusCode::PAYLOAD_TOO_LARGE);
}
