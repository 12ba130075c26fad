//! `weir-probe`, the node agent: connections out of the kernel, batches out to the collector.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tracing::warn;
use weir_kit::exit;

/// Reports this node's connections to a Weir collector.
#[derive(Parser)]
#[command(name = "weir-probe", version = weir_kit::VERSION)]
struct Cli {
    #[command(flatten)]
    probe: weir_probe::Config,
    /// Say what this machine lets the probe see, and end.
    #[arg(long)]
    check: bool,
    /// Load the kernel programs for a moment, say how much the verifier had to look at for each, and end.
    #[arg(long)]
    verify: bool,
    /// Take off the kernel programs that a stopped probe left at work (--keep-attached, or a crash), and end.
    #[arg(long)]
    detach: bool,
    /// Answer /healthz, /readyz and /metrics there; loopback only.
    #[arg(long, env = "WEIR_PROBE_HEALTH", default_value = "127.0.0.1:8482", value_parser = weir_probe::status::loopback)]
    health: SocketAddr,
    /// Keep all rights, for debugging. Else the probe gives back, once its kernel programs are at work, every capability
    /// and system call that it doesn't need.
    #[arg(long)]
    unconfined: bool,
    /// Make this file once the kernel programs are at work.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// A level, or directives such as `info,weir_probe=debug`.
    #[arg(long, env = "WEIR_LOG", default_value = "info")]
    log: String,
    /// How logs look.
    #[arg(long, env = "WEIR_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: weir_kit::log::Format,
}

fn main() -> ExitCode {
    weir_probe::save_memory();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    weir_kit::log::init(&cli.log, cli.log_format);
    match work(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::fail(exit::FAILED, &error),
    }
}

fn work(cli: Cli) -> anyhow::Result<()> {
    if cli.check {
        return check(&cli.probe);
    }
    if cli.detach {
        let had_any = weir_probe::detach(&cli.probe)?;
        let text = if had_any { "taken off" } else { "nothing was at work" };
        return exit::stdout(writeln!(std::io::stdout().lock(), "{text}"));
    }
    if cli.verify {
        return verify(&cli.probe);
    }
    let listener = bind_health(cli.health);
    let probe = weir_probe::Probe::load(cli.probe)?;
    if cli.unconfined {
        warn!("keeps all its rights, as --unconfined asks");
    } else {
        // While there is one thread: the others get what it has.
        weir_probe::confine()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let stop = weir_kit::stop::on_signal()?;
        if let Some(path) = &cli.ready_file {
            std::fs::write(path, "").with_context(|| format!("ready file {}", path.display()))?;
        }
        if let Some(listener) = listener {
            let serving = weir_probe::status::serve(listener, probe.status(), stop.clone());
            tokio::spawn(async {
                if let Err(error) = serving.await {
                    warn!(%error, "health is not answered");
                }
            });
        }
        Ok(probe.run(stop).await?)
    })
}

/// A probe that nobody can ask is still a probe.
fn bind_health(address: SocketAddr) -> Option<TcpListener> {
    match TcpListener::bind(address) {
        Ok(listener) => Some(listener),
        Err(error) => {
            warn!(%address, %error, "health is not answered: name another address with --health");
            None
        }
    }
}

/// One line a feature; fails where the probe can't run or lacks one.
fn check(config: &weir_probe::Config) -> anyhow::Result<()> {
    if let Some(missing) = weir_probe::preflight(&config.kernel_types).missing() {
        return Err(missing.into());
    }
    let features = weir_probe::try_features(config)?;
    let mut out = std::io::stdout().lock();
    for feature in &features {
        exit::stdout(writeln!(out, "{feature}"))?;
    }
    match features.iter().filter(|feature| feature.is_off()).count() {
        0 => Ok(exit::stdout(writeln!(out, "all that was asked for works"))?),
        off => anyhow::bail!("{off} of {} features are off", features.len()),
    }
}

/// One line a program; fails where one was refused.
fn verify(config: &weir_probe::Config) -> anyhow::Result<()> {
    if let Some(missing) = weir_probe::preflight(&config.kernel_types).missing() {
        return Err(missing.into());
    }
    let (features, programs) = weir_probe::try_programs(config)?;
    let mut out = std::io::stdout().lock();
    exit::stdout(writeln!(
        out,
        "{:<16} {:>9} {:>12} {:>12}",
        "program", "verified", "instructions", "jited bytes"
    ))?;
    for program in &programs {
        let instructions = program.translated_bytes / 8;
        exit::stdout(writeln!(
            out,
            "{:<16} {:>9} {:>12} {:>12}",
            program.name, program.verified_instructions, instructions, program.jitted_bytes
        ))?;
    }
    match features.iter().find(|feature| feature.is_off()) {
        None => Ok(()),
        Some(feature) => anyhow::bail!("{feature}"),
    }
}
