//! `audit_log`.

use super::table;

table! {
    /// Who asked Weir what.
    AUDIT_LOG AuditLogRow = "audit_log" sorted by ["principal", "action"];

    /// When they asked.
    time: Time ["ns"] {};
    /// Who asked: a name from OIDC, Kubernetes or a token; `local` without authentication.
    principal: Text [""] {otel: "user.name"};
    /// Where they asked from.
    client_ip: Text [""] {otel: "client.address"};
    /// `sql`, `export`, `jaeger`, `flows`, `capture`, …
    action: Text [""] {};
    /// The query or parameters, secrets left out.
    request: Str [""] {otel: "db.query.text"};
    /// `ok`, `refused`, `failed` or `cancelled`.
    outcome: Text [""] {};
    /// Rows answered.
    rows: Int ["rows"] {otel: "db.response.returned_rows"};
    /// How long it took.
    duration_us: Int ["us"] {};
    /// What was wrong.
    error: Str [""] {otel: "error.type"};
}
