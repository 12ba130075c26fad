//! PostgreSQL's wire protocol, asked by psql, by psycopg and by hand (clients from `deploy/setup.sh test`).

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

/// The door of a world, on a port of its own.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Door {
    pub(super) async fn of(world: &World) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
        };
        let server = tokio::spawn(weir_api::postgres(world.api.clone(), listener, stopped));
        Door { address, stop: Some(stop), server }
    }

    /// Runs psql with these arguments.
    pub(super) async fn psql(&self, arguments: &[&str]) -> Output {
        let mut psql = tokio::process::Command::new("psql");
        let port = self.address.port().to_string();
        psql.args(["-X", "-h", "127.0.0.1", "-p", &port, "-U", "ann", "-d", "weir"]).args(arguments);
        psql.stdin(Stdio::null()).output().await.expect("psql (deploy/setup.sh test installs it)")
    }

    /// What psql prints for one command, unaligned and without headers; it must succeed.
    pub(super) async fn said(&self, sql: &str) -> String {
        let output = self.psql(&["-At", "-c", sql]).await;
        let (out, err) = texts(&output);
        assert!(output.status.success() && err.is_empty(), "{sql}: {out}\n{err}");
        out.trim_end().to_owned()
    }

    /// What psql says of one that must fail, everything that the server told.
    pub(super) async fn refused(&self, sql: &str) -> String {
        let output = self.psql(&["-At", "-v", "VERBOSITY=verbose", "-c", sql]).await;
        let (out, err) = texts(&output);
        assert!(!output.status.success(), "{sql} was answered: {out}");
        err
    }

    /// A connection that has begun, its greeting read.
    pub(super) async fn raw(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(b"\0\0\0\x12\0\x03\0\0user\0ann\0\0").await.unwrap();
        let mut greeting = Vec::new();
        while !greeting.ends_with(b"Z\0\0\0\x05I") {
            assert_ne!(stream.read_buf(&mut greeting).await.unwrap(), 0, "{greeting:?}");
        }
        stream
    }
}

pub(super) fn texts(output: &Output) -> (String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    (out, err)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_asks_as_it_asks_any_other_server() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    assert_eq!(door.said("SELECT count(*), sum(client_bytes) FROM flows").await, "10|1045");
    assert_eq!(door.said("SELECT 1; SELECT 'a', NULL; SHOW server_encoding").await, "1\na|\nUTF8");
    assert_eq!(
        door.said("SELECT true, 1.5, [1, 2], TIMESTAMP '2026-01-02 03:04:05.6', INTERVAL '90 minutes'").await,
        "t|1.5|{1,2}|2026-01-02 03:04:05.6|01:30:00"
    );
    assert_eq!(
        door.said("BEGIN; SELECT 1; COMMIT; SET application_name TO 'x'; SHOW application_name").await,
        "BEGIN\n1\nCOMMIT\nSET\nx"
    );
    assert_eq!(door.said("SELECT count(*) FROM generate_series(1, 300000)").await, "300000");
    let rows = door.said("SELECT value FROM generate_series(1, 300000) ORDER BY value").await;
    assert_eq!((rows.lines().count(), rows.lines().last()), (300_000, Some("300000")));

    for (sql, wanted) in [
        (
            "SELECT clint_ip FROM flows",
            &["42703", "sql.unknown_column", "LINE 1: SELECT clint_ip", "HINT:  did you mean client_ip?"][..],
        ),
        ("SELECT 1; SELECT 2 FRM flows", &["42601", "LINE 1"]),
        ("SELECT * FROM flow", &["42P01", "did you mean flows?"]),
        ("SELECT sume(1)", &["42883"]),
        ("DROP TABLE flows", &["25006", "sql.read_only"]),
        ("SET datafusion.execution.batch_size = 1", &["42704"]),
        ("SET client_encoding TO 'LATIN1'", &["22023"]),
        ("BEGIN; SELECT x; SELECT 1", &["42703"]),
        ("SELECT 100 / (value - 60000) FROM generate_series(1, 100000)", &["ivide by zero"]),
        (
            "SET statement_timeout = 1; SELECT max(a.value + b.value) FROM generate_series(1, 100000) a, generate_series(1, 100000) b",
            &["57014", "limit.time"],
        ),
    ] {
        let said = door.refused(sql).await;
        assert!(wanted.iter().all(|word| said.contains(word)), "{sql}: {said}");
    }
    let failed = door
        .psql(&["-At", "-c", "BEGIN", "-c", "SELECT x", "-c", "SELECT 1", "-c", "COMMIT", "-c", "SELECT 2"])
        .await;
    let (out, err) = texts(&failed);
    assert_eq!(out, "BEGIN\nROLLBACK\n2\n");
    assert!(err.contains("current transaction is aborted"), "{err}");
    idle(&world.engine).await;
}

/// Parameters, binary values, portals, cancelling: the extended protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psycopg_asks_as_it_asks_any_other_server() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../../.tools/sql/bin/python");
    assert!(python.exists(), "{} is missing: run deploy/setup.sh test", python.display());
    let client = tokio::process::Command::new(python)
        .arg(here.join("tests/api/postgres.py"))
        .arg(door.address.port().to_string())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (out, err) = texts(&client);
    assert!(client.status.success() && out.contains("asked"), "{out}\n{err}");
    // Its last question had no end, and it has left.
    idle(&world.engine).await;
}

/// An answer says how complete it is, where it isn't; one that reads no rows always is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_is_said_as_a_notice() {
    let mut world = World::new().await.with_rows().await;
    let lost = weir_model::ProbeHealthRow {
        time: now() - SECOND,
        node: Some("node-1".into()),
        component: Some("probe".into()),
        kind: Some("lost".into()),
        value: 3,
        ..Default::default()
    };
    world.add(&[lost]).await;
    let door = Door::of(&world).await;
    let (out, err) = texts(&door.psql(&["-At", "-c", "SELECT count(*) FROM flows"]).await);
    assert_eq!(out, "10\n");
    assert!(err.contains("NOTICE:  record") && err.contains("3 lost"), "{err}");
    assert_eq!(door.said("SELECT 1").await, "1");
}

/// Whatever comes, it ends the connection that it came by, and no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_ends_its_connection_only() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    for beginning in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"\0\0\0\x04",
        b"\0\0\0\x08\0\0\0\0",
        b"\x7f\xff\xff\xff\0\x03\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut answer = Vec::new();
        // It may be reset, having sent more than was read.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{beginning:?}: {answer:?}");
    }
    for message in [
        &b"?\0\0\0\x04"[..],
        b"Q\0\0\0\x03",
        b"Q\x7f\xff\xff\xff",
        b"P\0\0\0\x06\0\0",
        b"B\0\0\0\x0a\0\0\xff\xff\0\0",
        b"B\0\0\0\x0e\0\0\0\0\0\x01\x7f\xff\xff\xff",
        b"D\0\0\0\x04",
        b"E\0\0\0\x05\0",
    ] {
        let mut stream = door.raw().await;
        stream.write_all(message).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(b"E") && answer.windows(5).any(|part| part == b"08P01"),
            "{message:?}: {answer:?}"
        );
    }
    assert_eq!(door.said("SELECT count(*) FROM flows").await, "10");
}

/// Those that wait for nothing are sent away, and those that were asked before are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_what_was_asked_and_ends_the_rest() {
    let world = World::new().await.with_rows().await;
    let mut door = Door::of(&world).await;
    let mut idle = door.raw().await;
    door.stop.take().unwrap().send(()).unwrap();
    let mut answer = Vec::new();
    idle.read_to_end(&mut answer).await.unwrap();
    assert!(answer.windows(5).any(|part| part == b"57P01"), "{answer:?}");
    tokio::time::timeout(Duration::from_secs(20), &mut door.server).await.expect("it ends").unwrap().unwrap();
}
