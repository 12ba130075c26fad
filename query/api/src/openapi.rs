//! `GET /api/v1/openapi.json`: the document of this API (OpenAPI 3.1), kept beside the routes; a test holds the two together.

use axum::Json;
use serde_json::{Value, json};

/// Answers it.
pub(crate) async fn answer() -> Json<Value> {
    Json(document())
}

fn document() -> Value {
    let parameter = |name: &str, description: &str, required: bool| json!({ "name": name, "in": "query", "required": required, "description": description, "schema": { "type": "string" } });
    let ok = |media: &str, description: &str| json!({ "200": { "description": description, "content": { media: {} } }, "400": { "$ref": "#/components/responses/Error" } });
    let text =
        |description: &str| json!({ "200": { "description": description, "content": { "text/plain": {} } } });
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Weir", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "paths": {
            "/api/v1/sql": { "post": {
                "summary": "Answer a question in SQL",
                "requestBody": { "required": true, "content": { "text/plain": {}, "application/json": { "schema": { "type": "object", "required": ["sql"], "properties": { "sql": { "type": "string" } } } } } },
                "responses": { "200": { "description": "The answer, by Accept", "content": { "application/json": {}, "text/csv": {}, "application/vnd.apache.arrow.stream": {} } }, "400": { "$ref": "#/components/responses/Error" } }
            } },
            "/api/v1/flows": { "get": {
                "summary": "The newest flows that pass the filters",
                "parameters": [
                    parameter("start", "RFC 3339, or how long ago (15m); 15 minutes ago by default", false),
                    parameter("end", "RFC 3339, or how long ago; now by default", false),
                    parameter("filter", "column op value, repeatable; op is one of = != ~ > < >= <=", false),
                    parameter("q", "free text over addresses, names, processes and SNI", false),
                    parameter("limit", "rows, at most 5000", false)
                ],
                "responses": ok("application/json", "Rows, newest first")
            } },
            "/api/v1/tables": { "get": { "summary": "Tables and columns, with units and other vocabularies' names", "responses": ok("application/json", "The schema") } },
            "/api/v1/export": { "get": {
                "summary": "Rows for a SIEM or for keeping, streamed",
                "parameters": [
                    parameter("format", "ocsf, jsonl or csv", true),
                    parameter("since", "RFC 3339 or how long ago; everything by default", false),
                    parameter("until", "RFC 3339 or how long ago; now by default", false),
                    parameter("tables", "comma-separated; flows,tls_handshakes by default", false)
                ],
                "responses": ok("application/x-ndjson", "One event a line")
            } },
            "/api/v1/status": { "get": { "summary": "Version, probe, listeners, table sizes, losses", "responses": ok("application/json", "The status") } },
            "/api/v1/openapi.json": { "get": { "summary": "This document", "responses": ok("application/json", "OpenAPI 3.1") } },
            "/healthz": { "get": { "summary": "Alive", "responses": text("ok") } },
            "/readyz": { "get": { "summary": "Able to serve", "responses": text("ready") } },
            "/metrics": { "get": { "summary": "Prometheus metrics", "responses": text("Prometheus text format") } }
        },
        "components": { "responses": { "Error": {
            "description": "What is wrong, where, and what to do",
            "content": { "application/json": { "schema": {
                "type": "object", "required": ["error"],
                "properties": { "error": { "type": "object", "required": ["code", "message"], "properties": {
                    "code": { "type": "string" }, "message": { "type": "string" }, "hint": { "type": "string" },
                    "position": { "type": "object", "properties": { "line": { "type": "integer" }, "column": { "type": "integer" } } }
                } } }
            } } }
        } } }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_documented() {
        let source = include_str!("lib.rs");
        let documented = document();
        let mut routes = 0;
        for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let path = line.split('"').next().expect("a path");
            assert!(documented["paths"].get(path).is_some(), "{path} is not in the OpenAPI document");
            routes += 1;
        }
        assert_eq!(
            routes,
            documented["paths"].as_object().expect("paths").len(),
            "documented but not served"
        );
    }
}
