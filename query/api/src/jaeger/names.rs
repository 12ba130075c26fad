//! Services and operations that were ever seen, sorted.
//!
//! | file             | subject                              |
//! |------------------|--------------------------------------|
//! | `names/known.rs` | what each file tells of, asked once    |

mod known;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use serde::Serialize;
use weir_model::tables::SPANS;
use weir_query::{Collected, Engine};

use super::failure::Failure;
use crate::Api;
use crate::filter::quoted;
pub(crate) use known::Known;

/// More rows of texts than a person can choose from.
const MOST_ROWS: usize = 100_000;

/// A span's name and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    pub(crate) name: String,
    /// Lower case; empty where it was not said.
    pub(crate) span_kind: String,
}

/// Every service.
pub(crate) async fn services(api: &Api) -> Result<Vec<String>, Failure> {
    let known = api.known.names(&api.engine).await?;
    let named = known.names.iter().map(|name| &name.service).filter(|service| !service.is_empty());
    let mut services: Vec<String> = named.cloned().collect();
    services.sort_unstable();
    services.dedup();
    Ok(services)
}

/// The operations of a service; `kind` empty for those of all kinds.
pub(crate) async fn operations(api: &Api, service: &str, kind: &str) -> Result<Vec<Operation>, Failure> {
    let known = api.known.names(&api.engine).await?;
    let of_service = known.names.iter().filter(|name| name.service == service);
    let mut named: Vec<[String; 2]> = of_service
        .map(|name| [name.operation.clone(), name.kind.clone()])
        // Only its service is known.
        .filter(|[name, kind]| !name.is_empty() || !kind.is_empty())
        .collect();
    if !known.more.memory.is_empty() || !known.more.segments.is_empty() {
        let sql = format!("SELECT DISTINCT operation, kind FROM spans WHERE service = {}", quoted(service));
        named.extend(texts_of(api.engine.collect_from(&SPANS, known.more, &sql, MOST_ROWS).await?)?);
    }
    named.retain(|[_, own]| kind.is_empty() || own == kind);
    let operation = |[name, kind]: [String; 2]| Operation {
        name,
        span_kind: if kind == "unspecified" { String::new() } else { kind },
    };
    let mut operations: Vec<Operation> = named.into_iter().map(operation).collect();
    operations.sort_unstable();
    operations.dedup();
    Ok(operations)
}

/// Rows of `N` texts; a null is empty.
pub(crate) async fn texts<const N: usize>(engine: &Engine, sql: &str) -> Result<Vec<[String; N]>, Failure> {
    texts_of(engine.collect(sql, MOST_ROWS).await?)
}

/// An answer of `N` columns as texts.
fn texts_of<const N: usize>(answer: Collected) -> Result<Vec<[String; N]>, Failure> {
    let mut rows = Vec::new();
    for batch in answer.batches {
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
