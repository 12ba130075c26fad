//! `COPY … TO STDOUT`, and psql's `\copy` to a file.

use super::postgres::{Door, texts};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_copies_answers_to_files() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows");
    let to = file.display();
    let values = "SELECT 1 AS n, 'a,b' AS t, NULL AS nothing UNION ALL SELECT 2, 'say \"x\"', 'y' ORDER BY 1";
    for (command, said, written) in [
        (
            format!(r"\copy ({values}) TO '{to}' CSV HEADER"),
            "COPY 2",
            "n,t,nothing\n1,\"a,b\",\n2,\"say \"\"x\"\"\",y\n",
        ),
        (format!(r"\copy ({values}) TO '{to}'"), "COPY 2", "1\ta,b\t\\N\n2\tsay \"x\"\ty\n"),
        (
            format!(
                r"\copy ({values}) TO '{to}' WITH (FORMAT csv, DELIMITER ';', NULL '-', QUOTE '~', FORCE_QUOTE (t))"
            ),
            "COPY 2",
            "1;~a,b~;-\n2;~say \"x\"~;y\n",
        ),
        (
            format!(
                r"\copy (SELECT E'tab\there' AS x, E'line\nend' AS y, E'back\\slash' AS z, ['a', NULL] AS l) TO '{to}' (HEADER)"
            ),
            "COPY 1",
            "x\ty\tz\tl\ntab\\there\tline\\nend\tback\\\\slash\t{a,NULL}\n",
        ),
        (format!(r"\copy (SELECT 1 WHERE false) TO '{to}' CSV"), "COPY 0", ""),
    ] {
        assert_eq!(door.said(&command).await, said, "{command}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written, "{command}");
    }
    assert_eq!(
        door.said(&format!(r"\copy flows (client_process, server_port) TO '{to}' CSV HEADER")).await,
        "COPY 10"
    );
    let flows = std::fs::read_to_string(&file).unwrap();
    assert!(flows.starts_with("client_process,server_port\n") && flows.contains("curl,443\n"), "{flows}");
    assert_eq!(
        door.said(&format!(r"\copy (SELECT value FROM generate_series(1, 300000) ORDER BY value) TO '{to}'"))
            .await,
        "COPY 300000"
    );
    let rows = std::fs::read_to_string(&file).unwrap();
    assert!(rows.lines().map(|line| line.parse::<usize>().unwrap()).eq(1..=300_000));
    let flows = door.said("COPY flows TO STDOUT").await;
    assert_eq!(flows.lines().count(), 10, "{flows}");
    idle(&world.engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_copied_elsewhere_and_nothing_in() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    for (sql, wanted) in [
        ("COPY flows FROM STDIN", &["25006", "sql.read_only"][..]),
        ("COPY flows (node) FROM '/etc/passwd' CSV", &["25006"]),
        ("COPY flows TO '/tmp/weir-copied'", &["25006"]),
        ("COPY (SELECT 1) TO '/tmp/weir-copied' WITH (FORMAT csv)", &["25006"]),
        ("COPY (SELECT 1) TO PROGRAM 'cat'", &["25006"]),
        ("COPY (DELETE FROM flows) TO STDOUT", &["25006"]),
        ("COPY (SELECT 1; DROP TABLE flows) TO STDOUT", &["25006"]),
        ("COPY (SELECT clint_ip FROM flows) TO STDOUT", &["42703", "LINE 1", "did you mean client_ip?"]),
        ("COPY flow TO STDOUT", &["42P01", "did you mean flows?"]),
        ("COPY flows (clint_ip) TO STDOUT", &["42703", "did you mean client_ip?"]),
        ("COPY flows TO STDOUT (FORMAT parquet)", &["42601", "no format"]),
        ("COPY flows TO STDOUT (FORMAT csv, FORCE_QUOTE (tea))", &["42703", "FORCE_QUOTE"]),
        ("COPY (SELECT 100 / (value - 60000) FROM generate_series(1, 100000)) TO STDOUT", &["ivide by zero"]),
    ] {
        let said = door.refused(sql).await;
        assert!(wanted.iter().all(|word| said.contains(word)), "{sql}: {said}");
    }
    assert!(!std::path::Path::new("/tmp/weir-copied").exists());
    // One that breaks off in its midst leaves the connection as it was.
    let broken = "COPY (SELECT 100 / (value - 60000) FROM generate_series(1, 100000)) TO STDOUT";
    let (out, err) = texts(&door.psql(&["-At", "-c", broken, "-c", "SELECT 'still here'"]).await);
    assert!(out.ends_with("still here\n") && err.contains("ivide by zero"), "{err}");
    idle(&world.engine).await;
}
