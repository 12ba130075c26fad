//! What is kept beyond this process, and what an earlier one kept: rows and state in the state directory, kernel
//! programs on the BPF file system. Either may be out of reach; the probe then works without, and says so.

use std::path::Path;

use tracing::warn;

use crate::config::Config;
use crate::features::{FeatureState, FeatureStatus};
use crate::journal::{Identity, Opened, Restored};
use crate::load::Wanted;
use crate::load::pins::Pins;

/// What there is to go on from.
pub(crate) struct Keep {
    pub(crate) identity: Identity,
    /// The state directory, if it can be used.
    pub(crate) opened: Option<Opened>,
    /// What an earlier run left there; empty without.
    pub(crate) restored: Restored,
    /// Where the kernel programs are, if they can outlive us.
    pub(crate) pins: Option<Pins>,
    /// Whether both work.
    pub(crate) features: Vec<FeatureStatus>,
}

impl Keep {
    /// Opens what can be opened.
    pub(crate) fn open(config: &Config, wanted: &Wanted) -> Keep {
        let boot_id = weir_kit::host::boot_id();
        let kernel_boot = kernel_boot();
        let mut keep = Keep {
            identity: Identity {
                node: config.node.clone(),
                instance: boot_id.clone(),
                boot_id,
                kernel_boot: kernel_boot.clone(),
            },
            opened: None,
            restored: Restored::new(&kernel_boot),
            pins: None,
            features: Vec::new(),
        };
        let Some(state_dir) = &config.state_dir else { return keep };
        let opened = Opened::open(state_dir, &kernel_boot).map(|(opened, restored)| {
            keep.opened = Some(opened);
            keep.restored = restored;
        });
        keep.report(
            "spool on disk",
            "rows that the collector has not acknowledged end with the probe",
            opened,
        );
        if keep.opened.is_some() {
            let found = keep.find_pins(config, state_dir, wanted);
            keep.report("restart without a gap", "what happens while the probe restarts is missing", found);
        }
        keep
    }

    fn find_pins(&mut self, config: &Config, state_dir: &Path, wanted: &Wanted) -> std::io::Result<()> {
        let earlier = self.restored.instance.as_deref();
        let pins = Pins::find(&config.pin_dir, state_dir, earlier, &self.identity.boot_id, wanted)?;
        self.identity.instance.clone_from(&pins.instance);
        self.pins = Some(pins);
        Ok(())
    }

    fn report<E: std::error::Error + Send + Sync + 'static>(
        &mut self,
        name: &'static str,
        without: &'static str,
        result: Result<(), E>,
    ) {
        let state = match result {
            Ok(()) => FeatureState::On,
            Err(error) => FeatureState::Off { reason: format!("{:#}", anyhow::Error::from(error)), without },
        };
        self.features.push(FeatureStatus { name, state });
    }

    /// Whether kernel programs of an earlier run are still at work.
    pub(crate) fn is_adopted(&self) -> bool {
        self.pins.as_ref().is_some_and(|pins| pins.is_adopted)
    }
}

/// Takes kernel programs off, at the end of a run.
pub(crate) fn take_off(pins: Option<&Pins>) {
    if let Some(Err(error)) = pins.map(Pins::take_off) {
        warn!(%error, "kernel programs stay at work: weir-probe --detach takes them off");
    }
}

/// Names this boot of the kernel: socket cookies are unique within it.
fn kernel_boot() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
