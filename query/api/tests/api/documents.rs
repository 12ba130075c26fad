//! What documents the API and the tables is true.

use super::*;

#[tokio::test]
async fn the_reference_page_is_what_the_schema_makes() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tables.md");
    let committed = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        committed == weir_api::tables_markdown(),
        "docs/tables.md is not what the schema makes: run `make docs` and commit it"
    );
}

#[tokio::test]
async fn every_documented_path_answers_as_documented() {
    let world = World::new().await.with_rows().await;
    let document = world.get("/api/v1/openapi.json").await.json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "query" {
                    query.append_pair(
                        parameter["name"].as_str().unwrap(),
                        parameter["example"].as_str().unwrap(),
                    );
                }
            }
            let query = query.finish();
            let target = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
            let bodies = operation["requestBody"]["content"].as_object();
            let bodies = bodies.map_or_else(
                || vec![(String::new(), String::new())],
                |kinds| kinds.iter().map(|(kind, body)| (kind.clone(), text_of(&body["example"]))).collect(),
            );
            for (kind, body) in bodies {
                let request = Request::builder().method(method.to_uppercase().as_str()).uri(&target);
                let request = request.header("content-type", kind).body(Body::from(body)).unwrap();
                let answer = world.send(request).await;
                assert_eq!(answer.status, StatusCode::OK, "{method} {target}: {}", answer.text());
                let media = answer.header("content-type").split(';').next().unwrap().to_owned();
                let content = &operation["responses"]["200"]["content"][&media];
                assert!(content.is_object(), "{method} {path} answers {media}, which is not documented");
                if media == "application/json" {
                    let example = &content["example"];
                    same_shape(&document, &content["schema"], &answer.json(), path);
                    if example.is_object() {
                        same_shape(&document, &content["schema"], example, &format!("{path} (example)"));
                    }
                }
            }
        }
    }
}

fn text_of(example: &Value) -> String {
    example.as_str().map_or_else(|| example.to_string(), str::to_owned)
}

/// Types, and each documented name: no more, no fewer than the schema has.
fn same_shape(document: &Value, schema: &Value, value: &Value, path: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(target) => document.pointer(target.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    match schema["type"].as_str().unwrap() {
        "object" => {
            let object = value.as_object().unwrap_or_else(|| panic!("{path} is no object: {value}"));
            let Some(properties) = schema["properties"].as_object() else { return };
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(object.contains_key(name.as_str().unwrap()), "{path} lacks {name}");
            }
            for (name, value) in object {
                let property =
                    properties.get(name).unwrap_or_else(|| panic!("{path}.{name} is not documented"));
                same_shape(document, property, value, &format!("{path}.{name}"));
            }
        }
        "array" => {
            for item in value.as_array().unwrap_or_else(|| panic!("{path} is no list")) {
                if schema["items"]["type"] != "array" {
                    same_shape(document, &schema["items"], item, &format!("{path}[]"));
                }
            }
        }
        "string" => assert!(value.is_string(), "{path}: {value}"),
        "integer" => assert!(value.is_i64() || value.is_u64(), "{path}: {value}"),
        "number" => assert!(value.is_number(), "{path}: {value}"),
        "boolean" => assert!(value.is_boolean(), "{path}: {value}"),
        other => panic!("{path}: type {other}"),
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_as_the_rest() {
    let world = World::new().await;
    let nowhere = world.get("/api/v1/nowhere").await;
    assert_eq!(
        (nowhere.status, nowhere.json()["error"]["code"].as_str()),
        (StatusCode::NOT_FOUND, Some("request.path"))
    );
    let wrong = world.get("/api/v1/sql").await;
    assert_eq!(
        (wrong.status, wrong.json()["error"]["code"].as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, Some("request.method"))
    );
}
