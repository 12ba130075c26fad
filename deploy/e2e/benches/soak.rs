//! Half an hour of churn: is every connection of the load's own log in `flows`, once for each end, with its bytes? Is
//! memory flat? Is what was lost counted?
//!
//! `make soak` (root; `MINUTES=30`, `RATE=500` connections a second). The load, its log and its both ends are this
//! program's; `weir-probe` and `weir up --no-probe` are the real ones, apart, so that each one's memory shows. Fails where
//! a connection is missing, doubled or wrong and no loss says so, or where memory grows.
//!
//! | file        | subject                                             |
//! |-------------|-----------------------------------------------------|
//! | `load.rs`   | connections of all kinds, and the log of them           |
//! | `ledger.rs` | the log against what SQL says                           |
//! | `memory.rs` | resident memory over time                               |

#![expect(clippy::print_stdout, reason = "a soak that is silent is of no use")]

#[path = "soak/ledger.rs"]
mod ledger;
#[path = "soak/load.rs"]
mod load;
#[path = "soak/memory.rs"]
mod memory;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use weir_e2e::{Namespace, Process, Weir, beside_weir, need_root};

use memory::Memory;

/// How often memory is looked at, and progress is said.
const LOOK: Duration = Duration::from_secs(2);
const SAY: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> ExitCode {
    match soak().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn soak() -> anyhow::Result<bool> {
    need_root();
    let (minutes, rate) = (setting("MINUTES", 30), setting("RATE", 500));
    println!("soak: {minutes} minutes, {rate} connections/s");
    let mut weir = Weir::start(&["--no-probe"]).await?;
    let mut probe = start_probe(&weir)?;
    attached(&mut probe).await?;
    let namespace = Namespace::new()?;
    let (mut of_probe, mut of_weir) =
        (Memory::of("weir-probe", &probe, true), Memory::of("weir up", &weir.process, false));
    let load = load::start(namespace.path(), rate, Duration::from_mins(minutes.into()));
    let (began, mut said) = (Instant::now(), Instant::now());
    while !load.is_over() {
        tokio::time::sleep(LOOK).await;
        probe.must_run()?;
        weir.process.must_run()?;
        of_probe.look()?;
        of_weir.look()?;
        if said.elapsed() >= SAY {
            said = Instant::now();
            let minutes = began.elapsed().as_secs() / 60;
            println!("  {minutes} min: {} connections, {of_probe}, {of_weir}", load.opened());
        }
    }
    let log = load.log()?;
    println!("  the load is over: {} connections", log.len());
    // What it knows goes out with its end.
    probe.signal(Signal::SIGTERM)?;
    let ended = probe.ended().await?;
    anyhow::ensure!(ended.success(), "weir-probe: {ended}\n{}", probe.output());

    let report = ledger::compare(&weir, &log).await?;
    let lost = ledger::losses(&weir).await?;
    println!("\n| what | found | |\n|---|---|---|");
    let complete = report.print(&lost);
    let flat = [of_probe.print(), of_weir.print()];
    let passed = complete && flat.iter().all(|flat| *flat);
    println!("\nsoak: {}", if passed { "passed" } else { "failed" });
    Ok(passed)
}

fn start_probe(weir: &Weir) -> anyhow::Result<Process> {
    let mut command = Command::new(beside_weir("weir-probe"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command.args(["--collector", &weir.url("flight")?, "--node", "soak", "--health", "127.0.0.1:0"]);
    command.arg("--state-dir").arg(weir.store().path("probe-state"));
    command.arg("--pin-dir").arg(format!("/sys/fs/bpf/weir-soak-{}", std::process::id()));
    Process::start(&mut command, &weir.store().path("probe.log"))
}

async fn attached(probe: &mut Process) -> anyhow::Result<()> {
    let look = || {
        let found = probe.must_run().map(|()| probe.output().contains("attached").then_some(()));
        async { found }
    };
    weir_e2e::until("kernel programs are attached", look).await?;
    Ok(())
}

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
