//! A collector and a probe, both real, are killed with SIGKILL again and again while connections come and go and a sender
//! keeps sending. At the end each connection is in `flows` once for each end, with its bytes, unless a loss says otherwise;
//! and each row of the sender's is there once.
//!
//! Eight kills, or as many as `WEIR_KILLS` says (`make soak`: 100). Their moments are drawn from a seed that is printed;
//! `WEIR_SEED=17` plays it again.

#![expect(clippy::print_stdout, reason = "what was found, for the reader of the test's output")]

#[path = "../benches/soak/ledger.rs"]
mod ledger;
#[path = "../benches/soak/load.rs"]
mod load;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::mount::{MntFlags, MsFlags};
use nix::sys::signal::Signal;
use tokio::sync::watch;
use weir_e2e::{Door, Namespace, Process, Store, Weir, beside_weir, need_root, until};
use weir_model::{FlowRow, ToSmolStr as _, format_smolstr};
use weir_wire::{Shipper, ShipperConfig};

const KILLS: u64 = 8;
/// Connections a second.
const RATE: u32 = 150;
/// What a kill and what comes after it takes at least; the load goes on for longer.
const EACH_KILL: Duration = Duration::from_secs(2);

/// A small generator (`SplitMix64`), so that a seed says it all.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_collector_and_probe_lose_nothing_and_double_nothing() -> anyhow::Result<()> {
    need_root();
    let (seed, kills) = (setting("WEIR_SEED", 20_261_130)?, setting("WEIR_KILLS", KILLS)?);
    println!("WEIR_SEED={seed} WEIR_KILLS={kills}");
    let mut random = Random(seed);
    let store = Store::new()?;
    let mut weir = Weir::start_on(&store, &["--no-probe"]).await?;
    let door = Door::open(weir.address("flight")?).await?;
    let endpoint = door.endpoint();
    let pins = Pins::mount(&store)?;
    let mut probe = start_probe(&store, &pins, &endpoint).await?;

    let namespace = Namespace::new()?;
    let load = load::start(namespace.path(), RATE, EACH_KILL * kills as u32);
    let config = ShipperConfig {
        endpoint: endpoint.clone(),
        node: "sender".into(),
        boot_id: "boot".into(),
        queue_bytes: 1 << 20,
    };
    let shipper = std::sync::Arc::new(Shipper::start(config));
    let (stop, stopped) = watch::channel(false);
    let sender = tokio::spawn(send_until(stopped, shipper.clone(), Random(seed + 1)));

    let (mut of_weir, mut of_probe) = (0, 0);
    for _ in 0..kills {
        let enough = shipper.stats().acked_rows + 200 + random.below(4_000);
        until("rows are acknowledged", || async { Ok((shipper.stats().acked_rows >= enough).then_some(())) })
            .await?;
        let victims = random.below(3);
        if victims != 1 {
            let acknowledged = shipper.stats().acked_rows;
            weir.process.kill()?;
            of_weir += 1;
            weir = Weir::start_on(&store, &["--no-probe"]).await?;
            let found = rows_of_sender(&weir).await?;
            ensure!(
                found[0] >= acknowledged,
                "{acknowledged} rows were acknowledged, {} are there",
                found[0]
            );
            door.lead_to(weir.address("flight")?);
        }
        if victims != 0 {
            probe.kill()?;
            of_probe += 1;
            probe = start_probe(&store, &pins, &endpoint).await?;
        }
    }
    stop.send(true)?;
    let sent = sender.await??;
    shipper.flush().await?;
    // Numbers that no row lost, doubled or changed would leave as they are.
    let expected = [sent, sent * (sent - 1) / 2, (0..sent).map(|id| id * id).sum::<u64>()];
    assert_eq!(rows_of_sender(&weir).await?, expected, "rows, their numbers, and these squared");
    let stats = shipper.stats();
    assert_eq!((stats.acked_rows, stats.refused_rows), (sent, 0));

    while !load.is_over() {
        probe.must_run()?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!(
        "{} connections, {sent} rows of the sender, {of_weir} kills of weir, {of_probe} of weir-probe",
        load.opened()
    );
    let log = load.log()?;
    probe.signal(Signal::SIGTERM)?;
    let ended = probe.ended().await?;
    ensure!(ended.success(), "weir-probe: {ended}\n{}", probe.output());
    let report = ledger::compare(&weir, &log).await?;
    let lost = ledger::losses(&weir).await?;
    ensure!(report.print(&lost), "rows are missing that nobody tells of, or there twice: see above");
    Ok(())
}

/// How many there are, their sum, and that of their squares.
async fn rows_of_sender(weir: &Weir) -> anyhow::Result<[u64; 3]> {
    let sql = "select count(*), sum(client_bytes), sum(client_bytes * client_bytes) from flows where node = 'sender'";
    let rows = weir.sql(sql).await?;
    let row = rows.first().context("a row")?;
    // 64-bit numbers are text in JSON; of no rows there is no sum.
    let number = |at: usize| row[at].to_string().trim_matches('"').parse().unwrap_or(0);
    Ok([number(0), number(1), number(2)])
}

async fn send_until(
    stopped: watch::Receiver<bool>,
    shipper: std::sync::Arc<Shipper>,
    mut random: Random,
) -> anyhow::Result<u64> {
    let mut sent = 0;
    while !*stopped.borrow() {
        let size = 1 + random.below(300);
        let rows: Vec<FlowRow> = (sent..sent + size).map(flow).collect();
        shipper.send(&rows).await?;
        sent += size;
    }
    Ok(sent)
}

fn flow(id: u64) -> FlowRow {
    FlowRow {
        time: 1_795_000_000_000_000_000 + id as i64 * 1_000_000,
        connection_id: Some(format_smolstr!("{id:016x}")),
        state: Some("ongoing".to_smolstr()),
        node: Some("sender".to_smolstr()),
        client_ip: Some(format_smolstr!("10.0.0.{}", id % 200)),
        client_bytes: id as i64,
        ..FlowRow::default()
    }
}

async fn start_probe(store: &Store, pins: &Pins, endpoint: &str) -> anyhow::Result<Process> {
    let mut command = Command::new(beside_weir("weir-probe"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.args(["--collector", endpoint, "--node", "soak", "--health", "127.0.0.1:0"]);
    command.arg("--state-dir").arg(store.path("probe-state"));
    command.arg("--pin-dir").arg(&pins.0);
    let mut probe = Process::start(&mut command, &store.path("probe.log"))?;
    let look = || {
        let found = probe.must_run().map(|()| probe.output().contains("attached").then_some(()));
        async { found }
    };
    until("kernel programs are attached", look).await?;
    Ok(probe)
}

/// A BPF file system of the test's own: what a killed probe leaves there is gone with it.
struct Pins(PathBuf);

impl Pins {
    fn mount(store: &Store) -> anyhow::Result<Pins> {
        let place = store.path("pins");
        std::fs::create_dir(&place)?;
        nix::mount::mount(Some("weir-test"), &place, Some("bpf"), MsFlags::empty(), None::<&str>)?;
        Ok(Pins(place))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn setting(name: &str, default: u64) -> anyhow::Result<u64> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}={text}")))
}
