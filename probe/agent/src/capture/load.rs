//! Loads and attaches the capture programs; dropping [`Loaded`] takes them out and leaves nothing behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use tracing::warn;
use weir_abi::capture::{COUNT_MATCHED, COUNT_RING_FULL, COUNT_UNREADABLE, names};
use weir_abi::{FIELD_NAMES, Field};
use weir_wire::control::Report;

use super::program::Program;
use crate::btf::Types;
use crate::load::{HOLDERS, Holders, LoadError, io_error, map_error, take};
use crate::preflight::CgroupRoot;
use crate::sys;

/// The committed object.
static OBJECT: &[u8] = include_bytes_aligned!("../../../bpf/capture.bpf.o");

/// Bytes of the ring between kernel and probe: some 40,000 packets' headers.
const RING_BYTES: u32 = 8 << 20;

const HOOKS: [(&str, CgroupSkbAttachType); 2] =
    [("weir_capture_out", CgroupSkbAttachType::Egress), ("weir_capture_in", CgroupSkbAttachType::Ingress)];

/// The programs at work.
pub(super) struct Loaded {
    /// Ring of packets.
    pub(super) packets: RingBuf<MapData>,
    counts: PerCpuArray<MapData, u64>,
    /// Holds the programs and their links; none after [`Loaded::detach`].
    ebpf: Option<Ebpf>,
}

impl Loaded {
    /// Loads and attaches them at the root of all cgroups.
    ///
    /// # Errors
    /// Where the kernel refuses something; then nothing stays attached.
    pub(super) fn load(
        program: &Program,
        payload: u32,
        kernel_types: &Path,
        maps: &Maps,
        cgroups: &CgroupRoot,
    ) -> Result<Loaded, LoadError> {
        let netns = netns_offsets(kernel_types)?;
        let terms = sys::Terms(program.terms);
        let own_pid = std::process::id();
        let mut loader = EbpfLoader::new();
        loader
            .override_global(names::TERMS, &terms, true)
            .override_global(names::WANTS, &program.wants, true)
            .override_global(names::PAYLOAD, &payload, true)
            .override_global(names::SELF, &own_pid, true)
            .override_global(names::NETNS, &netns[..], true)
            .map_max_entries(names::PACKETS, RING_BYTES);
        if let Some(paths) = maps.found() {
            for (name, path) in HOLDERS.iter().zip(paths) {
                loader.map_pin_path(name, path);
            }
        } else if program.needs_holders {
            let what = "share the probe's maps, which a filter by process, client or server needs";
            let source = io::Error::other("there is no BPF file system, and none could be mounted");
            return Err(LoadError::Io { what: what.to_owned(), source });
        }
        let mut ebpf = loader.load(OBJECT).map_err(|error| LoadError::Object(Box::new(error)))?;
        let packets = take(&mut ebpf, names::PACKETS, RingBuf::try_from)?;
        let counts = take(&mut ebpf, names::COUNTS, PerCpuArray::try_from)?;
        let cgroup = File::open(&cgroups.path).map_err(io_error(&cgroups.path.display().to_string()))?;
        for (name, direction) in HOOKS {
            let failed = |source| LoadError::Program { name, source: Box::new(source) };
            let program = ebpf.program_mut(name).ok_or(LoadError::NotInObject(name))?;
            let program: &mut CgroupSkb = program.try_into().map_err(failed)?;
            program.load().map_err(failed)?;
            // Links always share a cgroup with others; the kernel refuses to be told so.
            program.attach(&cgroup, direction, CgroupAttachMode::Single).map_err(failed)?;
        }
        Ok(Loaded { packets, counts, ebpf: Some(ebpf) })
    }

    /// Takes the programs out; what they left in the ring can still be read.
    pub(super) fn detach(&mut self) {
        self.ebpf = None;
    }

    /// A report with the counts so far.
    ///
    /// # Errors
    /// When the kernel doesn't give them.
    pub(super) fn counted(&self, report: Report) -> Result<Report, LoadError> {
        let sum = |index| {
            let per_cpu = self.counts.get(&index, 0).map_err(map_error(names::COUNTS))?;
            Ok::<u64, LoadError>(per_cpu.iter().sum())
        };
        Ok(Report {
            matched: sum(COUNT_MATCHED)?,
            dropped: sum(COUNT_RING_FULL)?,
            unreadable: sum(COUNT_UNREADABLE)?,
            ..report
        })
    }
}

fn netns_offsets(kernel_types: &Path) -> Result<[u32; 2], LoadError> {
    let shown = kernel_types.display().to_string();
    let bytes = std::fs::read(kernel_types).map_err(io_error(&shown))?;
    let failed = |source| LoadError::Types { path: shown.clone(), source };
    let types = Types::read(&bytes).map_err(failed)?;
    let offset = |field: Field| types.offset(FIELD_NAMES[field as usize]).map_err(failed);
    Ok([offset(Field::Net)?, offset(Field::NetInode)?])
}

/// Paths where another object's loader finds the probe's maps: where the probe has pinned them, or in a file system that
/// nobody else sees, and that ends with this value.
pub(super) struct Maps {
    paths: Option<[PathBuf; HOLDERS.len()]>,
    _mount: Option<OwnedFd>,
}

impl Maps {
    /// Where they are, or puts them somewhere; to be done at the start, while a mount can be made.
    pub(super) fn of(holders: &Holders) -> Maps {
        if let Some(pinned) = &holders.pinned {
            return Maps { paths: Some(pinned.clone()), _mount: None };
        }
        match pin(holders) {
            Ok((paths, mount)) => Maps { paths: Some(paths), _mount: Some(mount) },
            Err(error) => {
                warn!(%error, "captured packets will lack their process");
                Maps { paths: None, _mount: None }
            }
        }
    }

    /// The paths, if something is there: pins of the probe's can be taken off by somebody else.
    fn found(&self) -> Option<&[PathBuf; HOLDERS.len()]> {
        self.paths.as_ref().filter(|paths| paths.iter().all(|path| path.exists()))
    }
}

fn pin(holders: &Holders) -> io::Result<([PathBuf; HOLDERS.len()], OwnedFd)> {
    let mount = sys::mount_bpf()?;
    let path = |name| PathBuf::from(format!("/proc/self/fd/{}/{name}", mount.as_raw_fd()));
    let paths = HOLDERS.map(path);
    for (path, map) in paths.iter().zip([&holders.conns, &holders.listeners, &holders.udp]) {
        let map = MapData::from_fd(map.as_fd().try_clone_to_owned()?).map_err(io::Error::other)?;
        map.pin(path).map_err(io::Error::other)?;
    }
    Ok((paths, mount))
}
