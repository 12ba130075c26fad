//! The probe ends, well or badly, and begins again; the collector goes and comes back: every connection is told once,
//! every byte is counted once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_model::FlowRow;

use crate::bench::{Hosts, Keeper, collector, serve, sum};

/// A place for state and a BPF file system, gone with the test.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let place = Place { directory };
        std::fs::create_dir(place.pins()).unwrap();
        let none = None::<&str>;
        nix::mount::mount(Some("weir-test"), &place.pins(), Some("bpf"), MsFlags::empty(), none).unwrap();
        place
    }

    pub(crate) fn pins(&self) -> std::path::PathBuf {
        self.directory.path().join("bpf")
    }

    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    /// Starts the probe and waits until its programs are at work.
    pub(crate) async fn probe(&self, endpoint: &str, more: &[&str]) -> Running {
        let ready = self.directory.path().join("ready");
        let _ = std::fs::remove_file(&ready);
        let child = Command::new(env!("CARGO_BIN_EXE_weir-probe"))
            .args([
                "--collector",
                endpoint,
                "--node",
                "restart",
                "--interval",
                "1",
                "--log",
                "warn",
                "--health",
                "127.0.0.1:0",
            ])
            .arg("--state-dir")
            .arg(self.state())
            .arg("--pin-dir")
            .arg(self.pins())
            .arg("--ready-file")
            .arg(&ready)
            .args(more)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let running = Running(child);
        let began = std::time::Instant::now();
        while !ready.exists() {
            assert!(began.elapsed().as_secs() < 30, "the probe never was ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running
    }

    fn is_anything_pinned(&self) -> bool {
        // The file system has files of its own.
        std::fs::read_dir(self.pins()).unwrap().any(|entry| entry.unwrap().path().is_dir())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Best effort: what can't be removed must not hide the test's own failure.
        let _ = nix::mount::umount2(&self.pins(), MntFlags::MNT_DETACH);
    }
}

/// A probe at work; killed if the test ends before it.
pub(crate) struct Running(Child);

impl Running {
    fn crash(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// The kernel's side goes on, and nobody takes from it.
    fn pause(&self) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGSTOP).unwrap();
    }

    fn go_on(&self) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGCONT).unwrap();
    }

    pub(crate) fn stop(mut self) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One connection of a test, both its ends in our hands.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    port: u16,
}

impl Connection {
    fn open(hosts: &Hosts, listener: &TcpListener, at: SocketAddr) -> Connection {
        let client = hosts.connect(at).unwrap();
        let (server, peer) = listener.accept().unwrap();
        Connection { client, server, port: peer.port() }
    }

    /// The client sends so many bytes, the server receives them.
    fn send(&mut self, bytes: usize) {
        self.client.write_all(&vec![b'x'; bytes]).unwrap();
        self.server.read_exact(&mut vec![0; bytes]).unwrap();
    }

    fn close(mut self) {
        drop(self.client);
        self.server.read_to_end(&mut Vec::new()).unwrap();
    }
}

/// The rows of one connection at one end.
fn rows_of(keeper: &Keeper, at: SocketAddr, client_port: u16, observer: &str) -> Vec<FlowRow> {
    let mut rows = keeper.flows(at.port());
    rows.retain(|row| row.client_port == Some(client_port) && row.observer.as_deref() == Some(observer));
    rows
}

fn is_over(row: &FlowRow) -> bool {
    matches!(row.state.as_deref(), Some("closed" | "only"))
}

/// Both ends told each connection once, with so many bytes from the client, by client's port.
async fn expect_once(keeper: &Keeper, at: SocketAddr, sent: &BTreeMap<u16, usize>) {
    let over = |keeper: &Keeper| keeper.flows(at.port()).iter().filter(|row| is_over(row)).count();
    keeper.until("the end of all connections", over, |ends| *ends >= sent.len() * 2).await;
    let mut told: BTreeMap<(u16, String), Vec<FlowRow>> = BTreeMap::new();
    for row in keeper.flows(at.port()) {
        let end = (row.client_port.unwrap(), row.observer.as_deref().unwrap().to_owned());
        told.entry(end).or_default().push(row);
    }
    for (port, bytes) in sent {
        for observer in ["client", "server"] {
            let rows = &told[&(*port, observer.to_owned())];
            assert_eq!(sum(rows, |row| row.client_bytes), *bytes as i64, "{observer} of {port}: {rows:#?}");
            let begins = |row: &&FlowRow| matches!(row.state.as_deref(), Some("opened" | "only"));
            let begun = rows.iter().filter(begins).count();
            let over = rows.iter().filter(|row| is_over(row)).count();
            assert_eq!((begun, over), (1, 1), "{observer} of {port}: {rows:#?}");
            for row in rows {
                assert_eq!(row.connection_id, rows[0].connection_id, "{rows:#?}");
                assert_eq!(row.opened_time, rows[0].opened_time, "{rows:#?}");
            }
        }
    }
}

async fn opened(keeper: &Keeper, at: SocketAddr, client_port: u16) {
    for observer in ["client", "server"] {
        keeper
            .until(
                "its first row",
                |keeper| rows_of(keeper, at, client_port, observer),
                |rows| !rows.is_empty(),
            )
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_no_connection_and_counts_no_byte_twice() {
    let (hosts, place) = (Hosts::new(), Place::new());
    let (keeper, endpoint) = collector().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let probe = place.probe(&endpoint, &[]).await;
    let mut long = Connection::open(&hosts, &listener, at);
    let mut ends_meanwhile = Connection::open(&hosts, &listener, at);
    long.send(1000);
    ends_meanwhile.send(10);
    let (long_port, ends_port) = (long.port, ends_meanwhile.port);
    opened(&keeper, at, long_port).await;
    opened(&keeper, at, ends_port).await;
    probe.crash();
    // Nobody looks, but the kernel's side goes on.
    long.send(500);
    ends_meanwhile.send(20);
    ends_meanwhile.close();
    let mut all_meanwhile = Connection::open(&hosts, &listener, at);
    all_meanwhile.send(33);
    let all_port = all_meanwhile.port;
    all_meanwhile.close();
    let probe = place.probe(&endpoint, &[]).await;
    long.send(7);
    long.close();
    expect_once(&keeper, at, &[(long_port, 1507), (ends_port, 30), (all_port, 33)].into()).await;
    assert_eq!(keeper.lost("ended_unseen"), 0);
    probe.stop();
    assert!(!place.is_anything_pinned(), "a clean stop leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_goes_on_where_it_was_and_counts_what_ended_meanwhile() {
    let (hosts, place) = (Hosts::new(), Place::new());
    let (keeper, endpoint) = collector().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let probe = place.probe(&endpoint, &[]).await;
    let mut long = Connection::open(&hosts, &listener, at);
    let ends_meanwhile = Connection::open(&hosts, &listener, at);
    long.send(1000);
    let (long_port, ends_port) = (long.port, ends_meanwhile.port);
    opened(&keeper, at, long_port).await;
    opened(&keeper, at, ends_port).await;
    probe.stop();
    long.send(500);
    ends_meanwhile.close();
    let probe = place.probe(&endpoint, &[]).await;
    keeper.until("news of those", |keeper| keeper.lost("ended_unseen"), |lost| *lost >= 2).await;
    long.send(7);
    long.close();
    expect_once(&keeper, at, &[(long_port, 1507)].into()).await;
    probe.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_keeps_the_programs_misses_nothing() {
    let (hosts, place) = (Hosts::new(), Place::new());
    let (keeper, endpoint) = collector().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let probe = place.probe(&endpoint, &["--keep-attached"]).await;
    probe.stop();
    assert!(place.is_anything_pinned());
    let mut meanwhile = Connection::open(&hosts, &listener, at);
    meanwhile.send(44);
    let port = meanwhile.port;
    meanwhile.close();
    let probe = place.probe(&endpoint, &["--keep-attached"]).await;
    expect_once(&keeper, at, &[(port, 44)].into()).await;
    probe.stop();
    let detached = Command::new(env!("CARGO_BIN_EXE_weir-probe"))
        .args(["--detach", "--state-dir"])
        .arg(place.state())
        .arg("--pin-dir")
        .arg(place.pins())
        .status()
        .unwrap();
    assert!(detached.success() && !place.is_anything_pinned());
}

/// The collector is away while the probe crashes, too.
#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_on_disk_for_a_collector_that_is_away() {
    let (hosts, place) = (Hosts::new(), Place::new());
    let keeper = Arc::new(Keeper::default());
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{away}");
    let (listener, at) = hosts.listen("10.83.0.2");
    let probe = place.probe(&endpoint, &[]).await;
    let mut sent = BTreeMap::new();
    for round in 0..2 {
        for _ in 0..25 {
            let mut connection = Connection::open(&hosts, &listener, at);
            connection.send(100);
            sent.insert(connection.port, 100);
            connection.close();
        }
        if round == 0 {
            // Far more than the pause between two writes: so its rows lie in the spool and not in the ring only.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    probe.crash();
    let probe = place.probe(&endpoint, &[]).await;
    serve(&keeper, tokio::net::TcpListener::bind(away).await.unwrap());
    expect_once(&keeper, at, &sent).await;
    assert_eq!(keeper.lost("rows_dropped"), 0);
    probe.stop();
}

/// Crashes at moments that nobody chose, while connections come and go.
#[tokio::test(flavor = "multi_thread")]
async fn crashes_under_load_lose_nothing_and_double_nothing() {
    let (hosts, place) = (Hosts::new(), Place::new());
    let (keeper, endpoint) = collector().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    let mut probe = place.probe(&endpoint, &[]).await;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || stream.read_to_end(&mut Vec::new()).unwrap());
        }
    });
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(0);
    let load = hosts.on(0, move || {
        let mut sent = BTreeMap::new();
        let mut open: Vec<TcpStream> = Vec::new();
        let pause = Duration::from_millis(2);
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let mut stream = TcpStream::connect(at).unwrap();
            let bytes = sent.len() % 700 + 1;
            stream.write_all(&vec![b'x'; bytes]).unwrap();
            sent.insert(stream.local_addr().unwrap().port(), bytes);
            open.push(stream);
            // Lives of all lengths, and the longer ones say more at their end.
            if open.len() > 40 {
                let mut stream = open.remove(sent.len() * 7 % 40);
                stream.write_all(b"bye").unwrap();
                *sent.get_mut(&stream.local_addr().unwrap().port()).unwrap() += 3;
            }
        }
        sent
    });
    for crash in 0..8 {
        // No clock decides: how far the last probe's rows had come does.
        let enough = keeper.count_flows() + 50 + crash * 13;
        keeper.until("more rows", Keeper::count_flows, |rows| *rows > enough).await;
        probe.crash();
        probe = place.probe(&endpoint, &[]).await;
    }
    drop(stop);
    let sent = load.join().unwrap();
    assert!(sent.len() > 100);
    expect_once(&keeper, at, &sent).await;
    for counter in ["ended_unseen", "rows_dropped", "state_unreadable"] {
        assert_eq!(keeper.lost(counter), 0, "{counter}");
    }
    probe.stop();
}

/// Stopped for long under load: the ring fills up. What had no room is counted, nothing is told twice, and what lives on is
/// told to the last byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_held_up_counts_what_it_missed_and_doubles_nothing() {
    const MEANWHILE: usize = 3_000;
    let (hosts, place) = (Hosts::new(), Place::new());
    let (keeper, endpoint) = collector().await;
    let (listener, at) = hosts.listen("10.83.0.2");
    // Room for some thousand ends.
    let probe = place.probe(&endpoint, &["--ring-bytes", "262144"]).await;
    let mut long = Connection::open(&hosts, &listener, at);
    let mut ends_meanwhile = Connection::open(&hosts, &listener, at);
    long.send(1_000);
    ends_meanwhile.send(10);
    let (long_port, ends_port) = (long.port, ends_meanwhile.port);
    opened(&keeper, at, long_port).await;
    opened(&keeper, at, ends_port).await;
    probe.pause();
    let accepting = listener.try_clone().unwrap();
    let serving = std::thread::spawn(move || {
        for _ in 0..MEANWHILE {
            let (mut stream, _) = accepting.accept().unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    });
    let load = hosts.on(0, move || -> BTreeMap<u16, usize> {
        let each = |number: usize| {
            let mut stream = TcpStream::connect(at).unwrap();
            let bytes = number % 700 + 1;
            stream.write_all(&vec![b'x'; bytes]).unwrap();
            (stream.local_addr().unwrap().port(), bytes)
        };
        (0..MEANWHILE).map(each).collect()
    });
    let mut sent = load.join().unwrap();
    serving.join().unwrap();
    long.send(500);
    ends_meanwhile.send(20);
    ends_meanwhile.close();
    probe.go_on();
    keeper.until("what was missed", |keeper| keeper.lost("ring_full_connections"), |lost| *lost > 0).await;
    long.send(7);
    long.close();
    let is_told = |rows: &Vec<FlowRow>| rows.iter().any(is_over);
    for observer in ["client", "server"] {
        let rows = |keeper: &Keeper| rows_of(keeper, at, long_port, observer);
        let rows = keeper.until("the end of what lived on", rows, is_told).await;
        assert_eq!(sum(&rows, |row| row.client_bytes), 1_507, "{rows:#?}");
    }
    // Others on this machine lose ends too, so this is at least.
    let ends = |keeper: &Keeper| {
        let rows = keeper.flows(at.port());
        rows.iter().filter(|row| is_over(row)).count() as i64 + keeper.lost("ring_full_connections")
    };
    keeper.until("each end told or counted", ends, |ends| *ends >= 2 * (MEANWHILE as i64 + 2)).await;
    probe.stop();
    sent.extend([(long_port, 1_507), (ends_port, 30)]);
    let mut told: BTreeMap<(u16, String), Vec<FlowRow>> = BTreeMap::new();
    for row in keeper.flows(at.port()) {
        told.entry((row.client_port.unwrap(), row.observer.as_deref().unwrap().to_owned()))
            .or_default()
            .push(row);
    }
    assert!(told.len() < 2 * sent.len(), "some were lost");
    for ((port, observer), rows) in told {
        let bytes = sum(&rows, |row| row.client_bytes);
        assert!(rows.iter().filter(|row| is_over(row)).count() <= 1, "{rows:#?}");
        if rows.iter().any(is_over) {
            assert_eq!(bytes, sent[&port] as i64, "{observer} of {port}: {rows:#?}");
        } else {
            assert!(bytes <= sent[&port] as i64, "{observer} of {port}: {rows:#?}");
        }
        for pair in rows.windows(2) {
            assert!(pair[0].end_time <= Some(pair[1].time), "{pair:#?}");
        }
    }
}
