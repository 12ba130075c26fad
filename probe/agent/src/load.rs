//! Loads the kernel programs into the running kernel and attaches them; dropping [`Kernel`] detaches them and
//! leaves nothing behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Array, HashMap, IterableMap as _, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, Iter, Program, ProgramError,
};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use weir_abi::{ABI_VERSION, FIELD_NAMES, Field, Lost, Sweep, UdpFlow, UdpKey, names};

use crate::btf::{BtfError, Types};
use crate::preflight::{CgroupRoot, Missing};
use crate::sys::{self, Flow, Key, SweepValue};

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
    #[error("kernel types in {KERNEL_TYPES}")]
    Types(#[from] BtfError),
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

/// How large the kernel's side may be.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of the ring buffer, a power of two.
    pub ring_bytes: u32,
    /// UDP flows at once.
    pub udp_flows: u32,
}

/// The programs at work, and their maps.
pub(crate) struct Kernel {
    /// Ring of records.
    pub(crate) events: RingBuf<MapData>,
    udp: HashMap<MapData, Key, Flow>,
    lost: PerCpuArray<MapData, u64>,
    opened: PerCpuArray<MapData, u64>,
    sweep: Array<MapData, SweepValue>,
    sweep_link: OwnedFd,
    backfill_link: OwnedFd,
    /// Holds the programs and their links; dropping it detaches them.
    _ebpf: Ebpf,
}

impl Kernel {
    /// Loads and attaches everything.
    pub(crate) fn load(sizes: Sizes, cgroups: &CgroupRoot) -> Result<Kernel, LoadError> {
        let offsets = kernel_offsets()?;
        let mut ebpf = EbpfLoader::new()
            .override_global(names::OFFSETS, &offsets[..], true)
            .override_global(names::ABI, &ABI_VERSION, true)
            .map_max_entries(names::EVENTS, sizes.ring_bytes)
            .map_max_entries(names::UDP, sizes.udp_flows)
            .load(OBJECT)
            .map_err(|error| LoadError::Object(Box::new(error)))?;
        let btf = Btf::from_sys_fs().map_err(|error| LoadError::Object(Box::new(error.into())))?;
        let Some(Map::SkStorage(conns)) = ebpf.take_map(names::CONNS) else {
            return Err(LoadError::NotInObject(names::CONNS));
        };
        let sweep_link = link_iterator(&mut ebpf, "weir_sweep", "bpf_sk_storage_map", &btf, Some(&conns))?;
        let backfill_link = link_iterator(&mut ebpf, "weir_backfill", "task_file", &btf, None)?;
        let kernel = Kernel {
            events: take(&mut ebpf, names::EVENTS, RingBuf::try_from)?,
            udp: take(&mut ebpf, names::UDP, HashMap::try_from)?,
            lost: take(&mut ebpf, names::LOST, PerCpuArray::try_from)?,
            opened: take(&mut ebpf, names::OPENED, PerCpuArray::try_from)?,
            sweep: take(&mut ebpf, names::SWEEP, Array::try_from)?,
            sweep_link,
            backfill_link,
            _ebpf: attach(ebpf, &btf, cgroups)?,
        };
        Ok(kernel)
    }

    /// Runs the iterator over all connections; the bytes are `ConnRecord`s.
    pub(crate) fn sweep(&mut self, sweep: Sweep, into: &mut Vec<u8>) -> Result<(), LoadError> {
        self.sweep.set(0, SweepValue(sweep), 0).map_err(map_error(names::SWEEP))?;
        read_all(&self.sweep_link, into)
    }

    /// Picks up sockets that are older than the programs; the bytes are `ConnRecord`s.
    pub(crate) fn backfill(&self, into: &mut Vec<u8>) -> Result<(), LoadError> {
        read_all(&self.backfill_link, into)
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

fn kernel_offsets() -> Result<[u32; Field::COUNT], LoadError> {
    let bytes = std::fs::read(KERNEL_TYPES).map_err(io_error(KERNEL_TYPES))?;
    let types = Types::read(&bytes)?;
    let mut offsets = [0; Field::COUNT];
    for (offset, path) in offsets.iter_mut().zip(FIELD_NAMES) {
        *offset = types.offset(path)?;
    }
    Ok(offsets)
}

fn attach(mut ebpf: Ebpf, btf: &Btf, cgroups: &CgroupRoot) -> Result<Ebpf, LoadError> {
    let cgroup = File::open(&cgroups.path).map_err(io_error(&cgroups.path.display().to_string()))?;
    // The state hook first: the packet hooks only look at sockets that it knows.
    let name = "weir_tcp_state";
    let program: &mut BtfTracePoint = program(&mut ebpf, name)?;
    program.load("inet_sock_set_state", btf).map_err(program_error(name))?;
    program.attach().map_err(program_error(name))?;
    for (name, direction) in
        [("weir_packet_out", CgroupSkbAttachType::Egress), ("weir_packet_in", CgroupSkbAttachType::Ingress)]
    {
        let program: &mut CgroupSkb = self::program(&mut ebpf, name)?;
        program.load().map_err(program_error(name))?;
        // Links always share a cgroup with others; the kernel refuses to be told so.
        program.attach(&cgroup, direction, CgroupAttachMode::Single).map_err(program_error(name))?;
    }
    Ok(ebpf)
}

fn link_iterator(
    ebpf: &mut Ebpf,
    name: &'static str,
    target: &str,
    btf: &Btf,
    map: Option<&MapData>,
) -> Result<OwnedFd, LoadError> {
    let program: &mut Iter = program(ebpf, name)?;
    program.load(target, btf).map_err(program_error(name))?;
    let fd = program.fd().map_err(program_error(name))?;
    sys::link_iterator(fd.as_fd(), map.map(|map| map.fd().as_fd())).map_err(io_error(name))
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    ebpf.program_mut(name).ok_or(LoadError::NotInObject(name))?.try_into().map_err(program_error(name))
}

fn take<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    typed: impl FnOnce(Map) -> Result<T, aya::maps::MapError>,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::NotInObject(name))?;
    typed(map).map_err(map_error(name))
}

fn read_all(link: &OwnedFd, into: &mut Vec<u8>) -> Result<(), LoadError> {
    into.clear();
    let mut file = sys::open_iterator(link).map_err(io_error("run a socket iterator"))?;
    // The kernel writes whole records into its own buffer of a few pages; ours grows with the connections there are.
    file.read_to_end(into).map_err(io_error("read a socket iterator"))?;
    Ok(())
}

fn program_error(name: &'static str) -> impl Fn(ProgramError) -> LoadError {
    move |source| LoadError::Program { name, source: Box::new(source) }
}

fn map_error(name: &'static str) -> impl Fn(aya::maps::MapError) -> LoadError {
    move |source| LoadError::Map { name, source: Box::new(source) }
}

fn io_error(what: &str) -> impl Fn(io::Error) -> LoadError + use<> {
    let what = what.to_owned();
    move |source| LoadError::Io { what: what.clone(), source }
}
