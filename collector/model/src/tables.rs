//! The tables (DESIGN §4): one file each, one macro that makes the row struct, the schema and the docs of it.

mod audit_log;
mod dns;
mod drops;
mod exchanges;
mod flows;
mod http_requests;
mod k8s_audit;
mod k8s_objects;
mod policy_events;
mod probe_health;
mod processes;
mod spans;
mod tls_handshakes;

pub use audit_log::{AUDIT_LOG, AuditLogRow};
pub use dns::{DNS, DnsRow};
pub use drops::{DROPS, DropRow};
pub use exchanges::{EXCHANGES, ExchangeRow};
pub use flows::{FLOWS, FlowRow};
pub use http_requests::{HTTP_REQUESTS, HttpRequestRow};
pub use k8s_audit::{K8S_AUDIT, K8sAuditRow};
pub use k8s_objects::{K8S_OBJECTS, K8sObjectRow};
pub use policy_events::{POLICY_EVENTS, PolicyEventRow};
pub use probe_health::{PROBE_HEALTH, ProbeHealthRow};
pub use processes::{PROCESSES, ProcessRow};
pub use spans::{ARCHIVED_SPANS, SPANS, SpanRow};
pub use tls_handshakes::{TLS_HANDSHAKES, TlsHandshakeRow};

use crate::schema::Table;

/// Every table, in the order of the reference page.
pub static ALL: [&Table; 14] = [
    &FLOWS,
    &TLS_HANDSHAKES,
    &EXCHANGES,
    &SPANS,
    &ARCHIVED_SPANS,
    &HTTP_REQUESTS,
    &DROPS,
    &DNS,
    &PROCESSES,
    &K8S_OBJECTS,
    &K8S_AUDIT,
    &POLICY_EVENTS,
    &PROBE_HEALTH,
    &AUDIT_LOG,
];

/// The table of that name.
pub fn by_name(name: &str) -> Option<&'static Table> {
    ALL.into_iter().find(|table| table.name == name)
}

/// Makes a row struct, its [`Table`] and its [`crate::Row`] implementation out of one list of columns:
/// `/// description` then `name: Kind ["unit"] { otel: "…", ipfix: "…", zeek: "…" };`, each name optional.
macro_rules! table {
    (
        $(#[doc = $table_doc:literal])+
        $table:ident $row:ident = $name:literal sorted by [$($sorted:literal),*];
        $(
            $(#[doc = $doc:literal])+
            $column:ident: $kind:ident [$unit:literal] {$($key:ident: $value:literal),*};
        )+
    ) => {
        $(#[doc = $table_doc])+
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $row {
            $($(#[doc = $doc])+ pub $column: <$crate::kinds::$kind as $crate::kinds::Kind>::Value,)+
        }

        impl $row {
            #[allow(clippy::needless_update, reason = "a column that has all the names leaves nothing to fill in")]
            const COLUMNS: &'static [$crate::schema::Column] = &[
                $($crate::schema::Column {
                    name: stringify!($column),
                    kind: $crate::schema::DataKind::$kind,
                    unit: $unit,
                    description: concat!($($doc),+),
                    $($key: $value,)*
                    ..$crate::schema::Column::EMPTY
                },)+
            ];
        }

        $(#[doc = $table_doc])+
        pub static $table: $crate::schema::Table = $crate::schema::Table {
            name: $name,
            description: concat!($($table_doc),+),
            columns: $row::COLUMNS,
            is_archive: false,
            sorted_by: &[$($sorted),*],
            cached: std::sync::OnceLock::new(),
        };

        impl $crate::schema::Row for $row {
            fn table() -> &'static $crate::schema::Table {
                &$table
            }

            fn to_batch(rows: &[Self]) -> arrow::array::RecordBatch {
                use $crate::kinds::Kind;
                $(let mut $column = $crate::kinds::$kind::builder(rows.len());)+
                // A row is larger than many caches' ways: some rows' columns at a time, while they are near.
                for block in rows.chunks($crate::schema::BLOCK) {
                    $(for row in block {
                        $crate::kinds::$kind::append(&mut $column, &row.$column);
                    })+
                }
                $crate::schema::assemble(&$table, vec![$($crate::kinds::$kind::finish($column),)+])
            }

            fn from_batch(batch: &arrow::array::RecordBatch) -> Result<Vec<Self>, $crate::batch::ModelError> {
                use $crate::kinds::Kind;
                let mut rows = vec![Self::default(); batch.num_rows()];
                $(
                    if let Some(array) = batch.column_by_name(stringify!($column)) {
                        let values = $crate::kinds::$kind::values(array).ok_or_else(|| {
                            $crate::batch::ModelError::Column {
                                table: $name,
                                column: stringify!($column),
                                found: array.data_type().to_string(),
                                expected: $crate::kinds::$kind::DATA.data_type().to_string(),
                            }
                        })?;
                        for (row, value) in rows.iter_mut().zip(values) {
                            row.$column = value;
                        }
                    }
                )+
                Ok(rows)
            }
        }
    };
}
use table;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::schema::{DataKind, Row};

    #[test]
    fn every_column_says_what_it_means_and_numbers_say_their_unit() {
        for table in ALL {
            assert_eq!(
                table.columns[0].kind,
                DataKind::Time,
                "{}: rows are found by their first column",
                table.name
            );
            let mut names = HashSet::new();
            for column in table.columns {
                assert!(names.insert(column.name), "{}.{} twice", table.name, column.name);
                assert!(column.description.len() > 10, "{}.{} has no description", table.name, column.name);
                for suffix in ["us", "ns", "bytes", "packets"] {
                    if column.name.ends_with(&format!("_{suffix}")) {
                        assert_eq!(column.unit, suffix, "{}.{}", table.name, column.name);
                    }
                }
            }
            for sorted in table.sorted_by {
                assert!(
                    table.column(sorted).is_some(),
                    "{} is sorted by {sorted}, which it lacks",
                    table.name
                );
            }
        }
    }

    #[test]
    fn rows_survive_arrow() {
        let span = SpanRow {
            time: 1,
            trace_id: Some("00ff".into()),
            duration_ns: 12,
            attributes: vec![("http.request.method".into(), "GET".into())],
            confidence: Some(0.5),
            ..SpanRow::default()
        };
        let handshake = TlsHandshakeRow {
            time: 2,
            tls_alpn_offered: vec!["h2".into(), "http/1.1".into()],
            tls_resumed: Some(true),
            client_port: Some(443),
            ..TlsHandshakeRow::default()
        };
        assert_eq!(
            SpanRow::from_batch(&SpanRow::to_batch(std::slice::from_ref(&span))).expect("reads"),
            vec![span]
        );
        assert_eq!(
            TlsHandshakeRow::from_batch(&TlsHandshakeRow::to_batch(std::slice::from_ref(&handshake)))
                .expect("reads"),
            vec![handshake]
        );
    }
}
