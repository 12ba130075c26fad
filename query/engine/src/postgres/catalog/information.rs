//! `information_schema`, with types by PostgreSQL's names for them.

use std::collections::HashMap;

use super::spec::{Rows, Value};
use super::{DATABASE, INFORMATION, PG_CATALOG, PUBLIC, RELATIONS, Relation};

/// Name and columns.
pub(super) const TABLES: &[(&str, &str)] = &[
    (
        "columns",
        "table_catalog:n table_schema:n table_name:n column_name:n ordinal_position:4 column_default:t is_nullable:t data_type:t character_maximum_length:t character_octet_length:t numeric_precision:t numeric_scale:t datetime_precision:t domain_name:n udt_catalog:n udt_schema:n udt_name:n is_identity:t is_generated:t generation_expression:t is_updatable:t",
    ),
    ("information_schema_catalog_name", "catalog_name:n"),
    (
        "schemata",
        "catalog_name:n schema_name:n schema_owner:n default_character_set_catalog:n default_character_set_schema:n default_character_set_name:n sql_path:t",
    ),
    (
        "tables",
        "table_catalog:n table_schema:n table_name:n table_type:t self_referencing_column_name:n reference_generation:t user_defined_type_catalog:n user_defined_type_schema:n user_defined_type_name:n is_insertable_into:t is_typed:t commit_action:t",
    ),
];

pub(super) fn rows(table: &str) -> Rows {
    match table {
        "columns" => RELATIONS.iter().flat_map(columns).collect(),
        "information_schema_catalog_name" => vec![HashMap::from([("catalog_name", DATABASE.into())])],
        "schemata" => [PG_CATALOG, PUBLIC, INFORMATION]
            .into_iter()
            .map(|(name, _)| {
                HashMap::from([
                    ("catalog_name", DATABASE.into()),
                    ("schema_name", name.into()),
                    ("schema_owner", DATABASE.into()),
                ])
            })
            .collect(),
        _ => RELATIONS
            .iter()
            .map(|relation| {
                let kind = if relation.schema == PUBLIC { "BASE TABLE" } else { "VIEW" };
                let mut row = place(relation);
                row.extend([
                    ("table_type", kind.into()),
                    ("is_insertable_into", "NO".into()),
                    ("is_typed", "NO".into()),
                ]);
                row
            })
            .collect(),
    }
}

fn place(relation: &Relation) -> HashMap<&'static str, Value> {
    HashMap::from([
        ("table_catalog", DATABASE.into()),
        ("table_schema", relation.schema.0.into()),
        ("table_name", relation.name.into()),
    ])
}

fn columns(relation: &Relation) -> impl Iterator<Item = HashMap<&'static str, Value>> {
    relation.columns.iter().zip(1_i64..).map(move |(column, number)| {
        let mut row = place(relation);
        let kind = if column.kind.is_list { "ARRAY" } else { column.kind.scalar.sql_name() };
        let list = if column.kind.is_list { "_" } else { "" };
        row.extend([
            ("column_name", column.name.as_str().into()),
            ("ordinal_position", number.into()),
            ("is_nullable", if column.is_nullable { "YES" } else { "NO" }.into()),
            ("data_type", kind.into()),
            ("udt_catalog", DATABASE.into()),
            ("udt_schema", PG_CATALOG.0.into()),
            ("udt_name", format!("{list}{}", column.kind.scalar.name()).into()),
            ("is_identity", "NO".into()),
            ("is_generated", "NEVER".into()),
            ("is_updatable", "NO".into()),
        ]);
        row
    })
}
