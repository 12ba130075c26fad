//! Files: those of other versions, and which are read first.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_query::{Answer, Engine, Limits, QueryError};
use weir_store::{Store, StoreConfig};

use super::{SECOND, START, World, flows, text};

/// Puts another file in the place of a sealed one, as another version would have written it.
fn rewrite(store: &Path, path: &str, change: impl Fn(RecordBatch) -> RecordBatch) {
    let file = store.join(path);
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&file).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let rows = change(concat_batches(&schema, &batches).unwrap());
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let before = fs::metadata(&file).unwrap().len();
    fs::write(&file, &bytes).unwrap();
    let said = format!("\"path\":\"{path}\",\"size\":");
    let mut named = 0;
    for commit in fs::read_dir(store.join("catalog")).unwrap() {
        let commit = commit.unwrap().path();
        let text = fs::read_to_string(&commit).unwrap();
        named += text.matches(&said).count();
        let text = text.replace(&format!("{said}{before}"), &format!("{said}{}", bytes.len()));
        fs::write(&commit, text).unwrap();
    }
    assert!(named > 0, "no commit names {path}");
}

/// The first file is of a version that knew nothing of processes, the second of one that knows more than we do; the third is
/// ours, and the last rows are in memory.
async fn of_three_versions() -> World {
    let World { dir, store, .. } = World::new().await.with_flows().await;
    store.seal().await.unwrap();
    let snapshot = store.snapshot(&weir_model::tables::FLOWS);
    let mut paths: Vec<_> =
        snapshot.segments.iter().map(|file| (file.min_time, file.path.to_string())).collect();
    paths.sort();
    drop(snapshot);
    store.close().await.unwrap();
    let folder = dir.path().join("data");
    rewrite(&folder, &paths[0].1, |rows| {
        let fields = rows.schema();
        let known = fields.fields().iter().enumerate().filter(|(_, field)| !field.name().contains("process"));
        let known: Vec<usize> = known.map(|(place, _)| place).collect();
        rows.project(&known).unwrap()
    });
    rewrite(&folder, &paths[1].1, |rows| {
        let of_later: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64));
        let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        let columns = names.into_iter().zip(rows.columns().iter().cloned());
        // Among the others, so that places of columns are other ones, too.
        let mut columns: Vec<(String, ArrayRef)> = columns.collect();
        columns.insert(3, ("of_a_later_version".to_owned(), of_later));
        RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap()
    });
    let store = Store::open(StoreConfig { dir: folder, ..StoreConfig::default() }).await.unwrap();
    let engine = Engine::new(store.clone(), Limits { threads: 2, ..Limits::default() }).unwrap();
    let mut world = World { dir, store, engine, batches: 100 };
    world.add(&flows(300..400, START + 10_800 * SECOND)).await;
    world
}

#[tokio::test]
async fn files_that_lack_columns_and_files_that_have_more_are_asked_together() {
    let world = of_three_versions().await;
    let asked = [
        ("SELECT count(*), sum(client_bytes) FROM flows", vec!["400|79800"]),
        (
            "SELECT count(client_process), count(*) FILTER (WHERE client_process IS NULL) FROM flows",
            vec!["300|100"],
        ),
        (
            "SELECT client_process, count(*) FROM flows GROUP BY 1 ORDER BY 1 NULLS FIRST",
            vec!["|100", "curl|150", "nginx|150"],
        ),
        // What a file doesn't know is no answer to a condition on it, of either kind.
        ("SELECT count(*) FROM flows WHERE client_process = 'curl'", vec!["150"]),
        ("SELECT count(*) FROM flows WHERE client_process <> 'curl'", vec!["150"]),
        ("SELECT count(*) FROM flows WHERE client_process = 'curl' OR client_bytes < 10", vec!["160"]),
        ("SELECT client_process, client_bytes FROM flows ORDER BY time LIMIT 2", vec!["|0", "|1"]),
        (
            "SELECT client_process, client_bytes FROM flows ORDER BY time DESC LIMIT 2",
            vec!["nginx|399", "curl|398"],
        ),
        (
            "SELECT count(*) FROM flows a JOIN flows b ON a.client_process = b.client_process AND a.client_bytes = b.client_bytes",
            vec!["300"],
        ),
    ];
    for (sql, expected) in asked {
        assert_eq!(world.rows(sql).await, expected, "{sql}");
    }
    let columns = world.rows("SELECT * FROM flows LIMIT 1").await;
    assert_eq!(columns[0].split('|').count(), weir_model::tables::FLOWS.columns.len());
    let error = world.engine.collect("SELECT of_a_later_version FROM flows", 1).await.unwrap_err();
    assert_eq!(error.code, "sql.unknown_column");
}

#[tokio::test]
async fn the_first_rows_of_a_sort_by_time_come_from_where_they_are_also_beside_rows_in_memory() {
    let world = World::new().await.with_flows().await;
    let newest = "SELECT client_bytes FROM flows ORDER BY time DESC LIMIT 3";
    assert_eq!(world.rows(newest).await, ["299", "298", "297"]);
    let plan = world.rows(format!("EXPLAIN {newest}")).await.join("\n");
    assert!(plan.contains("reverse_row_groups=true"), "{plan}");
    let oldest = "SELECT client_bytes FROM flows WHERE client_bytes > 5 ORDER BY time, client_bytes LIMIT 2";
    assert_eq!(world.rows(oldest).await, ["6", "7"]);
    // Files whose rows can't be among the first any more are not opened.
    let first = "SELECT client_bytes FROM flows WHERE time < to_timestamp_seconds(1700005000) ORDER BY time DESC LIMIT 3";
    assert_eq!(world.rows(first).await, ["199", "198", "197"]);
    let plan = world.rows(format!("EXPLAIN ANALYZE {first}")).await.join("\n");
    assert!(plan.contains("reverse_row_groups=true"), "{plan}");
}

/// Overwrites the middle of a file.
fn damage(world: &World, path: &str) {
    let file = world.dir.path().join("data").join(path);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    // Enough that whatever lies there doesn't decode.
    bytes[middle - 200..middle + 200].fill(0xFF);
    fs::write(&file, bytes).unwrap();
}

/// Files of flows, the oldest first.
fn files(world: &World) -> Vec<(String, u64)> {
    let snapshot = world.store.snapshot(&weir_model::tables::FLOWS);
    let mut files: Vec<_> = snapshot.segments.iter().map(|file| (file.path.to_string(), file.rows)).collect();
    files.sort();
    files
}

/// What an answer ends with that has not all rows.
async fn failure(mut answer: Answer) -> QueryError {
    loop {
        match answer.next().await.expect("no end without what can't be read") {
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn a_damaged_file_fails_one_question_and_answers_say_from_then_on_what_is_missing() {
    let world = World::new().await.with_flows().await;
    let (path, rows) = files(&world)[0].clone();
    damage(&world, &path);
    // Of other times: nothing is read of it, and nothing is said.
    let later = "SELECT count(*), sum(client_bytes) FROM flows WHERE time > to_timestamp_seconds(1700003600)";
    let whole = world.rows(later).await;
    let all = "SELECT client_ip, client_bytes, client_process FROM flows ORDER BY client_bytes";
    let error = failure(world.engine.sql(all).await.unwrap()).await;
    assert_eq!(error.code, "data.damaged", "{error:?}");
    assert!(error.message.contains(&format!("{rows} rows of flows")), "{error}");
    assert!(error.hint.is_some(), "what to do");
    assert_eq!(files(&world).len(), 1);
    assert!(!world.dir.path().join("data").join(&path).exists(), "it is not where readers look");
    assert_eq!(fs::read_dir(world.dir.path().join("data/quarantine")).unwrap().count(), 1);
    // From now on the rest answers.
    let mut answer = world.engine.sql("SELECT count(*) FROM flows").await.unwrap();
    let told = answer.completeness(&world.engine).await.unwrap();
    assert_eq!((told.complete, told.rows_damaged), (false, rows as i64));
    assert_eq!(text(&answer.collect(1).await.unwrap().batches), [(300 - rows).to_string()]);
    let mut answer = world.engine.sql(later).await.unwrap();
    let told = answer.completeness(&world.engine).await.unwrap();
    assert_eq!((told.complete, told.rows_damaged), (true, 0), "the lost rows are of other times");
    assert_eq!(text(&answer.collect(1).await.unwrap().batches), whole);
    let mut spans = world.engine.sql("SELECT count(*) FROM spans").await.unwrap();
    assert!(spans.completeness(&world.engine).await.unwrap().complete, "and of another table");
}

#[tokio::test]
async fn who_asks_for_all_rows_at_once_has_those_that_are_left() {
    let world = World::new().await.with_flows().await;
    let (path, rows) = files(&world)[1].clone();
    damage(&world, &path);
    let sums = "SELECT count(*), count(client_ip), sum(client_bytes), max(client_process) FROM flows WHERE client_bytes >= 0";
    let found = world.rows(sums).await;
    assert!(found[0].starts_with(&format!("{}|", 300 - rows)), "{found:?}");
    assert_eq!(world.store.lost_rows().len(), 1);
    // One that is gone is damaged, too.
    let (path, _) = files(&world)[0].clone();
    fs::remove_file(world.dir.path().join("data").join(path)).unwrap();
    let found = world.rows(sums).await;
    assert!(found[0].starts_with("100|"), "{found:?}");
    assert_eq!(world.store.lost_rows().len(), 2);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_fails_the_question_and_is_never_left_out() {
    let after = "time >= to_timestamp_seconds(1700000000)";
    for sql in [
        "SELECT sum(client_bytes) FROM flows".to_owned(),
        format!("SELECT sum(client_bytes) FROM flows WHERE {after}"),
        format!(
            "SELECT client_ip FROM flows WHERE {after} AND client_ip = '10.0.0.1' ORDER BY time DESC LIMIT 500"
        ),
    ] {
        let world = World::new().await.with_flows().await;
        for (path, _) in files(&world) {
            fs::remove_file(world.dir.path().join("data").join(path)).unwrap();
        }
        let error = failure(world.engine.sql(sql.as_str()).await.unwrap()).await;
        assert_eq!(error.code, "data.damaged", "{sql}: {error:?}");
        // Those of another time are in memory only.
        let newest = "SELECT count(*) FROM flows WHERE time > to_timestamp_seconds(1700006000)";
        assert_eq!(world.rows(newest).await, ["100"]);
    }
}
