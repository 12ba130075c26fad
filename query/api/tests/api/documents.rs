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
            let accepted = operation["parameters"].as_array().into_iter().flatten();
            let accepted = accepted.filter(|parameter| parameter["name"] == "Accept");
            let accepted: Vec<&str> = accepted
                .flat_map(|parameter| parameter["schema"]["enum"].as_array().unwrap())
                .map(|kind| kind.as_str().unwrap())
                .collect();
            for (kind, body) in bodies(operation) {
                for accept in if accepted.is_empty() { vec!["*/*"] } else { accepted.clone() } {
                    let request = Request::builder().method(method.to_uppercase().as_str()).uri(&target);
                    let request = request.header("content-type", &kind).header("accept", accept);
                    let answer = world.send(request.body(Body::from(body.clone())).unwrap()).await;
                    assert_eq!(answer.status, StatusCode::OK, "{method} {target} {body}: {}", answer.text());
                    let media = answer.header("content-type").split(';').next().unwrap().to_owned();
                    assert!(
                        accept == "*/*" || accept == media,
                        "{method} {path} answers {media} instead of {accept}"
                    );
                    let described = &operation["responses"]["200"];
                    let content = &described["content"][&media];
                    assert!(content.is_object(), "{method} {path} answers {media}, which is not documented");
                    for name in
                        described["headers"].as_object().into_iter().flat_map(|headers| headers.keys())
                    {
                        assert!(answer.headers.contains_key(name), "{method} {path} {accept} has no {name}");
                    }
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
}

/// Each example of what is sent, with its media type; one without anything where nothing is sent.
fn bodies(operation: &Value) -> Vec<(String, String)> {
    let Some(kinds) = operation["requestBody"]["content"].as_object() else {
        return vec![(String::new(), String::new())];
    };
    let mut bodies = Vec::new();
    for (kind, body) in kinds {
        let several = body["examples"].as_object().into_iter().flat_map(|examples| examples.values());
        let values = several.map(|example| &example["value"]).chain(body.get("example"));
        let before = bodies.len();
        bodies.extend(values.map(|value| (kind.clone(), text_of(value))));
        assert!(bodies.len() > before, "{kind} has no example");
    }
    bodies
}

#[tokio::test]
async fn functions_are_listed_with_what_they_do() {
    let world = World::new().await.with_rows().await;
    let tables = world.get("/api/v1/tables").await.json();
    let functions = tables["functions"].as_array().unwrap();
    let own: Vec<&Value> = functions.iter().filter(|function| function["own"] == true).collect();
    assert_eq!(own.len(), 9, "{own:?}");
    for function in own {
        let answer = world.ask(function["example"].as_str().unwrap(), "*/*").await;
        assert_eq!(answer.status, StatusCode::OK, "{function}: {}", answer.text());
    }
    assert!(functions.iter().any(|function| function["name"] == "date_trunc" && function["own"] == false));
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
    let kind = match &schema["type"] {
        // One of two: what it is, or nothing.
        Value::Array(kinds) if value.is_null() && kinds.contains(&Value::from("null")) => return,
        Value::Array(kinds) => kinds[0].as_str(),
        kind => kind.as_str(),
    };
    match kind.unwrap() {
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
