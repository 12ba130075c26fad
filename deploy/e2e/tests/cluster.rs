//! Two executors that answer with a Weir: the same answers as alone, also when one is killed in the middle; a question that is
//! left is left by all; and a file that an executor can't read is set aside.

#![expect(clippy::unwrap_used, reason = "the server's own steps, as in the store's tests")]

#[path = "../../../collector/store/tests/s3/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use weir_e2e::{Process, Store, Weir, files_below, until, weir_binary, without_settings};
use weir_model::{FlowRow, SpanRow, ToSmolStr as _, format_smolstr};
use weir_wire::{Shipper, ShipperConfig};

use crate::server::S3;

const STORE: &str = "s3://weir/cluster-1";
const DAY_NS: i64 = 86_400_000_000_000;
const FIRST_NS: i64 = 1_794_000_000_000_000_000;
/// Rows of flows of a day, and days: each has a file of its own.
const ROWS: u64 = 20_000;
const DAYS: u64 = 4;
/// Takes some seconds: pairs of the rows of each of a few hundred values.
const LONG: &str =
    "SELECT count(*) AS pairs, sum(CASE WHEN a.client_bytes < b.client_bytes THEN 1 ELSE 0 END) AS ordered
    FROM flows a JOIN flows b ON a.client_bytes % 50 = b.client_bytes % 50";

/// What SREs ask, and what SQL has beside it.
const QUESTIONS: [&str; 17] = [
    "SELECT count(*) FROM flows",
    "SELECT count(*), sum(client_bytes), min(time), max(time) FROM flows WHERE client_bytes % 7 = 3",
    "SELECT server_namespace, count(*), sum(client_bytes) FROM flows GROUP BY ALL ORDER BY 1",
    "SELECT client_pod, sum(client_bytes + server_bytes) AS bytes FROM flows GROUP BY 1 ORDER BY bytes DESC, 1 LIMIT 10",
    "SELECT client_namespace, server_namespace, count(DISTINCT client_pod) FROM flows GROUP BY ALL ORDER BY 1, 2",
    "SELECT count(DISTINCT client_ip), count(DISTINCT client_pod) FROM flows",
    "SELECT date_bin(INTERVAL '6 hours', time) AS at, max(rtt_us), min(rtt_us) FROM flows GROUP BY 1 ORDER BY 1",
    "SELECT time, connection_id, client_bytes FROM flows ORDER BY client_bytes DESC, connection_id LIMIT 20",
    "SELECT count(*) FROM flows WHERE cidr_contains('10.1.0.0/24', client_ip)",
    "SELECT server_name, count(*) FROM flows WHERE server_name LIKE '%shop%' GROUP BY 1 ORDER BY 1",
    "SELECT f.client_pod, s.service, count(*) FROM flows f JOIN spans s ON f.trace_id = s.trace_id
        GROUP BY ALL ORDER BY 3 DESC, 1, 2 LIMIT 20",
    "SELECT count(*) FROM flows WHERE client_bytes > (SELECT avg(client_bytes) FROM flows WHERE client_namespace = 'shop-0')",
    "SELECT count(*) FROM flows f WHERE NOT EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = f.trace_id)",
    "WITH pods AS (SELECT client_pod AS pod, count(*) AS rows FROM flows GROUP BY 1)
        SELECT pod, rows, rank() OVER (ORDER BY rows DESC, pod) AS place FROM pods ORDER BY place LIMIT 15",
    "SELECT 'large' AS kind, count(*) FROM flows WHERE client_bytes > 50000 UNION ALL
        SELECT 'small', count(*) FROM flows WHERE client_bytes <= 50000 ORDER BY 1",
    "SELECT client_namespace, p95(rtt_us) IS NOT NULL FROM flows GROUP BY 1 ORDER BY 1",
    "SELECT dns_suffix(server_name, 2) AS suffix, max(duration_text(rtt_us * 1000)) FROM flows GROUP BY 1 ORDER BY 1",
];

fn flow(id: u64, day: u64) -> FlowRow {
    let named = |kind: &str, number: u64| Some(format_smolstr!("{kind}-{number}"));
    FlowRow {
        time: FIRST_NS + day as i64 * DAY_NS + id as i64 * 1_000_000,
        connection_id: Some(format_smolstr!("{day:02x}{id:014x}")),
        state: Some("only".to_smolstr()),
        node: Some("node".to_smolstr()),
        client_ip: Some(format_smolstr!("10.1.{}.{}", id % 3, id % 250)),
        client_pod: named("pod", id * id % 97),
        client_namespace: named("shop", id % 5),
        server_namespace: named("pay", id % 3),
        server_name: (!id.is_multiple_of(4)).then(|| format_smolstr!("api{}.shop{}.example", id % 6, id % 2)),
        client_bytes: (id * 7_919 % 100_003) as i64,
        server_bytes: (id % 1_000) as i64,
        rtt_us: Some((id * 31 % 5_000) as i64),
        trace_id: id.is_multiple_of(10).then(|| format_smolstr!("{id:032x}")),
        ..FlowRow::default()
    }
}

fn span(id: u64, day: u64) -> SpanRow {
    SpanRow {
        time: FIRST_NS + day as i64 * DAY_NS + id as i64 * 1_000_000,
        trace_id: Some(format_smolstr!("{:032x}", id * 20)),
        span_id: Some(format_smolstr!("{day:02x}{id:014x}")),
        service: Some(format_smolstr!("service-{}", id % 4)),
        ..SpanRow::default()
    }
}

/// Sends rows of a day.
async fn send(weir: &Weir, day: u64) -> anyhow::Result<()> {
    let shipper = Shipper::start(ShipperConfig {
        endpoint: weir.url("flight")?,
        node: "node".into(),
        boot_id: format!("boot-{day}"),
        queue_bytes: 4 << 20,
    });
    let ids: Vec<u64> = (0..ROWS).collect();
    for ids in ids.chunks(2_000) {
        shipper.send(&ids.iter().map(|id| flow(*id, day)).collect::<Vec<FlowRow>>()).await?;
    }
    let spans: Vec<SpanRow> = (0..ROWS / 20).map(|id| span(id, day)).collect();
    shipper.send(&spans).await?;
    shipper.flush().await?;
    Ok(())
}

/// The processes that answer with a Weir.
struct Others {
    scheduler: Process,
    address: String,
    executors: Vec<Process>,
    store: Store,
}

impl Others {
    async fn start(s3: &S3, executors: usize) -> anyhow::Result<Others> {
        let store = Store::new()?;
        let ready = store.path("scheduler.json");
        let mut command = tool(&["scheduler", "--listen", "127.0.0.1:0", "--ready-file"]);
        let scheduler = Process::start(command.arg(&ready), &store.path("scheduler.log"))?;
        let address = read(&ready).await?["scheduler"].as_str().context("its address")?.to_owned();
        let mut others = Others { scheduler, address, executors: Vec::new(), store };
        for _ in 0..executors {
            others.add_executor(s3).await?;
        }
        Ok(others)
    }

    async fn add_executor(&mut self, s3: &S3) -> anyhow::Result<()> {
        let number = self.executors.len();
        let before = self.log().matches("an executor is there").count();
        let mut command = tool(&["executor", "--rows-port", "0", "--tasks-port", "0", "--threads", "2"]);
        command.args(["--memory", "512MiB", "--store", STORE, "--scheduler", &self.url()]);
        command.arg("--work-dir").arg(self.store.path(&format!("executor-{number}"))).envs(s3.variables());
        let mut executor = Process::start(&mut command, &self.store.path(&format!("executor-{number}.log")))?;
        let look = || {
            let found = executor.must_run();
            let is_there = self.log().matches("an executor is there").count() > before;
            async move { found.map(|()| is_there.then_some(())) }
        };
        until("the executor is there", look).await?;
        self.executors.push(executor);
        Ok(())
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn log(&self) -> String {
        self.scheduler.output()
    }

    /// Processor time of all executors so far, in ticks of the kernel's.
    fn ticks(&self) -> anyhow::Result<u64> {
        let mut ticks = 0;
        for executor in &self.executors {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", executor.pid()))?;
            let fields = stat.rsplit_once(") ").context("a stat line")?.1.split(' ');
            let fields: Vec<&str> = fields.collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(ticks)
    }

    /// Waits until executors have worked for so many ticks more than `before`.
    async fn have_worked(&self, before: u64, ticks: u64) -> anyhow::Result<()> {
        until("executors work", || async { Ok((self.ticks()? >= before + ticks).then_some(())) }).await?;
        Ok(())
    }

    /// Waits until executors do nothing.
    async fn rest(&self) -> anyhow::Result<()> {
        let look = || async {
            let before = self.ticks()?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok((self.ticks()? <= before + 3).then_some(()))
        };
        until("executors rest", look).await?;
        Ok(())
    }
}

fn tool(arguments: &[&str]) -> Command {
    let mut command = Command::new(weir_binary());
    command.args(arguments);
    without_settings(&mut command);
    command
}

async fn read(ready: &Path) -> anyhow::Result<Value> {
    let look = || async { Ok(std::fs::read(ready).ok()) };
    let (text, _) = until("it is ready", look).await?;
    Ok(serde_json::from_slice(&text)?)
}

async fn start(s3: &S3, store: &Store, more: &[&str]) -> anyhow::Result<Weir> {
    let mut flags = vec!["--no-probe", "--store", STORE];
    flags.extend(more);
    let mut command = Weir::command(&flags);
    command.envs(s3.variables());
    Weir::launch(command, store).await
}

async fn stop(mut weir: Weir) -> anyhow::Result<()> {
    weir.process.signal(Signal::SIGTERM)?;
    let ended = weir.process.ended().await?;
    ensure!(ended.success(), "weir: {ended}\n{}", weir.process.output());
    Ok(())
}

/// How many questions executors answered, this Weir had to answer alone, and broke off.
async fn spread(weir: &Weir) -> anyhow::Result<[u64; 3]> {
    let page = weir.page("/metrics").await?;
    let of = |outcome: &str| {
        let begin = format!("weir_query_spread_total{{outcome=\"{outcome}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&begin));
        line.with_context(|| format!("no {begin}in {page}"))?.parse::<u64>().context("a number")
    };
    Ok([of("answered")?, of("alone")?, of("broken_off")?])
}

/// Files of flows in the bucket.
fn files(s3: &S3) -> anyhow::Result<Vec<PathBuf>> {
    files_below(&s3.folder().join("cluster-1/tables/flows"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executors_answer_as_one_process_does_whoever_goes() -> anyhow::Result<()> {
    let s3 = S3::start().await;
    let store = Store::new()?;
    // All days but the last one are in files; the last one is in memory, and in the log.
    let weir = start(&s3, &store, &[]).await?;
    for day in 0..DAYS - 1 {
        send(&weir, day).await?;
    }
    stop(weir).await?;
    ensure!(files(&s3)?.len() >= DAYS as usize - 1, "days without a file");
    let mut weir = start(&s3, &store, &[]).await?;
    send(&weir, DAYS - 1).await?;
    let rows = weir.number("SELECT count(*) FROM flows").await?;
    ensure!(rows == (ROWS * DAYS) as i64, "{rows} rows are there");
    let mut alone = Vec::new();
    for question in QUESTIONS {
        alone.push(weir.sql(question).await.context(question)?);
    }
    let long = weir.sql(LONG).await?;
    weir.process.kill()?;

    let mut others = Others::start(&s3, 2).await?;
    let spreading = ["--scheduler", &others.url(), "--scheduler-above", "0", "--scheduler-parts", "8"];
    let weir = start(&s3, &store, &spreading).await?;
    for (nth, (question, alone)) in QUESTIONS.iter().zip(&alone).enumerate() {
        let found = weir.sql(question).await.context(*question)?;
        ensure!(found == *alone, "{question}\nalone: {alone:?}\nwith others: {found:?}");
        let [answered, by_itself, broken_off] = spread(&weir).await?;
        ensure!((by_itself, broken_off) == (0, 0), "{question}\n{}", weir.process.output());
        // The first one's answer is in the catalog: nobody reads files for it.
        ensure!(answered as usize == nth, "{question}: not asked of executors");
    }
    refuses(&weir).await?;

    // Left in the middle.
    let before = others.ticks()?;
    let url = format!("{}/api/v1/sql", weir.url("http")?);
    let request = reqwest::Client::builder().no_proxy().build()?.post(&url);
    let asked = tokio::spawn(request.header("content-type", "text/plain").body(LONG).send());
    others.have_worked(before, 20).await?;
    ensure!(!asked.is_finished(), "answered before it could be left");
    asked.abort();
    others.rest().await?;

    // One of two is killed in the middle.
    let before = others.ticks()?;
    let (found, killed) = tokio::join!(weir.sql(LONG), async {
        others.have_worked(before, 20).await?;
        others.executors[0].kill()
    });
    killed?;
    let found = found?;
    ensure!(found == long, "alone: {long:?}, with one killed: {found:?}");
    ensure!(others.log().contains("jobs=1"), "the question had ended before: {}", others.log());
    let [_, by_itself, broken_off] = spread(&weir).await?;
    ensure!((by_itself, broken_off) == (0, 0), "{}", weir.process.output());

    // None is left, then no scheduler; then both are there again.
    others.executors.clear();
    let count = QUESTIONS[1];
    ensure!(weir.sql(count).await? == alone[1], "without executors");
    ensure!(spread(&weir).await?[1] == 1, "{}", weir.process.output());
    others.scheduler.kill()?;
    ensure!(weir.sql(count).await? == alone[1], "without a scheduler");
    ensure!(spread(&weir).await?[1] == 2, "{}", weir.process.output());
    stop(weir).await?;

    damaged(&s3, &store).await
}

/// What is wrong is wrong in the same words, and limits hold.
async fn refuses(weir: &Weir) -> anyhow::Result<()> {
    for (question, code) in [
        ("SELECT client_bytes / (client_bytes - client_bytes) FROM flows", "sql.invalid"),
        ("SELECT CAST(client_pod AS BIGINT) FROM flows", "sql.invalid"),
        ("COPY (SELECT * FROM flows) TO '/tmp/weir-cluster.csv'", "sql.read_only"),
        ("INSERT INTO flows SELECT * FROM flows", "sql.read_only"),
        ("SELECT no_such_column FROM flows", "sql.unknown_column"),
    ] {
        let refused = weir.sql(question).await;
        let told = refused.err().with_context(|| format!("{question}: answered"))?;
        ensure!(format!("{told:#}").contains(code), "{question}: {told:#}");
    }
    for (question, limits, told) in [
        ("SELECT client_ip FROM flows", serde_json::json!({ "rows": 100 }), "\"truncated\":true"),
        (LONG, serde_json::json!({ "time_ms": 200 }), "limit.time"),
    ] {
        let request = reqwest::Client::builder().no_proxy().build()?;
        let request = request.post(format!("{}/api/v1/sql", weir.url("http")?));
        let request = request.json(&serde_json::json!({ "query": question, "limits": limits }));
        let answer = request.send().await?.text().await?;
        ensure!(answer.contains(told), "{question}: {answer}");
    }
    Ok(())
}

/// A file that an executor can't read is set aside as one that is read here.
async fn damaged(s3: &S3, store: &Store) -> anyhow::Result<()> {
    let others = Others::start(s3, 1).await?;
    let spreading = ["--scheduler", &others.url(), "--scheduler-above", "0"];
    let weir = start(s3, store, &spreading).await?;
    let question = "SELECT count(*), sum(client_bytes * server_bytes) FROM flows";
    let whole = weir.sql(question).await?;
    // Its footer is known here, and stays as it was: only the executor reads the rest.
    let found = files(s3)?;
    let file =
        found.iter().max_by_key(|file| file.metadata().map_or(0, |file| file.len())).context("a file")?;
    let mut bytes = std::fs::read(file)?;
    let footer = bytes.len() - 8 - u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into()?) as usize;
    bytes[4..footer].fill(0xa5);
    std::fs::write(file, bytes)?;
    let mut refused = 0;
    let rest = loop {
        match weir.sql(question).await {
            Err(err) if format!("{err:#}").contains("\"data.") => refused += 1,
            found => break found?,
        }
        ensure!(refused < 5, "refused again and again");
    };
    ensure!(refused == 1 && rest != whole, "refused {refused} times; {whole:?}, then {rest:?}");
    let answer = weir.get("/api/v1/flows", &[("start", "2026-01-01T00:00:00Z")]).await?;
    ensure!(answer["completeness"]["rows_damaged"].as_i64() > Some(0), "{}", answer["completeness"]);
    let [answered, by_itself, broken_off] = spread(&weir).await?;
    ensure!(answered >= 3 && (by_itself, broken_off) == (0, 0), "{}", weir.process.output());
    stop(weir).await
}
