//! `weir`: the collector, the store, the queries and the tools in one program. It wires and holds no logic.

mod allocator;
mod cli;
mod flags;
mod jaeger_ui;
mod ui;
mod up;

use std::process::ExitCode;

use clap::Parser;
use weir_kit::exit;

/// glibc's keeps what many short-lived batches took, thread by thread, and grows for hours (`make soak`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if let cli::Command::Up(args) = &cli.command {
        allocator::give_back(args.memory_limit);
    }
    weir_kit::log::init(&cli.log, cli.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(exit::FAILED, &anyhow::Error::from(error)),
    };
    match runtime.block_on(cli.command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::fail(exit::FAILED, &error),
    }
}
