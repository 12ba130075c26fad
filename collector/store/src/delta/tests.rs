use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tempfile::tempdir;
use weir_model::tables::{DnsRow, FLOWS};
use weir_model::{BatchMeta, FlowRow, Row};

use super::*;
use crate::{Compaction, Store, StoreConfig};

const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;

/// A store with flows of two days in three files, and names of one.
async fn filled(dir: &FsPath) -> Store {
    let config = StoreConfig {
        dir: dir.to_owned(),
        seal_age: Duration::from_hours(1),
        compaction: Compaction { is_on: false, ..Compaction::default() },
        ..StoreConfig::default()
    };
    let store = Store::open(config).await.unwrap();
    for (sequence, first) in [(1, 0), (2, DAY_NS - 2)] {
        let flow = |id| FlowRow { time: first + id, ..FlowRow::default() };
        let rows: Vec<FlowRow> = (0..5).map(flow).collect();
        let meta = BatchMeta::of::<FlowRow>("node", "boot", sequence);
        store.append(vec![(meta, FlowRow::to_batch(&rows))]).await.unwrap();
        store.seal().await.unwrap();
    }
    let names = DnsRow::to_batch(&[DnsRow { time: 7, ..DnsRow::default() }]);
    store.append(vec![(BatchMeta::of::<DnsRow>("node", "boot", 1), names)]).await.unwrap();
    store.seal().await.unwrap();
    store
}

fn log(to: &FsPath, table: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(to.join(table).join(LOG)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_table_has_exactly_the_files_of_its_commit() {
    let (dir, out) = (tempdir().unwrap(), tempdir().unwrap());
    let store = filled(dir.path()).await;
    let to = out.path().join("delta");
    let mut export = Export { dir: dir.path().to_owned(), shared: None, to: to.clone(), is_linked: false };
    let exported = export_delta(&export, |_, _| ()).await.unwrap();
    let said: Vec<_> = exported.tables.iter().map(|of| (of.table, of.files, of.rows)).collect();
    assert_eq!(said, [("flows", 3, 10), ("dns", 1, 1)]);

    let lines = log(&to, "flows");
    assert_eq!(lines[0]["protocol"]["minReaderVersion"], 1);
    let fields: Value = serde_json::from_str(lines[1]["metaData"]["schemaString"].as_str().unwrap()).unwrap();
    let fields = fields["fields"].as_array().unwrap();
    assert_eq!(fields.len(), FLOWS.columns.len() + 1);
    assert_eq!((&fields[0]["name"], &fields[0]["type"]), (&json!("time"), &json!("long")));
    assert_eq!(
        (&fields[fields.len() - 1]["name"], &lines[1]["metaData"]["partitionColumns"]),
        (&json!("date"), &json!(["date"]))
    );
    let mut rows = 0;
    for add in lines[2..].iter().map(|line| &line["add"]) {
        let path = add["path"].as_str().unwrap();
        let date = add["partitionValues"]["date"].as_str().unwrap();
        assert!(path.starts_with(&format!("date={date}/")), "{path}");
        assert_eq!(
            std::fs::metadata(to.join("flows").join(path)).unwrap().len(),
            add["size"].as_u64().unwrap()
        );
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        rows += stats["numRecords"].as_i64().unwrap();
        assert!(stats["minValues"]["time"].as_i64() <= stats["maxValues"]["time"].as_i64());
    }
    assert_eq!(rows, 10);

    let again = export_delta(&export, |_, _| ()).await.unwrap_err();
    assert!(matches!(again, StoreError::Io { .. }), "{again}");
    export.to = out.path().join("linked");
    export.is_linked = true;
    export_delta(&export, |_, _| ()).await.unwrap();
    let linked = export.to.join("dns").join(log(&export.to, "dns")[2]["add"]["path"].as_str().unwrap());
    assert_eq!(std::fs::metadata(linked).unwrap().nlink(), 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn no_table_without_files_is_exported() {
    let (dir, out) = (tempdir().unwrap(), tempdir().unwrap());
    std::fs::create_dir(dir.path().join("catalog")).unwrap();
    let to = out.path().to_owned();
    let export = Export { dir: dir.path().to_owned(), shared: None, to, is_linked: false };
    assert_eq!(export_delta(&export, |_, _| ()).await.unwrap(), Exported::default());
}
