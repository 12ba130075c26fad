//! A network namespace of the test's own, with loopback up and nothing else in it.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::run;

static MADE: AtomicU32 = AtomicU32::new(0);

/// Removed when dropped.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace.
    ///
    /// # Errors
    /// Without root, or where `ip` is missing.
    pub fn new() -> anyhow::Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("weir-e2e-{}-{number}", std::process::id()) };
        run("ip", ["netns", "add", &namespace.name])?;
        run("ip", ["-n", &namespace.name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The file that a thread enters it by.
    pub fn path(&self) -> std::path::PathBuf {
        format!("/run/netns/{}", self.name).into()
    }

    /// A command that will run `program` inside. Only the network is another one: `ip netns exec` would also hide
    /// the cgroups, which a probe needs.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run("ip", ["netns", "del", &self.name]);
    }
}
