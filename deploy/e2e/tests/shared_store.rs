//! Two `weir up` on one bucket of a real server that speaks S3's protocol: one is killed with SIGKILL again and again while
//! both take rows. At the end both answer with each row once, and what is damaged in the bucket is found by a question.

#![expect(clippy::unwrap_used, reason = "the server's own steps, as in the store's tests")]

#[path = "../../../collector/store/tests/s3/server.rs"]
mod server;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use weir_e2e::{Door, Store, Weir, files_below, until, weir_binary};
use weir_model::{FlowRow, ToSmolStr as _, format_smolstr};
use weir_wire::{Shipper, ShipperConfig};

use crate::server::{ACCESS_KEY, S3, SECRET};

/// How often one of them is killed.
const KILLS: u64 = 4;
/// Rows of a batch.
const BATCH: u64 = 50;
/// How many, their sum, and that of their squares: numbers that no row lost, doubled or changed leaves as they are. No
/// roll-up has the squares.
const SUMS: &str = "SELECT count(*), sum(client_bytes), sum(client_bytes * client_bytes) FROM flows";
const STORE: &str = "s3://weir/cluster-1";

async fn start(s3: &S3, store: &Store) -> anyhow::Result<Weir> {
    // Sealed soon, so that the other one has them.
    let mut command = Weir::command(&["--no-probe", "--store", STORE, "--seal-age", "1"]);
    command.envs(s3.variables());
    Weir::launch(command, store).await
}

fn shipper(door: &Door, node: &str) -> Shipper {
    Shipper::start(ShipperConfig {
        endpoint: door.endpoint(),
        node: node.into(),
        boot_id: "boot".into(),
        queue_bytes: 1 << 20,
    })
}

fn flow(node: &str, id: u64) -> FlowRow {
    FlowRow {
        time: 1_795_000_000_000_000_000 + id as i64 * 1_000_000,
        connection_id: Some(format_smolstr!("{node}-{id:016x}")),
        state: Some("ongoing".to_smolstr()),
        node: Some(node.to_smolstr()),
        client_bytes: id as i64,
        ..FlowRow::default()
    }
}

/// Sends one batch more.
async fn send(shipper: &Shipper, node: &str, sent: &mut u64) -> anyhow::Result<()> {
    let rows: Vec<FlowRow> = (*sent..*sent + BATCH).map(|id| flow(node, id)).collect();
    shipper.send(&rows).await?;
    *sent += BATCH;
    Ok(())
}

/// As [`SUMS`] has them, of rows `0..sent` of each sender.
fn sums(sent: [u64; 2]) -> [i64; 3] {
    let of = |value: fn(u64) -> u64| {
        sent.iter().map(|sent| (0..*sent).map(value).sum::<u64>()).sum::<u64>() as i64
    };
    [of(|_| 1), of(|id| id), of(|id| id * id)]
}

async fn found(weir: &Weir) -> anyhow::Result<[i64; 3]> {
    let rows = weir.sql(SUMS).await?;
    let row = rows.first().context("a row")?;
    // 64-bit numbers are text in JSON; of no rows there is no sum.
    Ok([0, 1, 2].map(|at| row[at].to_string().trim_matches('"').parse().unwrap_or(0)))
}

/// Waits until both have all rows.
async fn both_have(weirs: [&Weir; 2], wanted: [i64; 3]) -> anyhow::Result<()> {
    for weir in weirs {
        let look = || async {
            let found = found(weir).await?;
            ensure!(found[0] <= wanted[0], "{found:?}: more than {wanted:?} were sent");
            Ok((found[0] == wanted[0]).then_some(found))
        };
        let (found, _) = until("all rows are there", look).await?;
        ensure!(found == wanted, "{found:?} are there, {wanted:?} were sent");
    }
    Ok(())
}

/// Files of flows in the bucket.
fn files(s3: &S3) -> anyhow::Result<Vec<PathBuf>> {
    files_below(&s3.folder().join("cluster-1/tables/flows"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_weirs_on_one_bucket_answer_alike_whoever_is_killed() -> anyhow::Result<()> {
    let s3 = S3::start().await;
    let (here, there) = (Store::new()?, Store::new()?);
    let (mut left, right) = (start(&s3, &here).await?, start(&s3, &there).await?);
    let (left_door, right_door) =
        (Door::open(left.address("flight")?).await?, Door::open(right.address("flight")?).await?);
    let (of_left, of_right) = (shipper(&left_door, "left"), shipper(&right_door, "right"));
    let mut sent = [0, 0];
    for _ in 0..KILLS {
        let enough = of_left.stats().acked_rows + 10 * BATCH;
        while of_left.stats().acked_rows < enough {
            send(&of_left, "left", &mut sent[0]).await?;
            send(&of_right, "right", &mut sent[1]).await?;
        }
        let acknowledged = of_left.stats().acked_rows;
        left.process.kill()?;
        send(&of_right, "right", &mut sent[1]).await?;
        left = start(&s3, &here).await?;
        let there = left.number("SELECT count(*) FROM flows WHERE node = 'left'").await?;
        ensure!(there >= acknowledged as i64, "{acknowledged} rows were acknowledged, {there} are there");
        left_door.lead_to(left.address("flight")?);
    }
    of_left.flush().await?;
    of_right.flush().await?;
    both_have([&left, &right], sums(sent)).await?;

    // Also beside both, which go on sealing and merging.
    let mut check = Command::new(weir_binary());
    check
        .args(["store", "check", "--store", STORE, "--data-dir"])
        .arg(here.path("data"))
        .envs(s3.variables());
    let checked = check.output()?;
    let text = String::from_utf8_lossy(&checked.stdout);
    ensure!(checked.status.success(), "{text}\n{}", String::from_utf8_lossy(&checked.stderr));
    ensure!(text.contains("flows"), "{text}");

    // Merging may be at it, and a file that is not looked at is not found out: all of them.
    let damaged = files(&s3)?;
    ensure!(!damaged.is_empty(), "no files in the bucket");
    for file in &damaged {
        let length = std::fs::metadata(file)?.len() as usize;
        std::fs::write(file, vec![0xa5; length])?;
    }
    let mut refused = 0;
    let mut answer = None;
    while answer.is_none() {
        match left.sql(SUMS).await {
            Err(err) if format!("{err:#}").contains("\"data.") => refused += 1,
            found => answer = Some(found?),
        }
        ensure!(refused <= damaged.len(), "as many refusals as files, and no answer");
    }
    ensure!(refused > 0, "nobody noticed");
    for weir in [&left, &right] {
        let look = || async {
            let status = weir.get("/api/v1/flows", &[("start", "2026-01-01T00:00:00Z")]).await;
            let Ok(answer) = status else { return Ok(None) };
            Ok((answer["completeness"]["rows_damaged"] == sums(sent)[0]).then_some(()))
        };
        until("both know what is lost", look).await?;
    }

    for (weir, store) in [(left, &here), (right, &there)] {
        let mut process = weir.process;
        process.signal(Signal::SIGTERM)?;
        let ended = process.ended().await?;
        ensure!(ended.success(), "weir: {ended}\n{}", process.output());
        let log = std::fs::read_to_string(store.path("weir.log"))?;
        ensure!(!log.contains(SECRET) && !log.contains(ACCESS_KEY), "credentials in the log");
    }
    Ok(())
}
