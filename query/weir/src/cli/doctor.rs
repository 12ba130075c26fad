//! `weir doctor`: what this machine lets the probe see, what is missing, and what to do about it.

/// Checks this machine and says what is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args) -> anyhow::Result<()> { anyhow::bail!("wired later") }
