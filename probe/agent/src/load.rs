//! Loads the kernel programs into the running kernel and attaches them; dropping [`Kernel`] detaches them, except where
//! they were pinned to outlive the process.
//!
//! | file          | subject                                        |
//! |---------------|------------------------------------------------|
//! | `attach.rs`   | one feature's programs: load, attach, or undo     |
//! | `functions.rs` | functions of programs and libraries, probed as they are found |
//! | `interfaces.rs` | programs at chosen interfaces, and what they count |
//! | `offsets.rs`  | where the kernel's fields lie, and which lack     |
//! | `pins.rs`     | programs and maps that outlive the process        |

mod attach;
mod functions;
mod interfaces;
mod offsets;
pub(crate) mod pins;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use aya::maps::{Array, HashMap, IterableMap as _, Map, MapData, PerCpuArray};
use aya::programs::ProgramError;
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use tracing::{debug, warn};
use weir_abi::{ABI_VERSION, DropKey, Dropped, GoLayout, Lost, Sweep, UdpFlow, UdpKey, names};

use crate::btf::BtfError;
use crate::config::{Config, Level};
use crate::features::{self, FEATURES, FeatureState, FeatureStatus};
use crate::preflight::{CgroupRoot, Missing};
use crate::reasons::Reasons;
use crate::sys::{self, Flow, GoValue, Key, Ring, SweepValue};
use attach::{Attached, Ground};
pub(crate) use functions::Probed;
pub(crate) use interfaces::{Interfaces, PathMaps};
use offsets::Offsets;
use pins::Pins;

pub use offsets::kernel_offsets;

/// The committed object: a plain `cargo build` needs no BPF toolchain.
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/weir.bpf.o");

/// Where the kernel describes its own types.
pub(crate) const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Why the programs are not at work.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// This machine lacks something; `weir up` goes on without the probe and says what.
    #[error("{0}")]
    Missing(#[from] Missing),
    /// A field that the programs read is not in this kernel.
    #[error("kernel types in {path}")]
    Types {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: BtfError,
    },
    /// The kernel refused the object or a map.
    #[error("load the kernel programs")]
    Object(#[source] Box<aya::EbpfError>),
    /// The kernel's verifier refused a program, or it could not be attached.
    #[error("kernel program {name}")]
    Program {
        /// Which.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map or program is not in the object.
    #[error("the kernel object has no {0}: rebuild it with probe/bpf/build.sh")]
    NotInObject(&'static str),
    /// A map could not be used.
    #[error("kernel map {name}")]
    Map {
        /// Which.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// A file or call of the kernel failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What is loaded, and how large the kernel's side may be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Bytes of the ring buffer, a power of two.
    pub(crate) ring_bytes: u32,
    /// UDP flows at once.
    pub(crate) udp_flows: u32,
    /// TCP connections at once.
    pub(crate) connections: u32,
    /// Different dropped packets between two looks.
    pub(crate) drop_entries: u32,
    /// Which features.
    pub(crate) level: Level,
    /// Whether TLS libraries are probed.
    pub(crate) library_probes: bool,
    /// Which interfaces are looked at, from level `packets` on.
    pub(crate) interfaces: Vec<String>,
    /// Flows there at once.
    pub(crate) path_flows: u32,
    /// Programs to load instead of the built-in ones.
    pub(crate) object: Option<PathBuf>,
    /// Kernel types, where the kernel has them elsewhere.
    pub(crate) kernel_types: PathBuf,
}

impl Wanted {
    /// As configured.
    pub(crate) fn of(config: &Config) -> Wanted {
        Wanted {
            ring_bytes: config.ring_bytes,
            udp_flows: config.udp_flows,
            connections: config.connections,
            drop_entries: config.drop_entries,
            level: config.level,
            library_probes: config.library_probes,
            interfaces: config.interfaces.clone(),
            path_flows: config.path_flows,
            object: config.object.clone(),
            kernel_types: config.kernel_types.clone(),
        }
    }

    fn object(&self) -> io::Result<Cow<'static, [u8]>> {
        self.object.as_ref().map_or(Ok(Cow::Borrowed(OBJECT)), |path| Ok(std::fs::read(path)?.into()))
    }
}

/// What an iterator writes while it runs, piece by piece: memory doesn't grow with the connections there are.
pub(crate) struct Pieces {
    file: Option<File>,
}

impl Pieces {
    /// The kernel gathers whole records in eight of its pages, and starts again when they are read.
    const MOST: usize = 64 << 10;

    /// Reads the next piece, which is whole records; `false` at the end.
    pub(crate) fn next(&mut self, into: &mut Vec<u8>) -> Result<bool, LoadError> {
        let Some(file) = &mut self.file else { return Ok(false) };
        into.resize(Pieces::MOST, 0);
        loop {
            match file.read(into) {
                Ok(length) => {
                    into.truncate(length);
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error("read a socket iterator")(error)),
            }
        }
    }
}

/// The names of the maps in [`Holders`].
pub(crate) const HOLDERS: [&str; 3] = [names::CONNS, names::LISTENERS, names::UDP];

/// The maps that say who holds a socket.
pub(crate) struct Holders {
    /// `WEIR_CONNS`.
    pub(crate) conns: OwnedFd,
    /// `WEIR_LISTENERS`.
    pub(crate) listeners: OwnedFd,
    /// `WEIR_UDP`.
    pub(crate) udp: OwnedFd,
    /// Where they are pinned, in this order, if they are.
    pub(crate) pinned: Option<[PathBuf; HOLDERS.len()]>,
}

/// The programs at work, and their maps.
pub(crate) struct Kernel {
    /// Ring of records.
    pub(crate) events: Ring,
    /// What works and what doesn't.
    pub(crate) features: Vec<FeatureStatus>,
    /// Why packets are dropped.
    pub(crate) reasons: Reasons,
    udp: HashMap<MapData, Key, Flow>,
    drops: MapData,
    dropped: PerCpuArray<MapData, u64>,
    lost: PerCpuArray<MapData, u64>,
    opened: PerCpuArray<MapData, u64>,
    begun: PerCpuArray<MapData, u64>,
    go: HashMap<MapData, u32, GoValue>,
    sweep: Array<MapData, SweepValue>,
    attached: Attached,
    /// What passes chosen interfaces; none below the level `packets`, or where the kernel refused the programs.
    pub(crate) path: Option<PathMaps>,
    interfaces: Option<Interfaces>,
    /// Holds the programs and their links; dropping it detaches them.
    ebpf: Ebpf,
}

impl Kernel {
    /// Loads and attaches every feature of the level that this kernel can have. With `pins`, what is at work there is
    /// gone on with, and all of it outlives this process.
    ///
    /// # Errors
    /// Where the kernel refuses the maps, or what there is no probe without.
    pub(crate) fn load(
        wanted: &Wanted,
        cgroups: &CgroupRoot,
        pins: Option<&Pins>,
    ) -> Result<Kernel, LoadError> {
        let loaded = Kernel::try_load(wanted, cgroups, pins);
        if let (Err(_), Some(pins)) = (&loaded, pins)
            && let Err(error) = pins.take_off()
        {
            warn!(%error, "what was pinned can't be removed");
        }
        loaded
    }

    fn try_load(wanted: &Wanted, cgroups: &CgroupRoot, pins: Option<&Pins>) -> Result<Kernel, LoadError> {
        let offsets = Offsets::of_kernel(&wanted.kernel_types)?;
        let mut ebpf = load_object(wanted, &offsets, pins)?;
        let btf = Btf::parse_file(&wanted.kernel_types, aya::Endianness::default())
            .map_err(|error| LoadError::Object(Box::new(error.into())))?;
        if let Some(pins) = pins {
            // As late as can be: from here until ours are attached nobody looks.
            pins.take_others_off().map_err(io_error("take other kernel programs of ours off"))?;
        }
        let object = wanted.object().map_err(io_error("read the kernel programs"))?;
        let ground = Ground::new(btf, cgroups, pins, object)?;
        let mut attached = Attached::default();
        let mut features = Vec::new();
        for feature in FEATURES {
            let state = if feature.level > wanted.level {
                FeatureState::NotAsked
            } else if feature.name == features::LIBRARIES && !wanted.library_probes {
                FeatureState::SwitchedOff
            } else {
                let result = offsets
                    .check(feature, &wanted.kernel_types)
                    .and_then(|()| attached.attach(&mut ebpf, feature, &ground));
                match result {
                    Ok(()) => FeatureState::On,
                    Err(error) if feature.needed => return Err(error),
                    Err(error) => {
                        debug!(feature = feature.name, ?error, "a feature is off");
                        FeatureState::Off { reason: one_line(error), without: feature.without }
                    }
                }
            };
            features.push(FeatureStatus { name: feature.name, state });
        }
        let mut interfaces = None;
        if features.iter().any(|status| status.name == features::PATH && status.is_on()) {
            let found = Interfaces::new(&wanted.interfaces, pins).map_err(io_error("look for interfaces"));
            match found.and_then(|mut found| found.follow(&mut ebpf).map(|_| found)) {
                Ok(found) => interfaces = Some(found),
                Err(error) => features::switch_off(&mut features, features::PATH, one_line(error)),
            }
        }
        if let Some(found) = &interfaces {
            interfaces::tell(&mut features, found);
        }
        Ok(Kernel {
            path: interfaces.is_some().then(|| PathMaps::take(&mut ebpf)).transpose()?,
            interfaces,
            events: ring(&ebpf, wanted.ring_bytes)?,
            udp: take(&mut ebpf, names::UDP, HashMap::try_from)?,
            drops: take(&mut ebpf, names::DROPS, hash)?,
            dropped: take(&mut ebpf, names::DROPPED, PerCpuArray::try_from)?,
            reasons: offsets.reasons,
            lost: take(&mut ebpf, names::LOST, PerCpuArray::try_from)?,
            opened: take(&mut ebpf, names::OPENED, PerCpuArray::try_from)?,
            begun: take(&mut ebpf, names::BEGUN, PerCpuArray::try_from)?,
            go: take(&mut ebpf, names::GO, HashMap::try_from)?,
            sweep: take(&mut ebpf, names::SWEEP, Array::try_from)?,
            features,
            attached,
            ebpf,
        })
    }

    /// Runs the iterator over all connections.
    pub(crate) fn sweep(&mut self, sweep: Sweep) -> Result<Pieces, LoadError> {
        self.sweep.set(0, SweepValue(sweep), 0).map_err(map_error(names::SWEEP))?;
        self.iterate(features::SWEEP)
    }

    /// Picks up sockets that are older than the programs. None where the feature is off.
    pub(crate) fn backfill(&self) -> Result<Pieces, LoadError> {
        self.iterate(features::BACKFILL)
    }

    /// The turns whose answer has fallen silent: `FirstExchange`s. None where the feature is off.
    pub(crate) fn silent(&self) -> Result<Pieces, LoadError> {
        self.iterate(features::SILENT)
    }

    /// Puts the program that reads certificates on a function of a file; it is told `cookie` each time.
    pub(crate) fn probe_function(
        &mut self,
        file: &File,
        offset: u64,
        cookie: u64,
    ) -> Result<Probed, LoadError> {
        let functions = self.attached.functions(features::CERTIFICATE);
        let functions = functions.ok_or(LoadError::NotInObject(features::CERTIFICATE))?;
        functions.probe(&mut self.ebpf, file, offset, cookie)
    }

    /// Puts the programs on interfaces that have come.
    pub(crate) fn follow_interfaces(&mut self) -> Result<(), LoadError> {
        if let Some(interfaces) = &mut self.interfaces
            && interfaces.follow(&mut self.ebpf)?
        {
            interfaces::tell(&mut self.features, interfaces);
        }
        Ok(())
    }

    /// The interfaces that are looked at.
    pub(crate) fn interfaces(&self) -> Option<&Interfaces> {
        self.interfaces.as_ref()
    }

    /// How many exchanges were begun since load.
    pub(crate) fn begun(&self) -> Result<u64, LoadError> {
        let per_cpu = self.begun.get(&0, 0).map_err(map_error(names::BEGUN))?;
        Ok(per_cpu.iter().sum())
    }

    /// Whether a piece works.
    pub(crate) fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|status| status.name == feature && status.is_on())
    }

    /// Says that a process is Go's. Where the map is full it goes on as any other.
    pub(crate) fn go_began(&mut self, pid: u32, layout: GoLayout) {
        let _ = self.go.insert(pid, GoValue(layout), 0);
    }

    /// Says that a process of Go's is gone; it may be forgotten already.
    pub(crate) fn go_ended(&mut self, pid: u32) {
        let _ = self.go.remove(&pid);
    }

    fn iterate(&self, program: &'static str) -> Result<Pieces, LoadError> {
        let link = self.attached.iterator(program);
        let file = link.map(sys::open_iterator).transpose().map_err(io_error("run a socket iterator"))?;
        Ok(Pieces { file })
    }

    /// The maps that say who holds a socket, for captures.
    pub(crate) fn holders(&self, pins: Option<&Pins>) -> Result<Holders, LoadError> {
        let conns = attach::map_of(&self.ebpf, names::CONNS)?;
        let listeners = attach::map_of(&self.ebpf, names::LISTENERS)?;
        let udp = self.udp.map().fd().as_fd().try_clone_to_owned().map_err(io_error(names::UDP))?;
        let pinned = pins.map(|pins| HOLDERS.map(|name| pins.path(name)));
        Ok(Holders { conns, listeners, udp, pinned })
    }

    /// How many connections were opened since load.
    pub(crate) fn opened(&self) -> Result<u64, LoadError> {
        let per_cpu = self.opened.get(&0, 0).map_err(map_error(names::OPENED))?;
        Ok(per_cpu.iter().sum())
    }

    /// What was lost since load, by [`Lost`].
    pub(crate) fn lost(&self) -> Result<[u64; Lost::COUNT], LoadError> {
        let mut lost = [0; Lost::COUNT];
        for (index, sum) in lost.iter_mut().enumerate() {
            *sum = self.lost.get(&(index as u32), 0).map_err(map_error(names::LOST))?.iter().sum();
        }
        Ok(lost)
    }

    /// How many dropped packets were counted since load.
    pub(crate) fn dropped(&self) -> Result<u64, LoadError> {
        let per_cpu = self.dropped.get(&0, 0).map_err(map_error(names::DROPPED))?;
        Ok(per_cpu.iter().sum())
    }

    /// Takes out what was counted of dropped packets. A packet that is counted in an entry while it's taken out may be
    /// missing: the kernel locks lists of entries, not entries.
    pub(crate) fn take_drops(&self) -> Result<Vec<(DropKey, Dropped)>, LoadError> {
        sys::take_all(self.drops.fd().as_fd()).map_err(io_error("take dropped packets out of their map"))
    }

    /// One UDP flow's numbers.
    pub(crate) fn udp(&self, key: UdpKey) -> Option<UdpFlow> {
        self.udp.get(&Key(key), 0).ok().map(|flow| flow.0)
    }

    /// All UDP flows that the kernel counts.
    pub(crate) fn udp_keys(&self) -> Vec<UdpKey> {
        self.udp.keys().filter_map(Result::ok).map(|key| key.0).collect()
    }

    /// Ends a UDP flow: its last numbers, removed from the kernel.
    pub(crate) fn udp_take(&self, key: UdpKey) -> Result<Option<UdpFlow>, LoadError> {
        sys::take(self.udp.map().fd().as_fd(), &key).map_err(io_error("remove an idle UDP flow"))
    }
}

fn load_object(wanted: &Wanted, offsets: &Offsets, pins: Option<&Pins>) -> Result<Ebpf, LoadError> {
    let object = wanted.object().map_err(io_error("read the kernel programs"))?;
    let exchanges = u32::from(wanted.level >= Level::Exchanges);
    let libraries = u32::from(wanted.library_probes);
    let no_loss = offsets.reasons.no_loss();
    let mut loader = EbpfLoader::new();
    loader
        .override_global(names::OFFSETS, &offsets.values[..], true)
        .override_global(names::NO_LOSS, &no_loss[..], true)
        .override_global(names::KFREE_ARGUMENTS, &offsets.kfree_arguments, true)
        .override_global(names::ABI, &ABI_VERSION, true)
        .override_global(names::EXCHANGES, &exchanges, true)
        .override_global(names::LIBRARIES, &libraries, true)
        .map_max_entries(names::EVENTS, wanted.ring_bytes)
        .map_max_entries(names::UDP, wanted.udp_flows)
        .map_max_entries(names::CONNS, wanted.connections)
        .map_max_entries(names::TURNS, if exchanges == 0 { 1 } else { wanted.connections })
        .map_max_entries(names::DROPS, wanted.drop_entries);
    let has_path = wanted.level >= Level::Packets;
    for (map, entries) in [
        (names::PATH, wanted.path_flows),
        (names::PATH_PAST, wanted.path_flows.div_ceil(4)),
        (names::PATH_OPENINGS, wanted.path_flows.div_ceil(8)),
        (names::PATH_PIECES, wanted.path_flows.div_ceil(32)),
    ] {
        loader.map_max_entries(map, if has_path { entries } else { 1 });
    }
    let maps = match pins {
        Some(_) => map_names(&object)?,
        None => Vec::new(),
    };
    if let Some(pins) = pins {
        for name in &maps {
            loader.map_pin_path(name, pins.path(name));
        }
    }
    loader.load(&object).map_err(|error| LoadError::Object(Box::new(error)))
}

/// The maps that programs share; not the constants, which each load has for itself.
fn map_names(object: &[u8]) -> Result<Vec<String>, LoadError> {
    let object = aya_obj::Object::parse(object).map_err(|error| LoadError::Object(Box::new(error.into())))?;
    Ok(object.maps.into_keys().filter(|name| name.starts_with("WEIR_")).collect())
}

fn ring(ebpf: &Ebpf, bytes: u32) -> Result<Ring, LoadError> {
    let Some(Map::RingBuf(map)) = ebpf.map(names::EVENTS) else {
        return Err(LoadError::NotInObject(names::EVENTS));
    };
    Ring::new(map.fd().as_fd(), bytes).map_err(io_error(names::EVENTS))
}

pub(crate) fn take<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    typed: impl FnOnce(Map) -> Result<T, aya::maps::MapError>,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::NotInObject(name))?;
    typed(map).map_err(map_error(name))
}

fn hash(map: Map) -> Result<MapData, aya::maps::MapError> {
    match map {
        Map::HashMap(data) | Map::LruHashMap(data) => Ok(data),
        _ => Err(aya::maps::MapError::InvalidMapType { map_type: 0 }),
    }
}

/// An error with its causes, without the verifier's pages of log.
pub(crate) fn one_line(error: LoadError) -> String {
    let text = format!("{:#}", anyhow::Error::from(error));
    text.lines().next().unwrap_or_default().to_owned()
}

pub(crate) fn map_error(name: &'static str) -> impl Fn(aya::maps::MapError) -> LoadError {
    move |source| LoadError::Map { name, source: Box::new(source) }
}

pub(crate) fn io_error(what: &str) -> impl Fn(io::Error) -> LoadError + use<> {
    let what = what.to_owned();
    move |source| LoadError::Io { what: what.clone(), source }
}
