//! Programs: found, run, watched and ended. Their output goes to a file, which an error quotes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::PATIENCE;

/// The `weir` under test: `$WEIR_BIN`, else the one that the same build put above this test.
///
/// # Panics
/// When there is none: build it first (`cargo build --workspace`).
pub fn weir_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("WEIR_BIN") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "WEIR_BIN={} is no file", path.display());
        return path;
    }
    let test = std::env::current_exe().expect("this test's own path");
    let found = test.ancestors().skip(1).map(|dir| dir.join("weir")).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("no weir above {}: run `cargo build --workspace` first, or set WEIR_BIN", test.display())
    })
}

/// Another binary of ours, from the same build as [`weir_binary`].
///
/// # Panics
/// When there is none.
pub fn beside_weir(name: &str) -> PathBuf {
    let path = weir_binary().with_file_name(name);
    assert!(path.is_file(), "no {}: run `cargo build --workspace` first", path.display());
    path
}

/// Runs a program to its end and gives what it wrote to standard output.
///
/// # Errors
/// When it can't be run or fails; with what it wrote to standard error.
pub fn run<I>(program: impl AsRef<OsStr>, arguments: I) -> anyhow::Result<String>
where
    I: IntoIterator<Item: AsRef<OsStr>>,
{
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Leaves out the settings of whoever runs the tests: they are not the test's.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
}

/// A program that runs beside the test; it is killed at the latest when this is dropped.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in the file `log`.
    ///
    /// # Errors
    /// When the program is missing or the file can't be made.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("make {}", log.display()))?;
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {name} (is it installed? `make setup`)"))?;
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails when it has ended already, quoting what it wrote.
    ///
    /// # Errors
    /// When it isn't running any more.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.name, self.output()),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits until it ends by itself or by a signal sent before.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(crate::BETWEEN_LOOKS).await;
        }
        bail!("{} did not end within {PATIENCE:?}\n{}", self.name, self.output())
    }

    /// `kill -9`, and waits for the kernel to have taken it away.
    ///
    /// # Errors
    /// When the process can't be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprint_tail(&self.name, &self.output());
        }
    }
}

#[expect(clippy::print_stderr, reason = "the reader of a failed test needs what the program said")]
fn eprint_tail(name: &str, output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
    eprintln!("--- last lines of {name}\n{}\n---", tail.join("\n"));
}
