//! `weir doctor`: what this machine lets the probe see, what is missing, and what to do about it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;

use anyhow::bail;
use weir_kit::exit;
use weir_probe::{Check, preflight, try_features};

use crate::up::listen::Addresses;

/// Says what this machine lets the probe see, whether `weir up` would find its ports, and what to do about what is missing.
///
/// Changes nothing. Ends with 0 if all is well, with 1 if something is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    listen: Addresses,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let config = weir_probe::Config::default();
    let preflight = preflight(&config.kernel_types);
    // Only where the probe can run at all is it worth asking what it would see.
    let features: Vec<Check> = match preflight.ok().then(|| try_features(&config)) {
        Some(Ok(features)) => features.iter().map(Check::from).collect(),
        Some(Err(error)) => vec![refused(error)],
        None => Vec::new(),
    };
    let probe = preflight.checks;
    let here: Vec<Check> =
        args.listen.described().into_iter().map(|(what, flag, address)| port(what, flag, address)).collect();
    let mut text = String::new();
    section(&mut text, "The probe", &probe);
    if !features.is_empty() {
        section(&mut text, "What it sees", &features);
    }
    section(&mut text, "weir up", &here);
    exit::stdout(std::io::stdout().lock().write_all(text.as_bytes()))?;
    match probe.iter().chain(&features).chain(&here).filter(|check| !check.ok).count() {
        0 => Ok(()),
        1 => bail!("one thing is missing"),
        missing => bail!("{missing} things are missing"),
    }
}

/// The kernel took none of the programs, though all that they need seems to be there.
fn refused(error: weir_probe::ProbeError) -> Check {
    Check {
        name: "kernel programs",
        ok: false,
        found: format!("{:#}", anyhow::Error::from(error)),
        remedy: "a container's seccomp profile or a security module may refuse bpf(2); run it outside to compare",
    }
}

/// Whether `weir up` could listen there.
fn port(what: &'static str, flag: &'static str, address: std::net::SocketAddr) -> Check {
    let taken = TcpListener::bind(address).err();
    let found = match &taken {
        None => format!("{address} ({flag}) is free"),
        Some(err) => format!("{address} ({flag}): {err}"),
    };
    Check {
        name: what,
        ok: taken.is_none(),
        found,
        remedy: "if it isn't a Weir that runs already, name another port",
    }
}

fn section(text: &mut String, title: &str, checks: &[Check]) {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
    let _ = writeln!(text, "{title}");
    for Check { name, ok, found, remedy } in checks {
        let _ = writeln!(text, "  {:<7}  {name:<width$}  {found}", if *ok { "ok" } else { "missing" });
        if !ok {
            let _ = writeln!(text, "  {:<7}  {:<width$}  → {remedy}", "", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_what_to_do() {
        let check = |name, ok| Check { name, ok, found: "found".to_owned(), remedy: "do this" };
        let mut text = String::new();
        section(&mut text, "The probe", &[check("kernel", true), check("BTF", false)]);
        assert_eq!(
            text,
            "The probe\n  ok       kernel  found\n  missing  BTF     found\n                   → do this\n"
        );
    }

    #[test]
    fn a_taken_port_is_seen() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("its address");
        assert!(!port("web page", "--http", address).ok);
        drop(taken);
        assert!(port("web page", "--http", address).ok);
    }
}
