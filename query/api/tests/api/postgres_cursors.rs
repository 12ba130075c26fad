//! Cursors, as psql has them with `FETCH_COUNT` and as SQL does.

use super::postgres::{Door, texts};
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// More rows than any answer may have: whoever collects them ahead never comes to their end.
const ENDLESS: &str = "SELECT value FROM generate_series(1, 1000000000000)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_fetches_rows_a_few_at_a_time() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    for (count, rows) in [("7", 100), ("10", 100), ("1000", 300_000)] {
        let sql = format!("SELECT value FROM generate_series(1, {rows}) ORDER BY value");
        let fetch_count = format!("FETCH_COUNT={count}");
        let (out, err) = texts(&door.psql(&["-At", "-v", &fetch_count, "-c", &sql]).await);
        assert!(err.is_empty(), "{err}");
        let found: Vec<usize> = out.lines().map(|line| line.parse().unwrap()).collect();
        assert!(found.iter().copied().eq(1..=rows), "{count}: {} rows", found.len());
    }
    let wrong = door.psql(&["-At", "-v", "FETCH_COUNT=7", "-c", "SELECT clint_ip FROM flows"]).await;
    let (_, err) = texts(&wrong);
    for word in ["sql.unknown_column", "LINE 2: SELECT clint_ip", "did you mean client_ip?"] {
        assert!(err.contains(word), "{word}: {err}");
    }
    idle(&world.engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_goes_forward_and_ends_with_its_transaction() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    let few = "SELECT value FROM generate_series(1, 9) ORDER BY value";
    for (sql, said) in [
        (
            format!(
                "BEGIN; DECLARE c NO SCROLL CURSOR FOR {few}; FETCH c; FETCH NEXT FROM c; FETCH 2 c; COMMIT"
            ),
            "BEGIN\nDECLARE CURSOR\n1\n2\n3\n4\nCOMMIT",
        ),
        (
            format!(
                "BEGIN; DECLARE c CURSOR FOR {few}; MOVE 7 IN c; MOVE 0 c; FETCH ALL FROM c; FETCH c; MOVE 3 c; COMMIT"
            ),
            "BEGIN\nDECLARE CURSOR\nMOVE 7\nMOVE 1\n8\n9\nMOVE 0\nCOMMIT",
        ),
        (
            format!(
                "BEGIN; DECLARE c CURSOR FOR {ENDLESS}; FETCH 2 FROM c; MOVE FORWARD 100000 FROM c; FETCH c; CLOSE c; DECLARE C CURSOR FOR SELECT 'again'; FETCH \"c\"; CLOSE ALL; COMMIT"
            ),
            "BEGIN\nDECLARE CURSOR\n1\n2\nMOVE 100000\n100003\nCLOSE CURSOR\nDECLARE CURSOR\nagain\nCLOSE CURSOR ALL\nCOMMIT",
        ),
        // What is said at once is one transaction.
        (format!("DECLARE c CURSOR FOR {few}; MOVE ALL c"), "DECLARE CURSOR\nMOVE 9"),
        (
            "BEGIN; DECLARE c BINARY CURSOR FOR SELECT 'x'; FETCH c; ROLLBACK".to_owned(),
            "BEGIN\nDECLARE CURSOR\nx\nROLLBACK",
        ),
    ] {
        assert_eq!(door.said(&sql).await, said, "{sql}");
    }
    for (sql, wanted) in [
        ("DECLARE c CURSOR FOR SELECT 1", &["25P01", "can only be used in transaction blocks"][..]),
        ("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT 1", &["0A000", "NO SCROLL"]),
        ("BEGIN; DECLARE c CURSOR FOR SELECT 1; DECLARE c CURSOR FOR SELECT 1", &["42P03"]),
        ("BEGIN; DECLARE c CURSOR FOR SELECT 1; COMMIT; FETCH c", &["34000", "cursor \"c\" does not exist"]),
        ("BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH PRIOR FROM c", &["55000", "can only scan forward"]),
        ("BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH BACKWARD 2 FROM c", &["55000"]),
        ("BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c; FETCH 0 c", &["55000"]),
        ("CLOSE c", &["34000"]),
        ("BEGIN; FETCH 1 FRM c", &["42601", "LINE 1"]),
        ("BEGIN; DECLARE c CURSOR FOR DROP TABLE flows", &["25006"]),
        ("BEGIN; DECLARE c CURSOR FOR SELECT * FROM flows FOR UPDATE", &["25006"]),
        (
            "BEGIN; DECLARE c CURSOR FOR SELECT 100 / (value - 60000) FROM generate_series(1, 100000); MOVE ALL c",
            &["ivide by zero"],
        ),
    ] {
        let said = door.refused(sql).await;
        assert!(wanted.iter().all(|word| said.contains(word)), "{sql}: {said}");
    }
    idle(&world.engine).await;
}

/// Connection pools hand a cursor's connection on: what is held must outlive what others do on it, until it is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_cursor_outlives_its_transaction_unless_that_fails() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    let declare = &format!("DECLARE c CURSOR WITH HOLD FOR {ENDLESS}");
    let all = |statements: &[&str]| {
        let mut arguments = vec!["-At".to_owned()];
        arguments.extend(statements.iter().flat_map(|sql| ["-c".to_owned(), (*sql).to_owned()]));
        arguments
    };
    for (statements, said, refused) in [
        (
            &[declare, "FETCH c", "SELECT x", "FETCH c", "CLOSE c"][..],
            "DECLARE CURSOR\n1\n2\nCLOSE CURSOR\n",
            "42703",
        ),
        (
            &["BEGIN", declare, "COMMIT", "BEGIN", "FETCH c", "ROLLBACK", "FETCH c"],
            "BEGIN\nDECLARE CURSOR\nCOMMIT\nBEGIN\n1\nROLLBACK\n2\n",
            "",
        ),
        (&["BEGIN", declare, "ROLLBACK", "FETCH c"], "BEGIN\nDECLARE CURSOR\nROLLBACK\n", "34000"),
        (&["BEGIN", declare, "SELECT x", "COMMIT", "FETCH c"], "BEGIN\nDECLARE CURSOR\nROLLBACK\n", "34000"),
        (
            &[
                "DECLARE c CURSOR WITH HOLD FOR SELECT 1 / (value - 9000) FROM generate_series(1, 10000)",
                "MOVE ALL c",
                "FETCH c",
                "CLOSE c",
            ],
            "DECLARE CURSOR\nCLOSE CURSOR\n",
            "55000",
        ),
    ] {
        let mut arguments = all(statements);
        arguments.extend(["-v".to_owned(), "VERBOSITY=verbose".to_owned()]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (out, err) = texts(&door.psql(&arguments).await);
        assert_eq!(out, said, "{statements:?}: {err}");
        assert!(err.contains(refused) && refused.is_empty() == err.is_empty(), "{statements:?}: {err}");
    }
    idle(&world.engine).await;
}

/// Each open cursor is a question under way, as a portal is that was run in part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_cursor_is_a_question_under_way() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    let mut client = door.raw().await;
    let mut say = async |sql: String| {
        let mut message = b"Q".to_vec();
        message.extend((sql.len() as u32 + 5).to_be_bytes());
        message.extend(sql.as_bytes());
        message.push(0);
        client.write_all(&message).await.unwrap();
        let mut answer = Vec::new();
        while !matches!(answer.as_slice(), [.., b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E']) {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "{answer:?}");
        }
        answer
    };
    say(format!("BEGIN; DECLARE one CURSOR FOR {ENDLESS}; DECLARE other CURSOR FOR {ENDLESS}")).await;
    assert_eq!(world.engine.running(), 2);
    let fetched = say("FETCH 3 FROM one".to_owned()).await;
    let rows = fetched.windows(7).filter(|part| part.starts_with(b"D\0\0\0\x0b\0\x01")).count();
    assert_eq!((rows, fetched[0]), (3, b'T'), "{fetched:?}");
    assert!(fetched.windows(8).any(|part| part == b"FETCH 3\0"), "{fetched:?}");
    say("CLOSE one".to_owned()).await;
    assert_eq!(world.engine.running(), 1);
    say("ROLLBACK".to_owned()).await;
    idle(&world.engine).await;
    say(format!("DECLARE kept CURSOR WITH HOLD FOR {ENDLESS}")).await;
    assert_eq!(world.engine.running(), 1);
    // Whoever leaves needs none any more.
    drop(client);
    idle(&world.engine).await;
}
