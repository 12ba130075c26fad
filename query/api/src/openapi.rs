//! `GET /api/v1/openapi.json`: the document of this API (`OpenAPI` 3.1), kept beside the routes; tests hold the two together,
//! and every example to what the API answers.

use axum::Json;
use serde_json::{Value, json};

/// Answers it.
pub(crate) async fn answer() -> Json<Value> {
    Json(document())
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weir",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Traffic observability: flows, TLS handshakes and spans, in SQL and as pages ask for them. \
                Nothing changes what is stored. Jaeger's HTTP API (/api/traces, /api/v3/traces and the rest) is served beside it \
                as Jaeger documents it. There is no authentication yet: requests of other sites' pages, and by a name that \
                is not this host's, are refused with 403.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "paths": {
            "/api/v1/sql": { "post": sql() },
            "/api/v1/flows": { "get": flows() },
            "/api/v1/tables": { "get": tables() },
            "/api/v1/export": { "get": export() },
            "/api/v1/capture": { "post": capture() },
            "/api/v1/status": { "get": status() },
            "/api/v1/openapi.json": { "get": {
                "summary": "This document",
                "responses": { "200": content("OpenAPI 3.1", "application/json", &json!({ "type": "object" })) }
            } },
            "/healthz": { "get": plain("Alive: the process answers", "ok\n") },
            "/readyz": { "get": ready() },
            "/metrics": { "get": plain(
                "Metrics: OpenMetrics with exemplars where Accept asks for it, else Prometheus' text format 0.0.4",
                "# TYPE weir_store_memory_rows gauge\nweir_store_memory_rows{table=\"flows\"} 1207\n"
            ) }
        },
        "components": { "schemas": schemas(), "responses": responses(), "headers": { "Completeness": {
            "description": "How complete the answer is, as JSON: the same as `completeness` in JSON answers",
            "schema": { "type": "string" },
            "example": r#"{"complete":true,"lost":0,"shed":0,"late":0,"probes_silent":0,"rows_damaged":0,"deleted_until":null,"message":"complete"}"#
        } } }
    })
}

fn sql() -> Value {
    let question =
        "SELECT server_name, count(*) AS n FROM flows GROUP BY server_name ORDER BY n DESC LIMIT 10";
    let with_parameters = json!({
        "query": "SELECT client_ip, sum(client_bytes) AS sent FROM flows WHERE server_port = $1 AND time >= $2 GROUP BY client_ip",
        "params": [443, "2026-11-24T08:00:00Z"]
    });
    let with_limits =
        json!({ "query": question, "limits": { "rows": 100, "time_ms": 5_000, "memory_bytes": 4_194_304 } });
    json!({
        "summary": "Answer a question in SQL",
        "description": "One SELECT, WITH, VALUES, SHOW, DESCRIBE, EXPLAIN or EXPLAIN ANALYZE, in DataFusion's dialect (close to \
            PostgreSQL's). The newest rows, in memory, and those in files are one table. GET /api/v1/tables lists columns and \
            functions. JSON answers are cut after 10000 rows and say so (`truncated`); the other formats are streamed and have \
            no such end: an error on the way, also a limit, breaks the transfer off. A question ends when its client leaves.",
        "requestBody": { "required": true, "content": {
            "text/plain": { "schema": { "type": "string" }, "example": question },
            "application/json": {
                "schema": reference("Question"),
                "examples": {
                    "plain": { "summary": "A question", "value": { "query": question } },
                    "parameters": { "summary": "With values for $1 and $2", "value": with_parameters },
                    "limits": { "summary": "With limits below the server's", "value": with_limits },
                    "plan": { "summary": "What it costs", "value": { "query": format!("EXPLAIN ANALYZE {question}") } }
                }
            }
        } },
        "parameters": [{
            "name": "Accept", "in": "header", "required": false, "description": "The format; JSON by default",
            "schema": { "type": "string", "enum": [
                "application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream",
                "application/vnd.apache.parquet"
            ] }
        }],
        "responses": {
            "200": {
                "description": "The answer",
                "headers": { "x-weir-completeness": { "$ref": "#/components/headers/Completeness" } },
                "content": {
                    "application/json": { "schema": reference("SqlAnswer"), "example": {
                        "columns": [{ "name": "server_name", "type": "VARCHAR" }, { "name": "n", "type": "BIGINT" }],
                        "rows": [["api.example", 12], [null, 3]],
                        "row_count": 2,
                        "truncated": false,
                        "elapsed_ms": 4.2,
                        "completeness": complete()
                    } },
                    "application/x-ndjson": {
                        "schema": { "type": "string" },
                        "example": "{\"server_name\":\"api.example\",\"n\":12}\n{\"server_name\":null,\"n\":3}\n"
                    },
                    "text/csv": { "schema": { "type": "string" }, "example": "server_name,n\napi.example,12\n,3\n" },
                    "application/vnd.apache.arrow.stream": { "schema": { "type": "string", "format": "binary" } },
                    "application/vnd.apache.parquet": { "schema": { "type": "string", "format": "binary" } }
                }
            },
            "400": error_response(),
            "403": refused_response(),
            "422": { "$ref": "#/components/responses/Limit" },
            "429": { "$ref": "#/components/responses/NoTurn" },
            "503": { "$ref": "#/components/responses/Unavailable" }
        }
    })
}

fn flows() -> Value {
    json!({
        "summary": "The newest flows that pass the filters",
        "description": "Each with what its connection's TLS handshake said (tls_ja4, tls_ja3, tls_alpn, tls_cipher).",
        "parameters": [
            parameter("start", false, "RFC 3339, or how long ago (15m, 1h, 7d); 15 minutes ago by default", "2026-11-24T07:00:00Z"),
            parameter("end", false, "RFC 3339, or how long ago; no end by default", "2026-11-24T08:00:00Z"),
            parameter("filter", false, "column op value, repeatable: all must hold; op is = != ~ (contains) > < >= <=", "server_port=443"),
            parameter("q", false, "Free text in addresses, names, processes and SNI; a number is also a port", "checkout"),
            parameter("limit", false, "Rows, 500 by default, at most 5000", "100")
        ],
        "responses": {
            "200": content_with("Rows, newest first", "application/json", &reference("Flows"), &json!({
                "rows": [{
                    "time": "2026-11-24T08:00:00.000000000Z", "client_ip": "10.42.0.7", "server_ip": "10.42.1.9",
                    "server_port": 443, "client_bytes": 812, "server_bytes": 18_204, "tls_sni": "api.example",
                    "tls_ja4": "t13d1516h2_8daaf6152771_e5627efa2ab1"
                }],
                "truncated": false,
                "now": "2026-11-24T08:00:09.120000000Z",
                "completeness": complete()
            })),
            "400": error_response(),
            "403": refused_response(),
            "422": { "$ref": "#/components/responses/Limit" },
            "429": { "$ref": "#/components/responses/NoTurn" },
            "503": { "$ref": "#/components/responses/Unavailable" }
        }
    })
}

fn tables() -> Value {
    json!({
        "summary": "Tables and columns, with units and the names that OpenTelemetry, IPFIX and Zeek use; and all functions, Weir's own first",
        "responses": {
            "200": content_with("The schema", "application/json", &reference("Tables"), &json!({
                "schema_version": 1,
                "tables": [{
                    "name": "flows", "description": "A flow: what one connection did in one interval.",
                    "sorted_by": ["client_namespace"],
                    "columns": [{
                        "name": "client_bytes", "type": "BIGINT", "nullable": true, "unit": "bytes",
                        "description": "Payload bytes that the client sent in this interval.",
                        "otel": "", "ipfix": "octetDeltaCount (1)", "zeek": "orig_bytes"
                    }]
                }],
                "functions": [{
                    "name": "ip_family", "kind": "scalar", "signature": "ip_family(address)",
                    "description": "4 or 6; NULL where it is no address.",
                    "example": "SELECT ip_family(server_ip) AS family, count(*) AS flows FROM flows GROUP BY 1",
                    "own": true
                }]
            })),
            "403": refused_response()
        }
    })
}

fn export() -> Value {
    let lines = |example: &str| json!({ "schema": { "type": "string" }, "example": example });
    json!({
        "summary": "Rows for a SIEM or for keeping, oldest first",
        "description": "Streamed. An error on the way breaks the transfer off, so that a part never looks whole.",
        "parameters": [
            { "name": "format", "in": "query", "required": true,
              "description": "OCSF 1.2.0 Network Activity events, rows as JSON Lines, or CSV (one table)",
              "schema": { "type": "string", "enum": ["ocsf", "jsonl", "csv"] }, "example": "ocsf" },
            parameter("since", false, "RFC 3339, or how long ago; everything by default", "24h"),
            parameter("until", false, "RFC 3339, or how long ago; now by default", "2026-11-24T08:00:00Z"),
            parameter("tables", false, "Comma-separated; flows,tls_handshakes by default, flows for CSV", "flows")
        ],
        "responses": {
            "200": {
                "description": "One event or row a line",
                "headers": { "x-weir-completeness": { "$ref": "#/components/headers/Completeness" } },
                "content": {
                    "application/x-ndjson": lines("{\"table\":\"flows\",\"time\":\"2026-11-24T08:00:00.000000000Z\",\"client_ip\":\"10.42.0.7\"}\n"),
                    "text/csv": lines("time,client_ip\n2026-11-24T08:00:00.000000000Z,10.42.0.7\n")
                }
            },
            "400": error_response(),
            "403": refused_response(),
            "422": { "$ref": "#/components/responses/Limit" },
            "429": { "$ref": "#/components/responses/NoTurn" },
            "503": { "$ref": "#/components/responses/Unavailable" }
        }
    })
}

fn capture() -> Value {
    json!({
        "summary": "Packets on demand from the probes, as a pcapng file",
        "description": "Streamed while packets are taken, and whole at any block's end: one interface for each node, times in \
            nanoseconds, and with each packet its direction and, as a comment, the process, pod, container and network \
            namespace that holds its socket. Headers only, unless `payload` asks for more, which this server and each probe \
            must have been started for. Packets that were lost are counted (epb_dropcount, interface statistics). The probes \
            stop when the client leaves. Each request is a row of audit_log.",
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": reference("CaptureRequest"),
            "example": { "filter": "tcp port 443 and host 10.0.0.1", "nodes": ["node-1"], "seconds": 30, "packets": 100_000, "bytes": 104_857_600, "payload": 0 }
        } } },
        "responses": {
            "200": { "description": "The file", "content": {
                "application/vnd.tcpdump.pcap": { "schema": { "type": "string", "format": "binary" } }
            } },
            "400": error_response(),
            "403": refused_response(),
            "404": { "$ref": "#/components/responses/NoProbe" },
            "429": { "$ref": "#/components/responses/Busy" }
        }
    })
}

fn status() -> Value {
    json!({
        "summary": "Version, probe, listeners, table sizes, and what was lost in the last hour",
        "responses": {
            "200": content_with("The status", "application/json", &reference("Status"), &json!({
                "version": env!("CARGO_PKG_VERSION"),
                "node": "node-1",
                "started": "2026-11-24T07:00:00.000000000Z",
                "probe": { "state": "running", "detail": "every connection of this machine" },
                "probes": [{ "node": "node-1", "version": env!("CARGO_PKG_VERSION"), "allows_payload": false }],
                "kubernetes": {
                    "state": "current", "since": "2026-11-24T07:00:01.000000000Z", "message": "",
                    "kinds": [{ "kind": "Pod", "group": "", "state": "current", "since": "2026-11-24T07:00:01.000000000Z", "objects": 42 }]
                },
                "listeners": [{ "name": "http", "address": "127.0.0.1:8480" }],
                "tables": [{ "name": "flows", "rows_memory": 1207, "rows_sealed": 52_000, "files": 2, "bytes": 1_310_720, "deleted_until": null, "rows_damaged": 0 }],
                "health": [{ "node": "node-1", "counter": "connections", "kind": "gauge", "value": 31, "message": "connections and UDP flows that live on" }]
            })),
            "403": refused_response()
        }
    })
}

fn ready() -> Value {
    let mut ready = plain("Able to serve: a question has an answer", "ready\n");
    ready["responses"]["500"] = json!({ "$ref": "#/components/responses/Internal" });
    ready
}

fn plain(summary: &str, example: &str) -> Value {
    json!({
        "summary": summary,
        "responses": {
            "200": { "description": summary, "content": { "text/plain": { "schema": { "type": "string" }, "example": example } } },
            "403": refused_response()
        }
    })
}

fn parameter(name: &str, required: bool, description: &str, example: &str) -> Value {
    json!({
        "name": name, "in": "query", "required": required, "description": description,
        "schema": { "type": "string" }, "example": example
    })
}

fn content(description: &str, media: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { media: { "schema": schema } } })
}

fn content_with(description: &str, media: &str, schema: &Value, example: &Value) -> Value {
    json!({ "description": description, "content": { media: { "schema": schema, "example": example } } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn error_response() -> Value {
    json!({ "$ref": "#/components/responses/Error" })
}

fn refused_response() -> Value {
    json!({ "$ref": "#/components/responses/Refused" })
}

fn complete() -> Value {
    json!({ "complete": true, "lost": 0, "shed": 0, "late": 0, "probes_silent": 0, "rows_damaged": 0, "deleted_until": null, "message": "complete" })
}

fn responses() -> Value {
    let error = |description: &str, example: Value| {
        content_with(description, "application/json", &reference("Error"), &json!({ "error": example }))
    };
    json!({
        "Error": error("What is wrong, where in the SQL, and what to do", json!({
            "code": "sql.unknown_column",
            "message": "no column \"clint_ip\" in the tables of this query",
            "position": { "line": 1, "column": 8 },
            "hint": "did you mean client_ip?"
        })),
        "NoTurn": {
            "description": "Too many ask at once; ask again after as many seconds as Retry-After says",
            "headers": { "retry-after": { "description": "Seconds", "schema": { "type": "integer" }, "example": 1 } },
            "content": { "application/json": { "schema": reference("Error"), "example": { "error": {
                "code": "limit.busy",
                "message": "16 requests are worked on and 256 wait: there is no turn for this one",
                "hint": "ask again in a moment, and fewer at a time"
            } } } }
        },
        "Limit": error("The question costs more memory or time, or has more rows, than it may", json!({
            "code": "limit.time",
            "message": "stopped after 60 s",
            "hint": "narrow the time range (WHERE time > now() - INTERVAL '1 hour') or the columns"
        })),
        "Refused": error("Another site's page asked, or by a name that is not this host's", json!({
            "code": "request.host",
            "message": "rebound.example is not a name of this host: use its address, localhost, or its service name"
        })),
        "NoProbe": error("A node that is asked for has no connected probe, or there is none at all", json!({
            "code": "capture.no_probe",
            "message": "no probe of node \"node-9\" is connected; connected are: node-1",
            "hint": "GET /api/v1/status lists the connected probes; `weir doctor` says why one doesn't run"
        })),
        "Busy": error("As many captures as there may be are under way", json!({
            "code": "capture.busy",
            "message": "8 captures are under way already",
            "hint": "try again when one of them has ended"
        })),
        "Unavailable": error("A file could not be read, or the object store that has the files gives no answer: ask again after as many seconds as Retry-After says", json!({
            "code": "data.damaged",
            "message": "a file with 1200 rows of flows can't be read: it is set aside in quarantine/",
            "hint": "ask again: answers go without these rows now, and say so"
        })),
        "Internal": error("Something failed on this side; the log has it", json!({
            "code": "internal", "message": "a file can't be read"
        }))
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let whole = json!({ "type": "integer" });
    let truth = json!({ "type": "boolean" });
    let list = |item: Value| json!({ "type": "array", "items": item });
    let object = |properties: Value| {
        let names: Vec<&String> = properties.as_object().into_iter().flat_map(|all| all.keys()).collect();
        json!({ "type": "object", "required": names, "properties": properties })
    };
    json!({
        "Error": object(json!({ "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": { "type": "string", "description": "For programs: sql.*, limit.*, request.*, capture.* or internal; docs/sql.md lists them" },
                "message": text,
                "hint": text,
                "position": object(json!({ "line": whole, "column": whole }))
            }
        } })),
        "Completeness": object(json!({
            "complete": truth, "lost": whole, "shed": whole, "late": whole, "probes_silent": whole, "rows_damaged": whole,
            "deleted_until": json!({ "type": ["string", "null"] }),
            "message": text
        })),
        "Question": {
            "type": "object", "required": ["query"], "additionalProperties": false,
            "properties": {
                "query": { "type": "string", "description": "SQL; also taken as `sql`" },
                "params": {
                    "type": "array", "maxItems": 1_000,
                    "items": { "type": ["string", "number", "boolean", "null"] },
                    "description": "Values of $1, $2 …, as many as the text has. Times are text (RFC 3339), which becomes a time where \
                        the query compares it with one."
                },
                "limits": {
                    "type": "object", "additionalProperties": false,
                    "description": "Below the server's own; more is refused",
                    "properties": {
                        "rows": { "type": "integer", "minimum": 1, "description": "Of the answer" },
                        "time_ms": { "type": "integer", "minimum": 1 },
                        "memory_bytes": { "type": "integer", "minimum": 1, "description": "For sorting, grouping and joining" }
                    }
                }
            }
        },
        "SqlAnswer": object(json!({
            "columns": list(object(json!({ "name": text, "type": text }))),
            "rows": { "type": "array", "items": { "type": "array" }, "description": "Integers beyond 2^53 are text, times RFC 3339 with nanoseconds" },
            "row_count": whole,
            "truncated": truth,
            "elapsed_ms": { "type": "number" },
            "completeness": reference("Completeness")
        })),
        "Flows": object(json!({
            "rows": list(json!({ "type": "object" })), "truncated": truth, "now": text, "completeness": reference("Completeness")
        })),
        "Tables": object(json!({
            "schema_version": whole,
            "tables": list(object(json!({
                "name": text, "description": text, "sorted_by": list(text.clone()),
                "columns": list(object(json!({
                    "name": text, "type": text, "nullable": truth, "unit": text, "description": text, "otel": text, "ipfix": text, "zeek": text
                })))
            }))),
            "functions": list(object(json!({
                "name": text,
                "kind": { "type": "string", "enum": ["scalar", "aggregate", "window", "table"] },
                "signature": text, "description": text,
                "example": { "type": "string", "description": "A question that uses it; empty where there is none" },
                "own": { "type": "boolean", "description": "Weir's own" }
            })))
        })),
        "CaptureRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "filter": { "type": "string", "description": "host, net and port (after src, dst, client or server), tcp, udp, \
                    icmp, icmp6, sctp, proto, ip, ip6, process, pid, netns, cgroup, container, pod; and, or, not, ( ); all packets by default" },
                "nodes": { "type": "array", "items": text, "description": "All connected ones by default" },
                "seconds": { "type": "integer", "minimum": 1, "maximum": 3600, "default": 30 },
                "packets": { "type": "integer", "minimum": 1, "maximum": 10_000_000, "default": 100_000 },
                "bytes": { "type": "integer", "minimum": 1, "maximum": 4_294_967_296_u64, "default": 104_857_600, "description": "Of the file" },
                "payload": { "type": "integer", "minimum": 0, "maximum": 65536, "default": 0, "description": "Bytes kept of each packet's payload" }
            }
        },
        "Status": object(json!({
            "version": text, "node": text, "started": text,
            "probes": list(object(json!({ "node": text, "version": text, "allows_payload": truth }))),
            "probe": object(json!({ "state": { "type": "string", "enum": ["running", "off"] }, "detail": text })),
            "kubernetes": kubernetes_schema(),
            "listeners": list(object(json!({ "name": text, "address": text }))),
            "tables": list(object(json!({ "name": text, "rows_memory": whole, "rows_sealed": whole, "files": whole, "bytes": whole, "deleted_until": json!({ "type": ["string", "null"] }), "rows_damaged": whole }))),
            "health": list(json!({ "type": "object" }))
        }))
    })
}

/// Whether Kubernetes is watched, and whether what is known of it is current.
fn kubernetes_schema() -> Value {
    let (text, whole) = (json!({ "type": "string" }), json!({ "type": "integer" }));
    let state = json!({ "type": "string", "enum": ["off", "starting", "current", "stale"] });
    let mut kind = json!({ "kind": text, "group": text, "state": state, "objects": whole });
    let mut schema = json!({ "state": state, "message": text });
    // Absent: no error, and nothing watched.
    kind = optional(&kind, &["since", "error"]);
    schema["kinds"] = json!({ "type": "array", "items": kind });
    optional(&schema, &["since"])
}

/// An object of these properties, and of texts that may be absent.
fn optional(required: &Value, texts: &[&str]) -> Value {
    let names: Vec<&String> = required.as_object().map(|all| all.keys().collect()).unwrap_or_default();
    let mut properties = required.clone();
    for name in texts {
        properties[*name] = json!({ "type": "string" });
    }
    json!({ "type": "object", "properties": properties, "required": names })
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
            if path.contains("{*") {
                continue;
            }
            assert!(documented["paths"].get(path).is_some(), "{path} is not in the OpenAPI document");
            routes += 1;
        }
        assert_eq!(
            routes,
            documented["paths"].as_object().expect("paths").len(),
            "documented but not served"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn follow(value: &Value, root: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(target)) = object.get("$ref") {
                        let pointer = target.strip_prefix('#').expect("a reference within the document");
                        assert!(root.pointer(pointer).is_some(), "{target}");
                    }
                    object.values().for_each(|value| follow(value, root));
                }
                Value::Array(items) => items.iter().for_each(|value| follow(value, root)),
                _ => {}
            }
        }
        let document = document();
        follow(&document, &document);
    }
}
