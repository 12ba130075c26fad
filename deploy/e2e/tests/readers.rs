//! The store's files are anybody's: `DuckDB`, pyarrow and Spark read every table by themselves, and find what Weir's own SQL
//! says. docs/readers.md tells how each opens them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, MapBuilder, MapFieldNames,
    RecordBatch, StringArray, StringBuilder, TimestampNanosecondArray,
};
use arrow::compute::cast;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use weir_e2e::{Store, Weir};
use weir_model::tables::{
    AuditLogRow, DnsRow, DropRow, ExchangeRow, FlowRow, HttpRequestRow, K8sAuditRow, K8sObjectRow,
    PolicyEventRow, ProbeHealthRow, ProcessRow, SpanRow, TlsHandshakeRow,
};
use weir_model::{DataKind, Row, Table, tables};
use weir_wire::{Shipper, ShipperConfig};

/// 2026-11-18, 10:20 UTC, and some nanoseconds that must not be lost; the rows are of two hours from there on, so of three
/// hours' folders.
const FROM_NS: i64 = 1_794_997_200_123_456_789;
const UNTIL_NS: i64 = FROM_NS + 2 * 3_600_000_000_000;
const ROWS: i64 = 720;

/// What is measured of each column, by table.
type Found = BTreeMap<String, BTreeMap<String, Vec<Option<String>>>>;

#[tokio::test]
async fn duckdb_pyarrow_and_spark_find_in_the_files_what_weir_says() -> anyhow::Result<()> {
    let store = Store::new()?;
    let mut weir = Weir::start_on(&store, &["--no-probe"]).await?;
    ship_all(&weir).await?;
    // A clean stop leaves all rows in files.
    weir.process.signal(Signal::SIGTERM)?;
    let status = weir.process.ended().await?;
    ensure!(status.success(), "Weir ended with {status}: {}", weir.process.output());

    let weir = Weir::start_on(&store, &["--no-probe"]).await?;
    let said = said(&weir).await?;
    for table in sent() {
        let rows = said[table.name]["time"].first().cloned().flatten();
        let rows: i64 = rows.context("a count")?.parse()?;
        ensure!(rows >= ROWS, "{}: {rows} rows, {ROWS} were sent", table.name);
    }
    let folder = store.path("data").join("tables");
    for tool in ["duckdb", "pyarrow", "spark"] {
        let found = read(tool, &folder).with_context(|| tool.to_owned())?;
        for (table, columns) in &said {
            for (column, ours) in columns {
                let theirs = &found[table][column];
                ensure!(ours == theirs, "{table}.{column}: Weir says {ours:?}, {tool} {theirs:?}");
            }
        }
    }
    Ok(())
}

/// The tables that probes and collectors send. What is archived has the columns of others.
fn sent() -> impl Iterator<Item = &'static Table> {
    tables::ALL.into_iter().filter(|table| !table.is_archive)
}

/// Every table's rows, through the collector.
async fn ship_all(weir: &Weir) -> anyhow::Result<()> {
    let config = ShipperConfig {
        endpoint: weir.url("flight")?,
        node: "readers".to_owned(),
        boot_id: "boot".to_owned(),
        queue_bytes: 64 << 20,
    };
    let shipper = Shipper::start(config);
    ship::<FlowRow>(&shipper).await?;
    ship::<TlsHandshakeRow>(&shipper).await?;
    ship::<ExchangeRow>(&shipper).await?;
    ship::<SpanRow>(&shipper).await?;
    ship::<HttpRequestRow>(&shipper).await?;
    ship::<DropRow>(&shipper).await?;
    ship::<DnsRow>(&shipper).await?;
    ship::<ProcessRow>(&shipper).await?;
    ship::<K8sObjectRow>(&shipper).await?;
    ship::<K8sAuditRow>(&shipper).await?;
    ship::<PolicyEventRow>(&shipper).await?;
    ship::<ProbeHealthRow>(&shipper).await?;
    ship::<AuditLogRow>(&shipper).await?;
    shipper.flush().await?;
    ensure!(shipper.stats().refused_rows == 0, "{:?}", shipper.stats());
    Ok(())
}

async fn ship<R: Row>(shipper: &Shipper) -> anyhow::Result<()> {
    Ok(shipper.send(&R::from_batch(&drawn(R::table())?)?).await?)
}

/// Rows with something and nothing in every column, and no two columns alike.
fn drawn(table: &'static Table) -> anyhow::Result<RecordBatch> {
    let columns = table.columns.iter().zip(2_i64..).map(|(column, salt)| {
        let there = move |row: i64| (row % (salt % 5 + 3) != 0).then_some(row);
        let text = |row: i64| format!("{}-{row} ü", column.name);
        let rows = 0..ROWS;
        let array: ArrayRef = match column.kind {
            DataKind::Time => {
                let times = rows.map(|row| FROM_NS + row * (UNTIL_NS - FROM_NS) / ROWS + row % 7);
                Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            DataKind::OptTime => {
                let times = rows.map(|row| there(row).map(|row| FROM_NS + row * 1_000_000_007));
                Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
            }
            DataKind::Text => {
                Arc::new(rows.map(|row| there(row).map(|row| text(row % 13))).collect::<StringArray>())
            }
            DataKind::Str => Arc::new(rows.map(|row| there(row).map(text)).collect::<StringArray>()),
            DataKind::Int => Arc::new(
                rows.map(|row| there(row).map(|row| (row - 300) * ((1 << 30) + salt)))
                    .collect::<Int64Array>(),
            ),
            DataKind::Count => Arc::new(Int64Array::from_iter_values(rows.map(|row| row * salt))),
            DataKind::Port => Arc::new(
                rows.map(|row| there(row).map(|row| (row * 97 % 65_536) as i32)).collect::<Int32Array>(),
            ),
            DataKind::Bool => {
                Arc::new(rows.map(|row| there(row).map(|row| row % 2 == 0)).collect::<BooleanArray>())
            }
            // Eighths add up exactly in any order.
            DataKind::Float => {
                Arc::new(rows.map(|row| there(row).map(|row| row as f64 / 8.0)).collect::<Float64Array>())
            }
            DataKind::TextList => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                for row in rows {
                    lists.append_value((0..row % 3).map(|item| Some(text(row + item))));
                }
                Arc::new(lists.finish())
            }
            DataKind::Map => {
                let names = MapFieldNames {
                    entry: "entries".to_owned(),
                    key: "keys".to_owned(),
                    value: "values".to_owned(),
                };
                let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
                for row in rows {
                    for entry in 0..row % 4 {
                        maps.keys().append_value(format!("key-{entry}"));
                        maps.values().append_value(text(row));
                    }
                    maps.append(true)?;
                }
                Arc::new(maps.finish())
            }
        };
        Ok(cast(&array, &column.kind.data_type())?)
    });
    Ok(RecordBatch::try_new(table.schema(), columns.collect::<anyhow::Result<_>>()?)?)
}

/// The kind of a column as the readers know it, and what is asked of it in Weir's SQL.
fn measured(kind: DataKind) -> (&'static str, &'static [&'static str]) {
    match kind {
        DataKind::Time | DataKind::OptTime => (
            "time",
            &["count(@)", "CAST(min(@) AS BIGINT)", "CAST(max(@) AS BIGINT)", "sum(CAST(@ AS BIGINT) - #)"],
        ),
        DataKind::Text | DataKind::Str => {
            ("text", &["count(@)", "count(DISTINCT @)", "min(@)", "max(@)", "sum(character_length(@))"])
        }
        DataKind::Int | DataKind::Count | DataKind::Port => {
            ("int", &["count(@)", "sum(@)", "min(@)", "max(@)"])
        }
        DataKind::Bool => ("bool", &["count(@)", "sum(CASE WHEN @ THEN 1 ELSE 0 END)"]),
        DataKind::Float => ("float", &["count(@)", "sum(@)"]),
        DataKind::TextList => {
            ("list", &["sum(cardinality(@))", "sum(character_length(array_to_string(@, '')))"])
        }
        DataKind::Map => {
            ("map", &["sum(cardinality(@))", "sum(character_length(array_to_string(map_values(@), '')))"])
        }
    }
}

/// What Weir's own SQL says of every column.
async fn said(weir: &Weir) -> anyhow::Result<Found> {
    let mut said = Found::new();
    for table in sent() {
        let measures = table.columns.iter().map(|column| {
            let each = measured(column.kind).1.iter();
            each.map(|measure| measure.replace('@', column.name).replace('#', &FROM_NS.to_string()))
        });
        let measures: Vec<Vec<String>> = measures.map(Iterator::collect).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE CAST(time AS BIGINT) >= {FROM_NS} AND CAST(time AS BIGINT) < {UNTIL_NS}",
            measures.concat().join(", "),
            table.name
        );
        let mut values = weir.sql(&sql).await?.into_iter().flatten();
        let columns = table.columns.iter().zip(&measures).map(|(column, measures)| {
            let values = values.by_ref().take(measures.len());
            let of_column = values.map(|value| plain(column.kind, &value));
            (column.name.to_owned(), of_column.collect())
        });
        said.insert(table.name.to_owned(), columns.collect());
    }
    Ok(said)
}

/// A value as the readers write it.
fn plain(kind: DataKind, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // Python writes a whole real number with its point.
        Value::Number(number) if kind == DataKind::Float && number.is_f64() => {
            Some(format!("{:?}", number.as_f64()?))
        }
        other => Some(other.to_string()),
    }
}

/// What a tool finds in the files.
fn read(tool: &str, folder: &Path) -> anyhow::Result<Found> {
    let kinds: BTreeMap<&str, serde_json::Map<String, Value>> = sent()
        .map(|table| {
            let columns = table.columns.iter();
            (
                table.name,
                columns.map(|column| (column.name.to_owned(), json!(measured(column.kind).0))).collect(),
            )
        })
        .collect();
    let question = json!({ "from": FROM_NS, "until": UNTIL_NS, "tables": kinds });
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join(".tools/readers/bin/python");
    let mut process = Command::new(&python)
        .arg(root.join("deploy/e2e/tests/readers/readers.py"))
        .arg(tool)
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{}: `deploy/setup.sh test` installs it", python.display()))?;
    serde_json::to_writer(process.stdin.take().context("standard input")?, &question)?;
    let output = process.wait_with_output()?;
    ensure!(output.status.success(), "ended with {}; what it said is above", output.status);
    serde_json::from_slice(&output.stdout).context("read what it found")
}
