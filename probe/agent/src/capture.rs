//! Packets on demand (`weir capture`): programs of their own, loaded and attached only while somebody captures, so that
//! nothing is paid for otherwise.
//!
//! | file         | subject                                                            |
//! |--------------|--------------------------------------------------------------------|
//! | `program.rs` | a filter → the tests that the kernel program makes                   |
//! | `load.rs`    | loading and attaching it; dropping takes it out                      |
//! | `packets.rs` | packets out of the ring → reports for the collector                  |
//!
//! Bounded in time, packets and bytes; headers only, unless the operator allows more and the order asks for it. What found
//! no room in the ring is counted by the kernel and reported.

mod load;
mod packets;
mod program;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::warn;
use weir_model::capture::Filter;
use weir_wire::control::{Captures, Hello, LineConfig, Order, Report};

use crate::clock::{Clock, Wall};
use crate::config::Config;
use crate::features::{FeatureState, FeatureStatus};
use crate::identity::Identities;
use crate::load::{Holders, LoadError, one_line};
use crate::preflight::{CgroupRoot, Missing};
use crate::sys;
use load::{Loaded, Maps};
use packets::Packets;
use program::{NoProgram, Program};

/// How often the ring is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How often counts are told when there are no packets.
const TELL: Duration = Duration::from_secs(1);
/// Longest that is believed, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(weir_model::capture::MOST_SECONDS as u64);

const NAME: &str = "packet capture";
const WITHOUT: &str = "weir capture gets no packets from this node";

/// Waits for orders.
pub(crate) struct OnDemand {
    shared: Arc<Shared>,
}

struct Shared {
    kernel_types: PathBuf,
    allows_payload: bool,
    maps: Maps,
    cgroups: CgroupRoot,
    identities: Mutex<Identities>,
}

/// Why a capture ends badly.
#[derive(Debug, thiserror::Error)]
enum CaptureError {
    #[error("payload does not leave this node: its probe was started without --allow-payload-capture")]
    Payload,
    #[error("filter: {0}")]
    Filter(#[from] weir_model::capture::FilterError),
    #[error(transparent)]
    Program(#[from] NoProgram),
    #[error(transparent)]
    Kernel(#[from] LoadError),
}

/// The programs at work with the largest filter there can be: whether this kernel takes them, and what it makes of them.
pub(crate) struct Trial {
    pub(crate) status: FeatureStatus,
    _loaded: Option<Loaded>,
}

/// Loads and attaches the programs until the trial is dropped; they take no packet.
pub(crate) fn try_load(config: &Config, holders: &Holders, cgroups: &CgroupRoot) -> Trial {
    let (state, loaded) =
        match Loaded::load(&Program::largest(), 0, &config.kernel_types, &Maps::of(holders), cgroups) {
            Ok(loaded) => (FeatureState::On, Some(loaded)),
            Err(error) => (FeatureState::Off { reason: one_line(error), without: WITHOUT }, None),
        };
    Trial { status: FeatureStatus { name: NAME, state }, _loaded: loaded }
}

impl OnDemand {
    /// Gets ready what a running probe may not do any more: mounts, if there have to be any. `holders`: the maps that say
    /// who holds a socket.
    ///
    /// # Errors
    /// [`Missing`]: there is no cgroup v2.
    pub(crate) fn new(config: &Config, holders: &Holders) -> Result<OnDemand, Missing> {
        let shared = Shared {
            kernel_types: config.kernel_types.clone(),
            allows_payload: config.allow_payload_capture,
            maps: Maps::of(holders),
            cgroups: CgroupRoot::open()?,
            identities: Mutex::new(Identities::new(CgroupRoot::open()?)),
        };
        Ok(OnDemand { shared: Arc::new(shared) })
    }

    /// How to be reachable.
    pub(crate) fn line(&self, config: &Config, boot_id: &str) -> LineConfig {
        let hello = Hello {
            node: config.node.clone(),
            boot_id: boot_id.to_owned(),
            version: weir_kit::VERSION.to_owned(),
            allows_payload: self.shared.allows_payload,
        };
        LineConfig { endpoint: config.collector.clone(), hello }
    }
}

impl Captures for OnDemand {
    fn begin(&self, order: Order, reports: mpsc::Sender<Report>) {
        let shared = self.shared.clone();
        let refused = reports.clone();
        let work = move || {
            let last = match capture(&shared, &order, &reports) {
                Ok(last) => last,
                Err(error) => {
                    let why = match error {
                        CaptureError::Kernel(error) => one_line(error),
                        other => other.to_string(),
                    };
                    warn!(filter = order.filter, why, "a capture failed");
                    Report::ended(why, true)
                }
            };
            // As at the start: the kernel's types took some 20 MB.
            sys::give_memory_back();
            // Fails where nobody takes reports any more.
            let _ = reports.blocking_send(last);
        };
        if let Err(error) = std::thread::Builder::new().name("weir-capture".to_owned()).spawn(work) {
            // The channel is new: there is room.
            let _ = refused.try_send(Report::ended(format!("start a thread: {error}"), true));
        }
    }
}

/// From the order to its last report.
fn capture(shared: &Shared, order: &Order, reports: &mpsc::Sender<Report>) -> Result<Report, CaptureError> {
    if order.payload > 0 && !shared.allows_payload {
        return Err(CaptureError::Payload);
    }
    let program = {
        let mut identities = shared.identities.lock();
        // Their ids come back as others'.
        identities.forget_processes();
        Program::of(&Filter::parse(&order.filter)?, &mut identities)?
    };
    if program.takes_nothing() {
        return Ok(Report::ended("nothing on this node can pass the filter", false));
    }
    let mut loaded =
        Loaded::load(&program, order.payload, &shared.kernel_types, &shared.maps, &shared.cgroups)?;
    let mut packets = Packets::new(Clock::read(&Wall::default()), &shared.identities, order);
    let until = Instant::now() + Duration::from_secs(u64::from(order.seconds)).min(LONGEST);
    // Said at once, so that who asked knows when packets are taken.
    let mut told = Instant::now();
    let _ = reports.blocking_send(Report::default());
    loop {
        std::thread::park_timeout(POLL);
        let is_over = Instant::now() >= until;
        if is_over || reports.is_closed() {
            // Nothing new comes; what is in the ring is still given.
            loaded.detach();
        }
        let mut is_full = false;
        while let Some(report) = packets.report(&mut loaded.packets, &mut is_full) {
            told = Instant::now();
            if reports.blocking_send(loaded.counted(report)?).is_err() {
                return Ok(Report::ended("nobody wants more", false));
            }
        }
        if is_full {
            loaded.detach();
            return Ok(loaded.counted(Report::ended(packets.limit(), false))?);
        }
        if is_over || reports.is_closed() {
            return Ok(loaded.counted(Report::ended("the time is over", false))?);
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            // Counts can wait where reports are waited for.
            let _ = reports.try_send(loaded.counted(Report::default())?);
        }
    }
}
