//! The command line: one file a subcommand.

mod bench;
mod capture;
mod client;
mod demo;
mod doctor;
mod executor;
mod export;
mod import;
mod scheduler;
mod sql;
mod store;

use clap::{Parser, Subcommand};

/// Weir shows what talks to what in a cluster: every connection, every TLS handshake, as tables and traces.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to log: a level (error, warn, info, debug, trace) or directives such as `weir_store=debug,warn`.
    #[arg(long, global = true, env = "WEIR_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How logs look.
    #[arg(long, global = true, env = "WEIR_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: weir_kit::log::Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything on this machine: probe, collector, store, queries and the web page.
    Up(Box<crate::up::Args>),
    /// Ask a question in SQL and print the answer.
    Sql(sql::Args),
    /// Read a capture file (pcap, pcapng) into the store of a running Weir.
    Import(import::Args),
    /// Write flows and handshakes to a file, for a SIEM or for keeping.
    Export(export::Args),
    /// Take packets on the nodes, by a filter, into a pcapng file for Wireshark.
    Capture(capture::Args),
    /// Look after a store: check that every file is readable, merge small files, export them as Delta Lake tables.
    Store(store::Args),
    /// Share large questions out among executors, on several machines.
    ///
    /// A Weir that is started with `weir up --store URL --scheduler http://HOST:PORT` sends it the plan of a question that reads
    /// many files; the scheduler gives its parts to `weir executor`s, and the Weir fetches the rows from them. It keeps nothing on
    /// disk: while it is away, each Weir answers by itself.
    Scheduler(scheduler::Args),
    /// Work on a part of large questions, for a scheduler.
    ///
    /// It reads the files of the store that all have in common, and writes nothing there. Start one on each machine that is to
    /// help; one that ends, however it ends, costs the questions under way a second attempt. It ends by itself when its scheduler
    /// is gone for some seconds: let it be started again (systemd, Kubernetes).
    Executor(Box<executor::Args>),
    /// Run a small set of real services in network namespaces, so that there is traffic to look at.
    Demo(demo::Args),
    /// Say what this machine lets the probe see, and what is missing.
    Doctor(Box<doctor::Args>),
    /// Measure a part of Weir.
    Bench(bench::Args),
    /// One service of the demo, started by `weir demo` itself.
    #[command(hide = true)]
    DemoService(demo::ServiceArgs),
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Up(args) => crate::up::run(*args).await,
            Command::Sql(args) => sql::run(args).await,
            Command::Import(args) => import::run(args).await,
            Command::Export(args) => export::run(args).await,
            Command::Capture(args) => capture::run(args).await,
            Command::Store(args) => store::run(args).await,
            Command::Scheduler(args) => scheduler::run(args).await,
            Command::Executor(args) => executor::run(*args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Doctor(args) => doctor::run(&args),
            Command::Bench(args) => bench::run(&args).await,
            Command::DemoService(args) => demo::run_service(args).await,
        }
    }
}
