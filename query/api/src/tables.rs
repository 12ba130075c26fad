//! `GET /api/v1/tables` and the reference page `docs/tables.md`: both straight from the model; the functions from the engine.

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use weir_model::schema::SCHEMA_VERSION;
use weir_model::tables::ALL;
use weir_model::{Column, DataKind};

use crate::Api;

/// Tables and functions as JSON.
pub(crate) async fn answer(State(api): State<Arc<Api>>) -> Json<Value> {
    let tables: Vec<_> = ALL
        .iter()
        .map(|table| {
            json!({
                "name": table.name,
                "description": table.description.trim(),
                "sorted_by": table.sorted_by,
                "columns": table.columns.iter().map(column).collect::<Vec<_>>(),
            })
        })
        .collect();
    Json(json!({ "schema_version": SCHEMA_VERSION, "tables": tables, "functions": api.engine.functions() }))
}

fn column(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind.sql_name(),
        "nullable": column.kind != DataKind::Time,
        "unit": column.unit,
        "description": column.description.trim(),
        "otel": column.otel,
        "ipfix": column.ipfix,
        "zeek": column.zeek,
    })
}

/// The reference page.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Tables\n\nMade from `collector/model` by `make docs`; do not edit. Times are UTC nanoseconds, addresses are text. \
         OpenTelemetry, IPFIX (RFC 7012) and Zeek columns give the name that those use.\n",
    );
    for table in ALL {
        let _ = write!(page, "\n## {}\n\n{}\n\n", table.name, table.description.trim());
        page.push_str("| column | type | unit | what it is | OpenTelemetry | IPFIX | Zeek |\n|---|---|---|---|---|---|---|\n");
        for column in table.columns {
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} | {} | {} |",
                column.name,
                column.kind.sql_name(),
                column.unit,
                column.description.trim().replace('|', "\\|"),
                code(column.otel),
                column.ipfix,
                code(column.zeek),
            );
        }
    }
    page
}

fn code(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("`{name}`") }
}
