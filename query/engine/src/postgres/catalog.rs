//! What there is, as PostgreSQL's catalogues tell it: `pg_catalog` and `information_schema` of one database, `weir`, whose schema
//! `public` has Weir's tables.
//!
//! | file             | subject                                                            |
//! |------------------|----------------------------------------------------------------------|
//! | `spec.rs`        | tables written as text: their columns, then their rows                 |
//! | `empty.rs`       | tables that have no row here: there are no indexes, triggers, …        |
//! | `objects.rs`     | databases, schemas, tables, columns, types                             |
//! | `routines.rs`    | functions                                                              |
//! | `information.rs` | `information_schema`                                                   |

mod empty;
mod information;
mod objects;
mod routines;
mod spec;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use weir_model::tables;

use super::types::Type;
pub(super) use routines::{Routine, routine};
use spec::{Rows, Value};

/// The only database.
pub(super) const DATABASE: &str = "weir";
/// The schemas, with PostgreSQL's own numbers for them.
pub(super) const PG_CATALOG: (&str, i64) = ("pg_catalog", 11);
pub(super) const PUBLIC: (&str, i64) = ("public", 2200);
pub(super) const INFORMATION: (&str, i64) = ("information_schema", 13_000);
/// Whose everything is.
pub(super) const OWNER: i64 = 10;

/// A table as the catalogue knows it.
pub(super) struct Relation {
    pub(super) oid: i64,
    pub(super) schema: (&'static str, i64),
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) columns: Vec<Column>,
}

/// A column as the catalogue knows it.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) is_nullable: bool,
    pub(super) description: &'static str,
}

/// All relations: Weir's own, then those of the catalogue.
pub(super) static RELATIONS: LazyLock<Vec<Relation>> = LazyLock::new(|| {
    let columns = |schema: &SchemaRef| {
        let columns = schema.fields().iter().map(|field| Column {
            name: field.name().clone(),
            kind: Type::of(field),
            is_nullable: field.is_nullable(),
            description: "",
        });
        columns.collect::<Vec<_>>()
    };
    let ours = tables::ALL.iter().zip(16_384..).map(|(table, oid)| {
        let mut columns = columns(&table.schema());
        for (column, told) in columns.iter_mut().zip(table.columns) {
            column.description = told.description.trim();
        }
        Relation { oid, schema: PUBLIC, name: table.name, description: table.description.trim(), columns }
    });
    let catalogue =
        objects::TABLES.iter().chain(empty::CATALOGUE).zip(12_000..).map(|((name, spec), oid)| {
            let oid = objects::known_oid(name).unwrap_or(oid);
            Relation { oid, schema: PG_CATALOG, name, description: "", columns: columns(&spec::schema(spec)) }
        });
    let information =
        information::TABLES.iter().chain(empty::INFORMATION).zip(13_001..).map(|((name, spec), oid)| {
            Relation {
                oid,
                schema: INFORMATION,
                name,
                description: "",
                columns: columns(&spec::schema(spec)),
            }
        });
    ours.chain(catalogue).chain(information).collect()
});

/// The relation of a name, with its schema before it or not, quoted or not.
pub(super) fn relation(name: &str) -> Option<&'static Relation> {
    let name = name.replace('"', "");
    let (schema, name) =
        name.rsplit_once('.').map_or((None, name.as_str()), |(schema, name)| (Some(schema), name));
    RELATIONS.iter().find(|relation| {
        let is_there = match schema {
            Some(schema) => schema == relation.schema.0,
            None => relation.schema != INFORMATION,
        };
        is_there && relation.name == name
    })
}

/// Whether the catalogue has a table of this name.
pub(super) fn is_catalogue(name: &str) -> bool {
    objects::TABLES.iter().chain(empty::CATALOGUE).any(|(known, _)| *known == name)
}

/// Whether a table of this schema has never a row.
pub(super) fn is_never_filled(schema: &str, name: &str) -> bool {
    let tables = match schema {
        "pg_catalog" => empty::CATALOGUE,
        "information_schema" => empty::INFORMATION,
        _ => return false,
    };
    tables.iter().any(|(known, _)| *known == name)
}

/// Whether a column of the catalogue is a list; none of them has a value.
pub(super) fn is_list(column: &str) -> bool {
    let tables = objects::TABLES.iter().chain(empty::CATALOGUE);
    tables.flat_map(|(_, spec)| spec.split_whitespace()).any(|told| {
        told.split_once(':').is_some_and(|(name, kind)| name == column && ["T", "O", "I"].contains(&kind))
    })
}

/// A row that says these columns.
fn row<const N: usize>(values: [(&'static str, Value); N]) -> HashMap<&'static str, Value> {
    values.into()
}

/// By schema and name.
type Tables = BTreeMap<(&'static str, &'static str), Arc<MemTable>>;

/// Tables that are the same for all sessions.
static SAME: LazyLock<Result<Tables>> = LazyLock::new(|| {
    let mut tables = BTreeMap::new();
    for (name, spec) in empty::CATALOGUE {
        tables.insert((PG_CATALOG.0, *name), table(spec, &Vec::new())?);
    }
    for (name, spec) in empty::INFORMATION {
        tables.insert((INFORMATION.0, *name), table(spec, &Vec::new())?);
    }
    for (name, spec) in objects::TABLES {
        if let Some(rows) = objects::rows(name) {
            tables.insert((PG_CATALOG.0, *name), table(spec, &rows)?);
        }
    }
    for (name, spec) in information::TABLES {
        tables.insert((INFORMATION.0, *name), table(spec, &information::rows(name))?);
    }
    Ok(tables)
});

fn table(spec: &str, rows: &Rows) -> Result<Arc<MemTable>> {
    let batch = spec::batch(spec, rows)?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

/// The tables of `pg_catalog` and of `information_schema`, for a session with these settings (name, value, description) and user.
pub(super) fn schemas<'a>(
    settings: impl Iterator<Item = (&'static str, &'a str, &'static str)>,
    user: &str,
) -> Result<(Arc<MemorySchemaProvider>, Arc<MemorySchemaProvider>)> {
    let (catalogue, information) =
        (Arc::new(MemorySchemaProvider::new()), Arc::new(MemorySchemaProvider::new()));
    let same = SAME.as_ref().map_err(|err| datafusion::error::DataFusionError::Internal(err.to_string()))?;
    for ((schema, name), table) in same {
        let schema = if *schema == PG_CATALOG.0 { &catalogue } else { &information };
        schema.register_table((*name).to_owned(), table.clone() as Arc<dyn TableProvider>)?;
    }
    let settings = objects::settings(settings);
    for (name, spec) in objects::TABLES {
        let rows = match *name {
            "pg_settings" => settings.clone(),
            "pg_roles" | "pg_user" | "pg_authid" | "pg_shadow" => objects::role(user),
            _ => continue,
        };
        catalogue.register_table((*name).to_owned(), table(spec, &rows)?)?;
    }
    Ok((catalogue, information))
}
