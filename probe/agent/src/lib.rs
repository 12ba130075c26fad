//! `weir-probe`, the node agent: connections out of the kernel, rows out to the collector.
//!
//! | file            | subject                                                                  |
//! |-----------------|--------------------------------------------------------------------------|
//! | `config.rs`     | what an operator can set                                                   |
//! | `preflight.rs`  | what this machine lacks, in the words of `weir doctor`                     |
//! | `btf.rs`        | where a field of a kernel struct lies                                      |
//! | `features.rs`   | what the probe can see, piece by piece, each off alone where the kernel lacks something |
//! | `load.rs`       | loading and attaching the kernel programs; their maps                      |
//! | `programs.rs`   | what the kernel knows of the programs: the verifier's work, running time   |
//! | `watch.rs`      | the one working thread: poll, sweep, cut intervals                         |
//! | `drain.rs`      | bytes out of the kernel → records                                          |
//! | `by_cookie.rs`  | what is kept of each of very many connections                              |
//! | `flows.rs`      | records of TCP connections → rows                                          |
//! | `exchanges.rs`  | turns → rows, and what flows say about them                                |
//! | `census.rs`, `elf.rs` | which processes there are; where functions lie in their files         |
//! | `golang.rs`     | which processes are Go's, and where they keep their goroutines' ids        |
//! | `libraries.rs`  | TLS libraries, and probes on what reads certificates there                 |
//! | `udp.rs`        | UDP flows → rows                                                           |
//! | `drops.rs`      | dropped packets → rows, denied flows                                       |
//! | `path.rs`       | connections at chosen interfaces → rows: NAT, tunnels, what is forwarded    |
//! | `reasons.rs`, `locations.rs` | what the kernel calls reasons and places                       |
//! | `handshakes.rs`, `reassemble.rs` | first bytes → TLS handshakes                              |
//! | `dns.rs`        | DNS → rows, and names for flows                                            |
//! | `identity.rs`, `ends.rs` | who an end is                                                     |
//! | `processes.rs`  | what is told of a process: executable, redacted arguments, container image |
//! | `capture.rs`    | packets on demand (`weir capture`), by programs of their own                 |
//! | `health.rs`     | losses → rows                                                              |
//! | `journal.rs`    | rows and state on disk, until the collector has them and for the next run  |
//! | `keep.rs`       | what an earlier run kept, and what this one keeps                          |
//! | `ship.rs`       | rows → journal → collector                                                 |
//! | `status.rs`     | how this probe is, on loopback                                             |
//! | `confine.rs`    | what a running probe may still do                                          |
//! | `sys.rs`        | the only unsafe code                                                       |
//!
//! A clean stop leaves no program behind; one that crashed finds them at work again where the BPF file system is there. Payload beyond a
//! handshake's clear part is neither copied nor kept, unless the operator allows captures with payload and one is asked for.

mod btf;
mod by_cookie;
mod capture;
mod census;
mod clock;
mod config;
mod confine;
mod dns;
mod drain;
mod drops;
mod elf;
mod ends;
mod exchanges;
mod features;
mod flows;
mod golang;
mod handshakes;
mod health;
mod identity;
mod journal;
mod keep;
mod libraries;
mod load;
mod locations;
mod path;
mod preflight;
mod processes;
mod programs;
mod reasons;
mod reassemble;
mod ship;
pub mod status;
mod sys;
mod udp;
mod watch;

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weir_wire::control::keep_line;
use weir_wire::{Shipper, ShipperConfig};

pub use btf::BtfError;
pub use config::{Config, Level};
pub use confine::{ConfineError, confine};
pub use features::{FeatureState, FeatureStatus};
pub use load::LoadError;
pub use preflight::{Check, Missing, Preflight, preflight};
pub use programs::{ProgramFacts, programs_of};
pub use sys::save_memory;

/// For the benches of hooks, and for tests; a promise to nobody else.
#[doc(hidden)]
pub mod lab {
    pub use crate::clock::Wall;
    pub use crate::load::kernel_offsets;
    pub use crate::sys::{link_iterator, open_iterator};
}

/// Why the probe doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// This machine lacks something (root, BTF, cgroup v2): `weir up` goes on without the probe and says what.
    #[error("this machine doesn't let the probe see: {0}")]
    Missing(#[from] Missing),
    /// The kernel refused the programs, or failed while they ran.
    #[error("kernel programs")]
    Kernel(#[from] LoadError),
    /// Nowhere to put rows.
    #[error("memory for the spool")]
    Spool(#[source] std::io::Error),
    /// The thread that watches could not be started, or ended without a word.
    #[error("the probe's thread")]
    Thread(#[source] std::io::Error),
}

/// A probe whose programs are at work; nothing is shipped until [`Probe::run`].
pub struct Probe {
    config: Config,
    watch: watch::Watch,
    captures: capture::OnDemand,
}

impl Probe {
    /// Checks the machine, then loads and attaches the kernel programs (some 100 ms), without blocking others.
    ///
    /// # Errors
    /// As [`Probe::load`].
    pub async fn start(config: Config) -> Result<Probe, ProbeError> {
        let loading = tokio::task::spawn_blocking(move || Probe::load(config));
        loading.await.map_err(|error| ProbeError::Thread(error.into()))?
    }

    /// As [`Probe::start`], on this thread: for a process that has no other yet, and gives rights back afterwards.
    ///
    /// # Errors
    /// [`ProbeError::Missing`] if this machine lacks what they need, [`ProbeError::Kernel`] if the kernel refuses them.
    pub fn load(config: Config) -> Result<Probe, ProbeError> {
        Probe::load_by(config, lab::Wall::default())
    }

    /// As [`Probe::load`], by a clock that may be set without the machine's.
    ///
    /// # Errors
    /// As [`Probe::load`].
    #[doc(hidden)]
    pub fn load_by(config: Config, wall: lab::Wall) -> Result<Probe, ProbeError> {
        if let Some(missing) = preflight(&config.kernel_types).missing() {
            return Err(missing.into());
        }
        let wanted = load::Wanted::of(&config);
        let cgroups = preflight::CgroupRoot::open()?;
        let keep = keep::Keep::open(&config, &wanted);
        let kernel = load::Kernel::load(&wanted, &cgroups, keep.pins.as_ref())?;
        let captures = capture::OnDemand::new(&config, &kernel.holders(keep.pins.as_ref())?)?;
        let identities = identity::Identities::new(cgroups);
        let watch = watch::Watch::new(kernel, &config, identities, keep, wall).map_err(ProbeError::Spool)?;
        let probe = Probe { config, watch, captures };
        // The kernel's types, of which only offsets are needed any more, took some 20 MB.
        sys::give_memory_back();
        for feature in probe.features().iter().filter(|feature| feature.is_off()) {
            warn!("{feature}");
        }
        info!(node = %probe.config.node, "kernel programs attached");
        Ok(probe)
    }

    /// What it says of itself, for [`status::serve`].
    pub fn status(&self) -> Arc<status::Status> {
        self.watch.status()
    }

    /// What works and what doesn't on this kernel.
    pub fn features(&self) -> &[FeatureStatus] {
        self.watch.features()
    }

    /// Ships rows until `stop`; then ships what moved since the last interval, waits a little for the last
    /// acknowledgements, and detaches.
    ///
    /// # Errors
    /// [`ProbeError::Kernel`] if the kernel's side fails while it runs.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ProbeError> {
        let line = self.captures.line(&self.config, self.watch.boot_id());
        tokio::spawn(keep_line(line, Arc::new(self.captures), stop.clone()));
        let shipper = Arc::new(Shipper::start(ShipperConfig {
            endpoint: self.config.collector,
            node: self.config.node,
            boot_id: self.watch.boot_id().to_owned(),
            queue_bytes: self.config.queue_bytes,
        }));
        let spool = self.watch.spool();
        let (stop_watching, stopped) = std::sync::mpsc::sync_channel(1);
        let (end, ended) = oneshot::channel();
        let (watch, watched) = (self.watch, shipper.clone());
        std::thread::Builder::new()
            .name("weir-probe".to_owned())
            .spawn(move || {
                let result = watch.run(&stopped, &watched);
                // Before the end is told: whoever waits for it drops the last one, and with it the streams.
                drop(watched);
                // Nobody listens only when the whole probe was dropped.
                let _ = end.send(result);
            })
            .map_err(ProbeError::Thread)?;
        tokio::spawn(async move {
            stop.cancelled().await;
            // Fails when the thread ended by itself; its result says why.
            let _ = stop_watching.send(());
        });
        match ship::ship(&shipper, &spool, ended).await {
            // The journal is held until here: another probe must not send the same rows meanwhile.
            Ok((result, _journal)) => Ok(result?),
            Err(_) => Err(ProbeError::Thread(std::io::Error::other("it panicked"))),
        }
    }
}

/// [`Probe::start`] and [`Probe::run`].
///
/// # Errors
/// Theirs.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), ProbeError> {
    Probe::start(config).await?.run(stop).await
}

/// Loads and attaches every feature for a moment and says what works: what `weir doctor` shows. Needs what the probe
/// needs, see [`preflight`].
///
/// # Errors
/// As [`Probe::start`].
pub fn try_features(config: &Config) -> Result<Vec<FeatureStatus>, ProbeError> {
    let cgroups = preflight::CgroupRoot::open().map_err(ProbeError::Missing)?;
    let mut kernel = load::Kernel::load(&load::Wanted::of(config), &cgroups, None)?;
    kernel.features.push(capture::try_load(config, &kernel.holders(None)?, &cgroups).status);
    Ok(kernel.features)
}

/// Loads and attaches every feature for a moment and says what the kernel made of it: which work, and the programs.
///
/// # Errors
/// As [`try_features`].
pub fn try_programs(config: &Config) -> Result<(Vec<FeatureStatus>, Vec<ProgramFacts>), ProbeError> {
    let cgroups = preflight::CgroupRoot::open().map_err(ProbeError::Missing)?;
    let mut kernel = load::Kernel::load(&load::Wanted::of(config), &cgroups, None)?;
    let capture = capture::try_load(config, &kernel.holders(None)?, &cgroups);
    let programs = programs_of(std::process::id())
        .map_err(|source| LoadError::Io { what: "look at the loaded programs".to_owned(), source })?;
    kernel.features.push(capture.status);
    Ok((kernel.features, programs))
}

/// Takes off the kernel programs that a probe with this configuration left at work; says whether there were any.
///
/// # Errors
/// They can't be removed.
pub fn detach(config: &Config) -> std::io::Result<bool> {
    let state_dir = config.state_dir.as_deref().unwrap_or(std::path::Path::new("/"));
    load::pins::take_off(&config.pin_dir, state_dir)
}
