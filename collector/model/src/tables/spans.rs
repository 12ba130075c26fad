//! `spans`, and those of them that are kept: `archived_spans`.

use std::sync::OnceLock;

use super::table;
use crate::schema::Table;

table! {
    /// A span: OpenTelemetry's, from an application, or stitched by Weir from flows and handshakes.
    SPANS SpanRow = "spans" sorted by ["trace_id"];

    /// When the span started.
    time: Time ["ns"] {otel: "start_time_unix_nano"};
    /// When the span ended.
    end_time: OptTime ["ns"] {otel: "end_time_unix_nano"};
    /// The trace, 32 hex digits.
    trace_id: Str [""] {otel: "trace_id"};
    /// The span, 16 hex digits.
    span_id: Str [""] {otel: "span_id"};
    /// The parent span, 16 hex digits; null for a root.
    parent_span_id: Str [""] {otel: "parent_span_id"};
    /// W3C tracestate.
    trace_state: Str [""] {otel: "trace_state"};
    /// W3C trace flags and OTLP's own bits.
    flags: Int [""] {otel: "flags"};
    /// The service that made the span.
    service: Text [""] {otel: "service.name"};
    /// The span's name.
    operation: Text [""] {otel: "name"};
    /// `client`, `server`, `internal`, `producer`, `consumer` or `unspecified`.
    kind: Text [""] {otel: "kind"};
    /// `unset`, `ok` or `error`.
    status: Text [""] {otel: "status.code"};
    /// What the status says of an error.
    status_message: Str [""] {otel: "status.message"};
    /// How long it took.
    duration_ns: Count ["ns"] {};
    /// The span's attributes; values as text, their types in `attribute_types`.
    attributes: Map [""] {otel: "attributes"};
    /// One letter an attribute, in order: s string, i int, d double, b bool, y bytes (base64), j array or map
    /// (OTLP JSON).
    attribute_types: Text [""] {};
    /// The resource's attributes.
    resource_attributes: Map [""] {otel: "resource.attributes"};
    /// As `attribute_types`, for the resource.
    resource_attribute_types: Text [""] {};
    /// Instrumentation scope's name.
    scope_name: Text [""] {otel: "otel.scope.name"};
    /// Instrumentation scope's version.
    scope_version: Text [""] {otel: "otel.scope.version"};
    /// Instrumentation scope's attributes.
    scope_attributes: Map [""] {otel: "scope.attributes"};
    /// As `attribute_types`, for the scope.
    scope_attribute_types: Text [""] {};
    /// What OTLP says of resource and scope beside their attributes (schema URLs, dropped counts, entity
    /// references), as JSON; null where it says nothing.
    otlp_envelope: Text [""] {};
    /// Events, as OTLP JSON; null where there are none.
    events: Str [""] {otel: "events"};
    /// Links, as OTLP JSON; null where there are none.
    links: Str [""] {otel: "links"};
    /// Attributes that the application dropped.
    dropped_attributes: Count [""] {otel: "dropped_attributes_count"};
    /// Events that the application dropped.
    dropped_events: Count [""] {otel: "dropped_events_count"};
    /// Links that the application dropped.
    dropped_links: Count [""] {otel: "dropped_links_count"};
    /// `otlp` (an application's own) or `stitched` (ours, from flows).
    source: Text [""] {};
    /// How sure the link to the parent is, 0 to 1; 1 where it was seen, null for applications' own spans.
    confidence: Float [""] {otel: "weir.link.confidence"};
    /// The connection that the span is part of.
    connection_id: Str [""] {otel: "weir.connection.id"};
    /// Whether the span is one request of its service, for counting them: false for what only shows the network's part (a
    /// connection, its opening, a TLS handshake, an HTTP/2 burst) and for an exchange that an application's own span tells of.
    /// Null for applications' own spans, which all count.
    request: Bool [""] {};
    /// Of a stitched span: the application's own span of the same request at the same end, where there is one.
    application_span_id: Str [""] {};
    /// The node that reported it.
    node: Text [""] {otel: "k8s.node.name"};
}

/// Spans of traces that somebody keeps for longer than others (Jaeger's archive): a copy of each.
pub static ARCHIVED_SPANS: Table = Table {
    name: "archived_spans",
    description: " Spans of traces that somebody archived, as they were in `spans`; kept until `--retention-of` names this table.",
    columns: SpanRow::COLUMNS,
    is_archive: true,
    sorted_by: &["trace_id"],
    cached: OnceLock::new(),
};
