//! Nothing that is asked changes, writes, sets or reads anything but the tables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

/// Every path below a folder.
pub(crate) fn paths(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // What is spilled comes and goes.
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

/// Every kind of statement that the parser knows and that is no question. `{out}` is a file that must not come to be.
const STATEMENTS: [&str; 96] = [
    "CREATE TABLE t AS SELECT * FROM flows",
    "CREATE TABLE t (x INT)",
    "CREATE TEMPORARY TABLE t (x INT)",
    "CREATE OR REPLACE TABLE flows AS SELECT 1 AS time",
    "CREATE VIEW v AS SELECT 1",
    "CREATE MATERIALIZED VIEW v AS SELECT 1",
    "CREATE SCHEMA s",
    "CREATE DATABASE d",
    "CREATE EXTERNAL TABLE passwd (line VARCHAR) STORED AS CSV LOCATION '/etc/passwd'",
    "CREATE UNBOUNDED EXTERNAL TABLE t STORED AS PARQUET LOCATION '{out}'",
    "CREATE FUNCTION one() RETURNS INT RETURN 1",
    "CREATE INDEX i ON flows (time)",
    "CREATE ROLE r",
    "CREATE USER u",
    "CREATE SEQUENCE s",
    "CREATE TYPE t AS (x INT)",
    "CREATE DOMAIN d AS INT",
    "CREATE EXTENSION e",
    "CREATE TRIGGER t BEFORE INSERT ON flows FOR EACH ROW EXECUTE FUNCTION f()",
    "CREATE POLICY p ON flows",
    "CREATE SERVER s FOREIGN DATA WRAPPER w",
    "CREATE MACRO m(a) AS a + 1",
    "CREATE SECRET (TYPE s3)",
    "CREATE VIRTUAL TABLE t USING fts5(x)",
    "DROP TABLE flows",
    "DROP TABLE IF EXISTS flows, spans CASCADE",
    "DROP VIEW IF EXISTS flows",
    "DROP SCHEMA public",
    "DROP DATABASE weir",
    "DROP FUNCTION p50",
    "DROP INDEX i",
    "DROP ROLE r",
    "DROP SEQUENCE s",
    "DROP TRIGGER t ON flows",
    "DROP EXTENSION e",
    "ALTER TABLE flows ADD COLUMN x INT",
    "ALTER TABLE flows RENAME TO f",
    "ALTER VIEW v AS SELECT 1",
    "ALTER INDEX i RENAME TO j",
    "ALTER SCHEMA s RENAME TO t",
    "ALTER USER u SET x = 1",
    "INSERT INTO flows (time) VALUES (now())",
    "INSERT INTO flows SELECT * FROM flows",
    "INSERT OVERWRITE flows SELECT * FROM flows",
    "REPLACE INTO flows VALUES (1)",
    "UPDATE flows SET client_bytes = 0",
    "DELETE FROM flows",
    "DELETE FROM flows WHERE client_bytes = 1",
    "TRUNCATE TABLE flows",
    "MERGE INTO flows USING flows f ON true WHEN MATCHED THEN DELETE",
    "COPY flows TO '{out}'",
    "COPY (SELECT * FROM flows) TO '{out}' STORED AS CSV",
    "COPY flows TO '{out}' STORED AS PARQUET PARTITIONED BY (client_ip)",
    "EXPLAIN COPY flows TO '{out}'",
    "EXPLAIN ANALYZE COPY flows TO '{out}'",
    "EXPLAIN ANALYZE INSERT INTO flows (time) VALUES (now())",
    "EXPLAIN ANALYZE DELETE FROM flows",
    "EXPLAIN CREATE TABLE t AS SELECT 1",
    "SET datafusion.execution.batch_size = 1",
    "SET TIME ZONE '+08:00'",
    "SET ROLE r",
    "SET TRANSACTION READ WRITE",
    "RESET datafusion.execution.batch_size",
    "RESET ALL",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXECUTE IMMEDIATE 'DROP TABLE flows'",
    "DEALLOCATE p",
    "BEGIN",
    "START TRANSACTION",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "RELEASE SAVEPOINT s",
    "DECLARE c CURSOR FOR SELECT 1",
    "FETCH NEXT FROM c",
    "CLOSE c",
    "DISCARD ALL",
    "CALL f()",
    "LOAD 'httpfs'",
    "INSTALL httpfs",
    "ATTACH DATABASE 'x' AS y",
    "DETACH DATABASE y",
    "PRAGMA x = 1",
    "GRANT ALL ON flows TO public",
    "REVOKE ALL ON flows FROM public",
    "COMMENT ON TABLE flows IS 'mine'",
    "ANALYZE TABLE flows",
    "VACUUM flows",
    "LOCK TABLE flows",
    "USE weir",
    "KILL QUERY 1",
    "FLUSH TABLES",
    "CACHE TABLE flows",
    "WITH gone AS (DELETE FROM flows RETURNING *) SELECT * FROM gone",
    "SELECT * INTO copy FROM flows",
];

#[tokio::test]
async fn what_would_change_something_is_refused() {
    let world = World::new().await.with_flows().await;
    let before = paths(world.dir.path());
    let out = world.dir.path().join("out.csv").display().to_string();
    let mut wrong = Vec::new();
    for statement in STATEMENTS {
        let sql = statement.replace("{out}", &out);
        let after = world.engine.collect(format!("{sql}; SELECT 1"), 10).await.expect_err(&sql);
        assert!(["sql.read_only", "sql.syntax"].contains(&after.code), "{sql}: {after:?}");
        for sql in [sql.clone(), format!("SELECT 1; {sql}")] {
            let error = world.engine.collect(&sql, 10).await.expect_err(&sql);
            if error.code != "sql.read_only" || error.hint.is_none() {
                wrong.push((sql, error));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // And some that it doesn't know.
    for sql in
        ["CREATE STAGE s", "ALTER ROLE r SUPERUSER", "COPY flows FROM '/etc/passwd'", "LISTEN c", "NOTIFY c"]
    {
        let error = world.engine.collect(sql, 10).await.expect_err(sql);
        assert!(["sql.read_only", "sql.syntax"].contains(&error.code), "{sql}: {error:?}");
    }
    let several = world.engine.collect("SELECT 1; SELECT 2", 10).await.expect_err("two questions");
    assert_eq!((several.code, several.hint.is_some()), ("sql.several", true));
    assert_eq!(world.rows("SELECT count(*), sum(client_bytes) FROM flows").await, ["300|44850"]);
    assert_eq!(paths(world.dir.path()), before);
}

/// What describes tables and settings is a question as any other.
#[tokio::test]
async fn the_information_schema_and_plans_may_be_read() {
    let world = World::new().await.with_flows().await;
    for sql in [
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'flows'",
        "SELECT * FROM information_schema.schemata",
        "SELECT * FROM information_schema.routines",
        "SHOW TABLES",
        "SHOW COLUMNS FROM flows",
        "SHOW FUNCTIONS LIKE 'p5%'",
        "SHOW datafusion.execution.batch_size",
        "DESCRIBE flows",
        "EXPLAIN SELECT 1",
        "VALUES (1), (2)",
    ] {
        assert!(!world.rows(sql).await.is_empty(), "{sql}");
    }
}

/// A plan says what is read, filtered and how; a plan with figures also how many rows and how long.
#[tokio::test]
async fn a_plan_says_what_a_question_costs() {
    let world = World::new().await.with_flows().await;
    let sql = "SELECT client_process, count(*) FROM flows WHERE time >= '2023-11-14T23:00:00Z' AND client_bytes > 150 GROUP BY 1";
    let plan = world.rows(format!("EXPLAIN {sql}")).await.join("\n");
    for word in ["DataSourceExec", "FilterExec", "AggregateExec", "CompactExec", "client_bytes", "parquet"] {
        assert!(plan.contains(word), "{word} is not in {plan}");
    }
    assert_eq!(plan.matches(".parquet").count(), 1, "one file of two is old: {plan}");
    let measured = world.rows(format!("EXPLAIN ANALYZE {sql}")).await.join("\n");
    for word in ["output_rows=", "elapsed_compute=", "bytes_scanned="] {
        assert!(measured.contains(word), "{word} is not in {measured}");
    }
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
