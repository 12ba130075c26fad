//! Structured logs on stderr: text for people, JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One readable line an event; coloured on a terminal.
    Text,
    /// One JSON object an event.
    Json,
}

/// Libraries that log what they return as an error, too: who handles it logs it, once. A filter that names them is heard.
/// Ballista tells every step of every question, with its plan.
const QUIET: &str =
    "kube_client=off,kube_runtime=off,ballista_core=error,ballista_scheduler=error,ballista_executor=error";

/// Starts logging. `filter` is a level or `tracing` directives (`info`, `weir_store=debug,warn`); a part of it that
/// can't be read is left out. Calling it twice in a process (tests do) keeps the first.
pub fn init(filter: &str, format: Format) {
    let filter = EnvFilter::builder().parse_lossy(format!("{QUIET},{filter}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
    };
}
