//! What a test stands on: two hosts (namespaces joined by a veth pair), a probe, and a collector that keeps the rows.

use std::collections::HashSet;
use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use weir_model::{BatchMeta, ExchangeRow, FlowRow, ProbeHealthRow, Row, TlsHandshakeRow};
use weir_probe::lab::Wall;
use weir_probe::{Config, Probe};
use weir_wire::control::Switchboard;
use weir_wire::{IngestError, Limits, Sink, flight_service_with};

/// How long a test waits for what must come; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps what it gets; as a collector does, each batch once.
#[derive(Default)]
pub(crate) struct Keeper {
    known: Mutex<HashSet<BatchMeta>>,
    kept: Mutex<Vec<(BatchMeta, RecordBatch)>>,
    switchboard: Switchboard,
}

impl Sink for Keeper {
    async fn ingest(&self, meta: BatchMeta, batch: RecordBatch) -> Result<(), IngestError> {
        if self.known.lock().insert(meta.clone()) {
            self.kept.lock().push((meta, batch));
        }
        Ok(())
    }
}

impl Keeper {
    pub(crate) fn rows<R: Row>(&self) -> Vec<R> {
        let kept = self.kept.lock();
        let batches = kept.iter().filter(|(meta, _)| meta.table == R::table().name);
        batches.flat_map(|(_, batch)| R::from_batch(batch).unwrap()).collect()
    }

    /// Where captures are asked for.
    pub(crate) fn switchboard(&self) -> &Switchboard {
        &self.switchboard
    }

    /// Flows to or from that server port, oldest first.
    pub(crate) fn flows(&self, port: u16) -> Vec<FlowRow> {
        let mut rows: Vec<FlowRow> = self.rows();
        rows.retain(|row| row.server_port == Some(port));
        rows.sort_by_key(|row| row.end_time);
        rows
    }

    /// How many rows of flows there are, anyone's.
    pub(crate) fn count_flows(&self) -> usize {
        let kept = self.kept.lock();
        kept.iter().filter(|(meta, _)| meta.table == "flows").map(|(_, batch)| batch.num_rows()).sum()
    }

    /// How much a loss counter says.
    pub(crate) fn lost(&self, counter: &str) -> i64 {
        let rows: Vec<ProbeHealthRow> = self.rows();
        rows.iter().filter(|row| row.counter.as_deref() == Some(counter)).map(|row| row.value).sum()
    }

    /// Waits for a state; fails with what there is instead.
    pub(crate) async fn until<T: std::fmt::Debug>(
        &self,
        what: &str,
        look: impl Fn(&Keeper) -> T,
        is_it: impl Fn(&T) -> bool,
    ) -> T {
        let began = Instant::now();
        loop {
            let seen = look(self);
            if is_it(&seen) {
                return seen;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{what} never came; there is {seen:#?}, and {} exchanges were shed or given up",
                self.lost("exchanges_shed") + self.lost("exchanges_given_up")
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A running probe and what it reported.
pub(crate) struct Bench {
    keeper: Arc<Keeper>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), weir_probe::ProbeError>>,
}

impl Bench {
    /// With intervals of a second, so that several pass in a test.
    pub(crate) async fn start() -> Bench {
        let second = Duration::from_secs(1);
        // Room for what else happens on this machine: several probes and loads may share its cores.
        let ring_bytes = 32 << 20;
        Bench::with(Config { interval: second, udp_idle: second, ring_bytes, ..Config::default() }).await
    }

    pub(crate) async fn with(config: Config) -> Bench {
        Bench::by(Wall::default(), config).await
    }

    /// By a clock that the test may set.
    pub(crate) async fn by(wall: Wall, config: Config) -> Bench {
        let (keeper, collector) = collector().await;
        // Whatever else this machine does, each of the test's own exchanges has a row.
        let config = Config { exchange_rows: u32::MAX, ..config };
        let config = Config { collector, node: "bench".to_owned(), ..config };
        let loading = tokio::task::spawn_blocking(move || Probe::load_by(config, wall));
        let probe = loading.await.unwrap().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(probe.run(stop.clone()));
        Bench { keeper, stop, running }
    }

    pub(crate) fn rows<R: Row>(&self) -> Vec<R> {
        self.keeper.rows()
    }

    pub(crate) fn flows(&self, port: u16) -> Vec<FlowRow> {
        self.keeper.flows(port)
    }

    /// Exchanges on connections to that server port, in the order of the clients' streams.
    pub(crate) fn exchanges(&self, port: u16) -> Vec<ExchangeRow> {
        let mut rows: Vec<ExchangeRow> = self.rows();
        rows.retain(|row| row.server_port == Some(port));
        rows.sort_by_key(|row| (row.connection_id.clone(), row.request_offset, row.observer.clone()));
        rows
    }

    pub(crate) fn handshakes(&self, port: u16) -> Vec<TlsHandshakeRow> {
        let mut rows: Vec<TlsHandshakeRow> = self.rows();
        rows.retain(|row| row.server_port == Some(port));
        rows
    }

    /// Where captures are asked for.
    pub(crate) fn switchboard(&self) -> &Switchboard {
        self.keeper.switchboard()
    }

    /// How many rows of flows there are, anyone's.
    pub(crate) fn count_flows(&self) -> usize {
        self.keeper.count_flows()
    }

    pub(crate) fn lost(&self, counter: &str) -> i64 {
        self.keeper.lost(counter)
    }

    /// Waits for a state; fails with what there is instead.
    pub(crate) async fn until<T: std::fmt::Debug>(
        &self,
        what: &str,
        look: impl Fn(&Bench) -> T,
        is_it: impl Fn(&T) -> bool,
    ) -> T {
        self.keeper.until(what, |_| look(self), is_it).await
    }

    /// Waits until both ends reported the end of the connections to `port`: `(client's rows, server's rows)`.
    pub(crate) async fn both_ends(&self, port: u16) -> (Vec<FlowRow>, Vec<FlowRow>) {
        let is_over = |row: &&FlowRow| matches!(row.state.as_deref(), Some("closed" | "only"));
        let rows = self
            .until(
                "the end of both ends",
                |bench| bench.flows(port),
                |rows| rows.iter().filter(is_over).count() >= 2,
            )
            .await;
        rows.into_iter().partition(|row| row.observer.as_deref() == Some("client"))
    }

    /// Stops the probe and gives what it reported at the end.
    pub(crate) async fn stop(self) -> Vec<FlowRow> {
        self.stop_keeping().await
    }

    /// As [`Bench::stop`], of another table.
    pub(crate) async fn stop_keeping<R: Row>(self) -> Vec<R> {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
        self.keeper.rows()
    }
}

/// A collector that keeps what it gets, and its endpoint.
pub(crate) async fn collector() -> (Arc<Keeper>, String) {
    let keeper = Arc::new(Keeper::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    serve(&keeper, listener);
    (keeper, endpoint)
}

/// A collector from now on.
pub(crate) fn serve(keeper: &Arc<Keeper>, listener: tokio::net::TcpListener) {
    let (switchboard, stop) = (keeper.switchboard.clone(), CancellationToken::new());
    let service = flight_service_with(keeper.clone(), switchboard, Limits::default(), stop);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
}

/// Gives this network namespace ports that servers of tests beside it don't get: tests find their rows by the server's port,
/// and each probe sees the connections of all that run at the same time.
pub(crate) fn own_ports() {
    // Few shares, since one test's servers must not get the same port one after the other either.
    const SHARES: u16 = 4;
    const EACH: u16 = 13_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % SHARES * EACH;
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("{first} {}", first + EACH - 1))
        .unwrap();
}

/// Two hosts on one wire: `10.83.0.1`, `fd83::1` and `10.83.0.2`, `fd83::2`.
pub(crate) struct Hosts {
    names: [String; 2],
}

impl Hosts {
    pub(crate) fn new() -> Hosts {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tag = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let hosts = Hosts { names: [format!("weir-t-a-{tag}"), format!("weir-t-b-{tag}")] };
        let [a, b] = &hosts.names;
        ip(&["netns", "add", a]);
        ip(&["netns", "add", b]);
        ip(&["-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b]);
        for (name, end) in [(a, 1), (b, 2)] {
            ip(&["-n", name, "address", "add", &format!("10.83.0.{end}/24"), "dev", "eth0"]);
            ip(&["-n", name, "address", "add", &format!("fd83::{end}/64"), "dev", "eth0", "nodad"]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
        }
        hosts.on(1, own_ports).join().unwrap();
        hosts
    }

    /// A host's network namespace as the kernel names it.
    pub(crate) fn inode(&self, host: usize) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(format!("/run/netns/{}", self.names[host])).unwrap().ino()
    }

    /// A program on the client's (0) or the server's (1) host.
    pub(crate) fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host], program]);
        command
    }

    /// So that others count what TCP does.
    pub(crate) fn make_each_segment_a_packet(&self) {
        for name in &self.names {
            ip(&["-n", name, "link", "set", "dev", "eth0", "gso_max_segs", "1"]);
        }
    }

    /// Runs `work` on a host, on a thread of its own that stays there.
    pub(crate) fn on<T: Send + 'static>(
        &self,
        host: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let namespace = File::open(format!("/run/netns/{}", self.names[host])).unwrap();
        std::thread::spawn(move || {
            nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// A listener on the server's host.
    pub(crate) fn listen(&self, address: &str) -> (TcpListener, SocketAddr) {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 0);
        let listener = self.on(1, move || TcpListener::bind(address).unwrap()).join().unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A port that nobody listens on, on the server's host.
    pub(crate) fn free_port(&self) -> u16 {
        self.listen("10.83.0.2").1.port()
    }

    /// A connection from the client's host.
    pub(crate) fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.on(0, move || TcpStream::connect(to)).join().unwrap()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            // Best effort: what can't be removed must not hide the test's own failure.
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sum of a counter over rows.
pub(crate) fn sum(rows: &[FlowRow], counter: impl Fn(&FlowRow) -> i64) -> i64 {
    rows.iter().map(counter).sum()
}
