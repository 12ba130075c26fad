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
//! | `flows.rs`      | records of TCP connections → rows                                          |
//! | `udp.rs`        | UDP flows → rows                                                           |
//! | `handshakes.rs`, `reassemble.rs` | first bytes → TLS handshakes                              |
//! | `identity.rs`, `ends.rs` | who an end is                                                     |
//! | `health.rs`     | losses → rows                                                              |
//! | `ship.rs`       | rows → collector                                                           |
//! | `sys.rs`        | the only unsafe code                                                       |
//!
//! Nothing is pinned: dropping the programs' descriptors, or the process's end, detaches them. Payload beyond a
//! handshake's clear part is neither copied nor kept.

mod btf;
mod clock;
mod config;
mod drain;
mod ends;
mod features;
mod flows;
mod handshakes;
mod health;
mod identity;
mod load;
mod preflight;
mod programs;
mod reassemble;
mod ship;
mod sys;
mod udp;
mod watch;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weir_wire::{Shipper, ShipperConfig};

pub use btf::BtfError;
pub use config::{Config, Level};
pub use features::{FeatureState, FeatureStatus};
pub use load::LoadError;
pub use preflight::{Check, Missing, Preflight, preflight};
pub use programs::{ProgramFacts, programs_of};

/// Sets of rows on their way to the shipper.
const SETS_UNDER_WAY: usize = 16;

/// Why the probe doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// This machine lacks something (root, BTF, cgroup v2): `weir up` goes on without the probe and says what.
    #[error("this machine doesn't let the probe see: {0}")]
    Missing(#[from] Missing),
    /// The kernel refused the programs, or failed while they ran.
    #[error("kernel programs")]
    Kernel(#[from] LoadError),
    /// The thread that watches could not be started, or ended without a word.
    #[error("the probe's thread")]
    Thread(#[source] std::io::Error),
}

/// A probe whose programs are at work; nothing is shipped until [`Probe::run`].
pub struct Probe {
    config: Config,
    watch: watch::Watch,
    boot_id: String,
}

impl Probe {
    /// Checks the machine, then loads and attaches the kernel programs (some 100 ms).
    ///
    /// # Errors
    /// [`ProbeError::Missing`] if this machine lacks what they need, [`ProbeError::Kernel`] if the kernel refuses them.
    pub async fn start(config: Config) -> Result<Probe, ProbeError> {
        if let Some(missing) = preflight(&config.kernel_types).missing() {
            return Err(missing.into());
        }
        let wanted = load::Wanted::of(&config);
        let loading = tokio::task::spawn_blocking(move || {
            let cgroups = preflight::CgroupRoot::open()?;
            let kernel = load::Kernel::load(&wanted, &cgroups)?;
            Ok::<_, ProbeError>((kernel, identity::Identities::new(cgroups)))
        });
        let (kernel, identities) = loading.await.map_err(|error| ProbeError::Thread(error.into()))??;
        for feature in kernel.features.iter().filter(|feature| feature.is_off()) {
            warn!("{feature}");
        }
        let boot_id = weir_kit::host::boot_id();
        let watch = watch::Watch::new(kernel, &config, &boot_id, identities);
        info!(node = %config.node, "kernel programs attached");
        Ok(Probe { config, watch, boot_id })
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
        let shipper = Shipper::start(ShipperConfig {
            endpoint: self.config.collector,
            node: self.config.node,
            boot_id: self.boot_id,
            queue_bytes: self.config.queue_bytes,
        });
        let (send, receive) = mpsc::channel(SETS_UNDER_WAY);
        let (stop_watching, stopped) = std::sync::mpsc::sync_channel(1);
        let (end, ended) = oneshot::channel();
        let watch = self.watch;
        std::thread::Builder::new()
            .name("weir-probe".to_owned())
            .spawn(move || {
                let result = watch.run(&stopped, &send);
                // Nobody listens only when the whole probe was dropped.
                let _ = end.send(result);
            })
            .map_err(ProbeError::Thread)?;
        tokio::spawn(async move {
            stop.cancelled().await;
            // Fails when the thread ended by itself; its result says why.
            let _ = stop_watching.send(());
        });
        // Ends when the thread does: it holds the only sender.
        ship::ship(shipper, receive).await;
        match ended.await {
            Ok(result) => Ok(result?),
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
    Ok(load::Kernel::load(&load::Wanted::of(config), &cgroups)?.features)
}

/// Loads and attaches every feature for a moment and says what the kernel made of it: which work, and the programs.
///
/// # Errors
/// As [`try_features`].
pub fn try_programs(config: &Config) -> Result<(Vec<FeatureStatus>, Vec<ProgramFacts>), ProbeError> {
    let cgroups = preflight::CgroupRoot::open().map_err(ProbeError::Missing)?;
    let kernel = load::Kernel::load(&load::Wanted::of(config), &cgroups)?;
    let programs = programs_of(std::process::id())
        .map_err(|source| LoadError::Io { what: "look at the loaded programs".to_owned(), source })?;
    Ok((kernel.features, programs))
}
