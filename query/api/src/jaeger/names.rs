//! Services and operations that were ever seen, sorted.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use serde::Serialize;
use weir_query::Engine;

use super::failure::Failure;
use crate::filter::quoted;

/// More names than a person can choose from.
const MOST_NAMES: usize = 100_000;

/// A span's name and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    pub(crate) name: String,
    /// Lower case; empty where it was not said.
    pub(crate) span_kind: String,
}

/// Every service.
pub(crate) async fn services(engine: &Engine) -> Result<Vec<String>, Failure> {
    let rows = texts(engine, "SELECT DISTINCT service FROM spans WHERE service IS NOT NULL").await?;
    let mut names: Vec<String> = rows.into_iter().map(|[name]| name).collect();
    names.sort_unstable();
    Ok(names)
}

/// The operations of a service; `kind` empty for those of all kinds.
pub(crate) async fn operations(
    engine: &Engine,
    service: &str,
    kind: &str,
) -> Result<Vec<Operation>, Failure> {
    let mut sql = format!("SELECT DISTINCT operation, kind FROM spans WHERE service = {}", quoted(service));
    if !kind.is_empty() {
        sql = format!("{sql} AND kind = {}", quoted(kind));
    }
    let rows = texts(engine, &sql).await?;
    let operation = |[name, kind]: [String; 2]| Operation {
        name,
        span_kind: if kind == "unspecified" { String::new() } else { kind },
    };
    let mut operations: Vec<Operation> = rows.into_iter().map(operation).collect();
    operations.sort_unstable();
    operations.dedup();
    Ok(operations)
}

/// Rows of `N` texts; a null is empty.
pub(crate) async fn texts<const N: usize>(engine: &Engine, sql: &str) -> Result<Vec<[String; N]>, Failure> {
    let answer = engine.collect(sql, MOST_NAMES).await?;
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let plain = |column: usize| {
            cast(batch.column(column), &DataType::Utf8)
                .map_err(|err| Failure::internal(format!("reading names: {err}")))
        };
        let columns = (0..N).map(plain).collect::<Result<Vec<_>, _>>()?;
        rows.extend((0..batch.num_rows()).map(|row| {
            std::array::from_fn(|column| {
                let texts = columns[column].as_string::<i32>();
                if texts.is_null(row) { String::new() } else { texts.value(row).to_owned() }
            })
        }));
    }
    Ok(rows)
}
