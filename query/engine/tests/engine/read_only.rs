//! Nothing that is asked changes, writes, sets or reads anything but the tables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

/// Every path below a folder.
fn paths(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

#[tokio::test]
async fn what_would_change_something_is_refused() {
    let world = World::new().await.with_flows().await;
    let before = paths(world.dir.path());
    let out = world.dir.path().join("out.csv");
    let out = out.display();
    for sql in [
        "CREATE TABLE t AS SELECT * FROM flows".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        "CREATE SCHEMA s".to_owned(),
        "CREATE DATABASE d".to_owned(),
        "CREATE OR REPLACE TABLE flows AS SELECT 1 AS time".to_owned(),
        "CREATE EXTERNAL TABLE passwd (line VARCHAR) STORED AS CSV LOCATION '/etc/passwd'".to_owned(),
        "CREATE FUNCTION one() RETURNS INT RETURN 1".to_owned(),
        "DROP TABLE flows".to_owned(),
        "DROP VIEW IF EXISTS flows".to_owned(),
        "INSERT INTO flows (time) VALUES (now())".to_owned(),
        "DELETE FROM flows".to_owned(),
        "UPDATE flows SET client_bytes = 0".to_owned(),
        "TRUNCATE TABLE flows".to_owned(),
        format!("COPY flows TO '{out}'"),
        format!("COPY (SELECT * FROM flows) TO '{out}' STORED AS CSV"),
        format!("EXPLAIN ANALYZE COPY flows TO '{out}'"),
        "EXPLAIN ANALYZE INSERT INTO flows (time) VALUES (now())".to_owned(),
        "EXPLAIN CREATE TABLE t AS SELECT 1".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
    ] {
        let error = world.engine.collect(&sql, 10).await.expect_err(&sql);
        assert_eq!(error.code, "sql.read_only", "{sql}: {error:?}");
        assert!(error.hint.is_some(), "{sql}");
    }
    // Some of it isn't even SQL that we know; nothing of it may do anything.
    for sql in [
        "SELECT 1; DROP TABLE flows",
        "MERGE INTO flows USING flows f ON true WHEN MATCHED THEN DELETE",
        "ALTER TABLE flows ADD COLUMN x INT",
        "GRANT ALL ON flows TO public",
        "ATTACH DATABASE 'x' AS y",
        "LOAD 'httpfs'",
        "EXECUTE p",
        "BEGIN",
        "COMMIT",
        "CALL f()",
        "WITH gone AS (DELETE FROM flows RETURNING *) SELECT * FROM gone",
        "SELECT * INTO copy FROM flows",
    ] {
        let error = world.engine.collect(sql, 10).await.expect_err(sql);
        assert!(error.is_askers(), "{sql}: {error:?}");
    }
    assert_eq!(world.rows("SELECT count(*), sum(client_bytes) FROM flows").await, ["300|44850"]);
    assert_eq!(paths(world.dir.path()), before);
}

#[tokio::test]
async fn no_file_and_no_address_can_be_read_through_it() {
    let world = World::new().await.with_flows().await;
    let file =
        paths(world.dir.path()).into_iter().find(|path| path.extension().is_some_and(|end| end == "parquet"));
    let file = file.unwrap();
    let relative = file.strip_prefix(world.dir.path().join("data")).unwrap();
    for source in [
        "'/etc/passwd'".to_owned(),
        "\"/etc/passwd\"".to_owned(),
        "'file:///etc/passwd'".to_owned(),
        format!("'{}'", file.display()),
        format!("'weir://store/{}'", relative.display()),
        format!("\"weir://store/{}\"", relative.display()),
        "'https://example.com/x.parquet'".to_owned(),
        "'s3://bucket/x.parquet'".to_owned(),
        "read_csv('/etc/passwd')".to_owned(),
        format!("read_parquet('{}')", file.display()),
        format!("parquet_metadata('{}')", file.display()),
        "read_json('/etc/passwd')".to_owned(),
        "glob('/etc/*')".to_owned(),
        "metadata_cache()".to_owned(),
    ] {
        let sql = format!("SELECT * FROM {source}");
        let error = world.engine.collect(&sql, 10).await.expect_err(&sql);
        assert!(error.is_askers(), "{sql}: {error:?}");
    }
    for sql in
        ["SELECT pg_read_file('/etc/passwd')", "SELECT getenv('HOME')", "SELECT load_file('/etc/passwd')"]
    {
        let error = world.engine.collect(sql, 10).await.expect_err(sql);
        assert_eq!(error.code, "sql.unknown_function", "{sql}");
    }
}

#[tokio::test]
async fn neither_plans_nor_settings_tell_where_the_data_lies() {
    let world = World::new().await.with_flows().await;
    let folder = world.dir.path().display().to_string();
    for sql in [
        "EXPLAIN VERBOSE SELECT client_ip FROM flows WHERE client_bytes > 3",
        "EXPLAIN ANALYZE SELECT client_ip FROM flows WHERE client_bytes > 3",
        "EXPLAIN FORMAT TREE SELECT client_ip FROM flows",
        "SHOW ALL",
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM information_schema.views",
    ] {
        let text = world.rows(sql).await.join("\n");
        assert!(!text.contains(&folder), "{sql}: {text}");
    }
}

#[tokio::test]
async fn one_question_leaves_nothing_behind_for_the_next() {
    let world = World::new().await.with_flows().await;
    let tables = async || {
        let mut tables = world.rows("SHOW TABLES").await;
        tables.sort();
        tables
    };
    let before = tables().await;
    let _ = world.engine.collect("CREATE TABLE mine AS SELECT 1", 1).await;
    let _ = world.engine.collect("SET datafusion.execution.time_zone = '+08:00'", 1).await;
    assert_eq!(tables().await, before);
    assert_eq!(
        world.engine.collect("SELECT * FROM mine", 1).await.expect_err("no such table").code,
        "sql.unknown_table"
    );
}
