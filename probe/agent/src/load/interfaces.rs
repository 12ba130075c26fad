//! The programs at chosen interfaces: put on those that there are and on those that come, and the maps they count in.
//!
//! By tcx where there is one (Linux 6.6); such a link ends with its interface, and can outlive us where it is pinned. Older
//! kernels have filters on a queueing discipline: those that a killed probe left are taken off first.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{self, SchedClassifierLink};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use smol_str::SmolStr;
use tracing::{info, warn};
use weir_abi::{Opening, PATH_ENDS, PastKey, PathFlow, PathKey, names};

use super::attach::program;
use super::pins::Pins;
use super::{LoadError, hash, io_error, map_error, take};
use crate::features::{self, FeatureState, FeatureStatus};
use crate::sys::{self, Device, Devices};

/// Each side of an interface: the program for packets that begin with an Ethernet header, and for those that don't.
const SIDES: [(TcAttachType, &str, &str); 2] = [
    (TcAttachType::Ingress, "weir_path_in", "weir_ip_in"),
    (TcAttachType::Egress, "weir_path_out", "weir_ip_out"),
];
/// Names of interfaces that are gone are remembered up to so many.
const MOST_NAMES: usize = 16_384;

#[expect(dead_code, reason = "held, since dropping them detaches")]
enum Link {
    Own(FdLink),
    Pinned(PinnedLink),
    Filter(SchedClassifierLink),
}

/// The interfaces that are looked at.
pub(crate) struct Interfaces {
    wanted: Vec<String>,
    devices: Devices,
    held: HashMap<u32, (String, Vec<Link>)>,
    /// Those that the kernel refused, with what it said.
    refused: HashMap<u32, String>,
    names: HashMap<u32, SmolStr>,
    pins: Option<Pins>,
    is_first: bool,
    /// Interfaces that could not be looked at.
    pub(crate) not_watched: u64,
}

impl Interfaces {
    pub(super) fn new(wanted: &[String], pins: Option<&Pins>) -> io::Result<Interfaces> {
        Ok(Interfaces {
            wanted: wanted.to_vec(),
            devices: Devices::open()?,
            held: HashMap::new(),
            refused: HashMap::new(),
            names: HashMap::new(),
            pins: pins.cloned(),
            is_first: true,
            not_watched: 0,
        })
    }

    /// What an interface is called, or was.
    pub(crate) fn name(&self, index: u32) -> Option<SmolStr> {
        self.names.get(&index).cloned()
    }

    /// Puts the programs on interfaces that have come, and lets go of those that have gone. Whether any did.
    pub(crate) fn follow(&mut self, ebpf: &mut Ebpf) -> Result<bool, LoadError> {
        if !self.devices.have_changed() && !self.is_first {
            return Ok(false);
        }
        let all = self.devices.all().map_err(io_error("list network interfaces"))?;
        let there: HashSet<u32> = all.iter().map(|device| device.index).collect();
        let gone: Vec<u32> = self.held.keys().copied().filter(|index| !there.contains(index)).collect();
        for index in &gone {
            self.held.remove(index);
        }
        self.refused.retain(|index, _| there.contains(index));
        let mut changed = self.is_first || !gone.is_empty();
        for device in all.iter().filter(|device| is_wanted(&self.wanted, &device.name)) {
            self.names.insert(device.index, SmolStr::new(&device.name));
            if self.held.contains_key(&device.index) || self.refused.contains_key(&device.index) {
                continue;
            }
            changed = true;
            match self.attach(ebpf, device) {
                Ok(links) => {
                    info!(interface = device.name, "counting packets");
                    self.held.insert(device.index, (device.name.clone(), links));
                }
                Err(error) => {
                    let said = super::one_line(error);
                    warn!(interface = device.name, error = said, "packets of this interface are not counted");
                    self.not_watched += 1;
                    self.refused.insert(device.index, said);
                }
            }
        }
        self.forget(&there);
        self.is_first = false;
        Ok(changed)
    }

    /// Takes off what was pinned for interfaces that are not looked at (any more), and names that nobody asks for.
    fn forget(&mut self, there: &HashSet<u32>) {
        if self.names.len() > MOST_NAMES {
            self.names.retain(|index, _| there.contains(index));
        }
        let Some(files) = self.pins.as_ref().and_then(|pins| fs::read_dir(pins.directory()).ok()) else {
            return;
        };
        for file in files.flatten() {
            let name = file.file_name();
            let index =
                name.to_str().and_then(|name| name.strip_prefix(PIN)?.split('-').nth(1)?.parse().ok());
            if index.is_some_and(|index: u32| !self.held.contains_key(&index)) {
                // It may have been taken off meanwhile.
                let _ = fs::remove_file(file.path());
            }
        }
    }

    fn attach(&self, ebpf: &mut Ebpf, device: &Device) -> Result<Vec<Link>, LoadError> {
        if !device.is_readable() {
            let error = io::Error::other(format!(
                "its packets begin with no header that we know (type {})",
                device.kind
            ));
            return Err(io_error(&device.name)(error));
        }
        SIDES
            .into_iter()
            .map(|(side, ethernet, ip)| {
                self.attach_side(ebpf, device, side, if device.is_ethernet() { ethernet } else { ip })
            })
            .collect()
    }

    fn attach_side(
        &self,
        ebpf: &mut Ebpf,
        device: &Device,
        side: TcAttachType,
        name: &'static str,
    ) -> Result<Link, LoadError> {
        let pin = self.pins.as_ref().map(|pins| pins.path(&format!("{PIN}{name}-{}", device.index)));
        if let Some(pin) = pin.as_ref().filter(|pin| pin.exists()) {
            let link = PinnedLink::from_pin(pin);
            return link.map(Link::Pinned).map_err(|error| io_error(name)(io::Error::other(error)));
        }
        let failed = |source| LoadError::Program { name, source: Box::new(source) };
        let own: &mut SchedClassifier = program(ebpf, name)?;
        if !has_tcx() {
            // There already, or the attachment says why it can't be.
            let _ = tc::qdisc_add_clsact(&device.name);
            let _ = tc::qdisc_detach_program(&device.name, side, name);
        }
        let id = own.attach(&device.name, side).map_err(failed)?;
        let link = own.take_link(id).map_err(failed)?;
        if !has_tcx() {
            return Ok(Link::Filter(link));
        }
        let link = FdLink::try_from(link).map_err(|error| io_error(name)(io::Error::other(error)))?;
        match pin {
            None => Ok(Link::Own(link)),
            Some(pin) => {
                link.pin(pin).map(Link::Pinned).map_err(|error| io_error(name)(io::Error::other(error)))
            }
        }
    }

    /// How it is doing: off where no interface is looked at.
    pub(super) fn state(&self) -> FeatureState {
        let off = |reason| FeatureState::Off { reason, without: features::WITHOUT_PATH };
        if !self.held.is_empty() {
            return FeatureState::On;
        }
        match self.refused.values().next() {
            Some(said) => off(said.clone()),
            None => off(format!(
                "no interface is called {}: name others with --interfaces",
                self.wanted.join(" or ")
            )),
        }
    }
}

/// What names of pinned links begin with; they go on with the program's name and the interface's index.
const PIN: &str = "at-";

fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Whether the name matches one of these, in which `*` is anything; `lo` must be named.
fn is_wanted(wanted: &[String], name: &str) -> bool {
    wanted.iter().any(|glob| (glob != "*" || name != "lo") && matches(glob.as_bytes(), name.as_bytes()))
}

fn matches(glob: &[u8], name: &[u8]) -> bool {
    match glob.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((b'?', rest)) => !name.is_empty() && matches(rest, &name[1..]),
        Some((byte, rest)) => name.first() == Some(byte) && matches(rest, &name[1..]),
    }
}

/// What the kernel counts at interfaces.
pub(crate) struct PathMaps {
    flows: MapData,
    past: MapData,
    openings: MapData,
    counters: PerCpuArray<MapData, u64>,
}

impl PathMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<PathMaps, LoadError> {
        Ok(PathMaps {
            flows: take(ebpf, names::PATH, hash)?,
            past: take(ebpf, names::PATH_PAST, hash)?,
            openings: take(ebpf, names::PATH_OPENINGS, hash)?,
            counters: take(ebpf, names::PATH_COUNTERS, PerCpuArray::try_from)?,
        })
    }

    /// Shows all flows there are, and those whose 5-tuple another one has taken over.
    pub(crate) fn walk(&self, mut show: impl FnMut(&PathKey, &PathFlow, bool)) -> Result<(), LoadError> {
        let failed = io_error("read flows at interfaces");
        sys::walk(self.past.fd().as_fd(), |past: &PastKey, flow| show(&past.key, flow, true))
            .map_err(&failed)?;
        sys::walk(self.flows.fd().as_fd(), |key, flow| show(key, flow, false)).map_err(failed)
    }

    /// Takes a flow out: its last numbers.
    pub(crate) fn remove(
        &self,
        key: &PathKey,
        born_ns: u64,
        is_past: bool,
    ) -> Result<Option<PathFlow>, LoadError> {
        let past = PastKey { key: *key, born_ns };
        let taken = if is_past {
            sys::take(self.past.fd().as_fd(), &past)
        } else {
            sys::take(self.flows.fd().as_fd(), key)
        };
        taken.map_err(io_error("remove a flow at an interface"))
    }

    /// One flow, as it is now.
    pub(crate) fn flow(&self, key: &PathKey) -> Option<PathFlow> {
        sys::lookup(self.flows.fd().as_fd(), key).ok().flatten()
    }

    /// Where the SYN with this sequence number passed.
    pub(crate) fn opening(&self, protocol: u8, client_isn: u32) -> Option<Opening> {
        let which = u64::from(protocol) << 32 | u64::from(client_isn);
        sys::lookup(self.openings.fd().as_fd(), &which).ok().flatten()
    }

    /// How many packets passed that may end a flow, since load.
    pub(crate) fn ends(&self) -> Result<u64, LoadError> {
        let per_cpu = self.counters.get(&PATH_ENDS, 0).map_err(map_error(names::PATH_COUNTERS))?;
        Ok(per_cpu.iter().sum())
    }
}

/// Says in `features` how the interfaces are doing.
pub(super) fn tell(features: &mut [FeatureStatus], interfaces: &Interfaces) {
    if let Some(status) = features.iter_mut().find(|status| status.name == features::PATH) {
        status.state = interfaces.state();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_chosen_by_name() {
        let wanted = |globs: &[&str], name| {
            is_wanted(&globs.iter().map(ToString::to_string).collect::<Vec<_>>(), name)
        };
        assert!(wanted(&["eth*"], "eth0") && wanted(&["eth*"], "eth") && !wanted(&["eth*"], "veth0"));
        assert!(
            wanted(&["eth*", "veth*"], "veth1a2b") && wanted(&["*"], "cni0") && wanted(&["b?r*"], "b1r0")
        );
        assert!(!wanted(&["*"], "lo") && wanted(&["lo"], "lo") && wanted(&["l*"], "lo"), "lo must be named");
        assert!(!wanted(&["eth0"], "eth01") && !wanted(&[""], "eth0") && !wanted(&[], "eth0"));
        assert!(wanted(&["*-ext"], "a-b-ext") && !wanted(&["*-ext"], "a-ext-b"));
    }
}
