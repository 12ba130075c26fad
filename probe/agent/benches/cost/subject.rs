//! Who is measured.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use clap::ValueEnum as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use weir_probe::Level;

use crate::attach::{Attached, Ground};
use crate::candidates::CANDIDATES;
use crate::lab::hosts::{CLIENT, Hosts};

/// One of those that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The machine without us.
    Nothing,
    /// `weir-probe --level`.
    Probe(String),
    /// Each packet counted by its 5-tuple in a shared hash, on tc, as most agents do; without their user side.
    PerPacket,
}

impl Subject {
    /// In the order that they are shown.
    pub(crate) fn all() -> Vec<Subject> {
        let mut all = vec![Subject::Nothing];
        all.extend(levels().into_iter().map(Subject::Probe));
        all.push(Subject::PerPacket);
        all
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Subject::Nothing => "nothing",
            Subject::Probe(level) => level,
            Subject::PerPacket => "per-packet hash",
        }
    }
}

/// Every level that the probe has.
pub(crate) fn levels() -> Vec<String> {
    let named = Level::value_variants().iter().filter_map(Level::to_possible_value);
    named.map(|value| value.get_name().to_owned()).collect()
}

/// What subjects need to run.
pub(crate) struct Yard {
    collector: String,
    /// The client's host: the probe runs there, since its level `packets` looks at that host's interfaces.
    namespace: String,
    ground: Ground,
    states: TempDir,
    started: Cell<u32>,
}

/// A subject at work, until it is dropped.
pub(crate) enum Running {
    Nothing,
    Probe(Probe),
    PerPacket(#[expect(dead_code, reason = "held, since dropping it detaches")] Attached),
}

impl Running {
    /// The process that holds the programs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        match self {
            Running::Nothing => None,
            Running::Probe(probe) => Some(probe.process_id()),
            Running::PerPacket(_) => Some(std::process::id()),
        }
    }

    /// CPU time that the probe's process took so far, ns; what the kernel's programs take is the traffic's.
    pub(crate) fn agent_ns(&self) -> u64 {
        match self {
            Running::Probe(probe) => crate::lab::loads::cpu_ns(probe.process_id()),
            _ => 0,
        }
    }
}

/// `weir-probe`, its programs attached; ended when dropped.
pub(crate) struct Probe {
    child: Child,
}

impl Probe {
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Yard {
    pub(crate) fn new(hosts: &Hosts) -> Yard {
        let object =
            std::env::var("CANDIDATES").expect("CANDIDATES=file, made by probe/bpf/build.sh --candidates");
        Yard {
            collector: hosts.within(CLIENT, crate::sink::start),
            namespace: hosts.path(CLIENT),
            ground: Ground::new(std::fs::read(object).unwrap()),
            states: TempDir::with_prefix("weir-bench-").unwrap(),
            started: Cell::new(0),
        }
    }

    /// Starts a subject and waits until its programs are attached.
    pub(crate) fn start(&self, subject: &Subject, hosts: &Hosts) -> Running {
        match subject {
            Subject::Nothing => Running::Nothing,
            Subject::Probe(level) => Running::Probe(self.probe(&["--level", level])),
            Subject::PerPacket => {
                let usual =
                    CANDIDATES.iter().find(|candidate| candidate.programs[0].0 == "tc_shared_in").unwrap();
                Running::PerPacket(self.ground.attach(usual, hosts))
            }
        }
    }

    /// Starts the probe with these flags.
    pub(crate) fn probe(&self, flags: &[&str]) -> Probe {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace)).arg(env!("CARGO_BIN_EXE_weir-probe"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WEIR_") {
                command.env_remove(name);
            }
        }
        // A new one each time: nothing of an earlier one is left to be sent or gone on with.
        self.started.set(self.started.get() + 1);
        let state = self.states.path().join(self.started.get().to_string());
        command.args(["--collector", &self.collector, "--node", "bench"]).args(flags);
        command.args(["--health", "127.0.0.1:0"]).arg("--state-dir").arg(state);
        command.arg("--pin-dir").arg(format!("/sys/fs/bpf/weir-bench-{}", std::process::id()));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let attached = log.by_ref().map_while(Result::ok).find(|line| line.contains("attached"));
        assert!(attached.is_some(), "weir-probe ended before it was attached: {:?}", child.wait());
        // Read on, so that it never waits for us. A stream that ends is resent, as when we stop it.
        std::thread::spawn(move || {
            log.map_while(Result::ok)
                .filter(|line| line.contains("WARN") && !line.contains("resending"))
                .for_each(warn);
        });
        Probe { child }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "called by for_each")]
fn warn(line: String) {
    println!("    weir-probe: {line}");
}
