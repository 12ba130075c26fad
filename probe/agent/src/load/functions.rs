//! A program on functions of other programs and of libraries, put there as they are found.
//!
//! By a link of its own kind (`uprobe_multi`, Linux 6.6) where there is one: that asks for no more than the right to load
//! such programs, which a confined probe keeps. The older way, by a perf event, needs `CAP_SYS_ADMIN` on kernels since the
//! middle of 2025 and those that took that change over; a probe that gave it back is refused there, and counts that.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};

use super::attach::program;
use super::{LoadError, io_error};
use crate::elf::Elf;
use crate::libraries;
use crate::sys;

/// A function with the program on it; dropping it takes it off.
#[derive(Default)]
#[expect(dead_code, reason = "held, since dropping it detaches")]
pub(crate) struct Probed(Option<Link>);

#[expect(dead_code, reason = "held, as above")]
enum Link {
    Own(OwnedFd),
    Event(UProbeLink),
}

/// The program, ready to be put on functions.
pub(super) struct Functions {
    name: &'static str,
    /// None: by perf events.
    program: Option<OwnedFd>,
}

impl Functions {
    /// Loads the program and tries it.
    ///
    /// # Errors
    /// Both ways failed; what the kernel said to the second.
    pub(super) fn new(ebpf: &mut Ebpf, name: &'static str, object: &[u8]) -> Result<Functions, LoadError> {
        if let Ok(loaded) = load(ebpf, name, object) {
            let functions = Functions { name, program: Some(loaded) };
            if functions.try_it(ebpf).is_ok() {
                return Ok(functions);
            }
        }
        let own: &mut UProbe = program(ebpf, name)?;
        own.load().map_err(|source| LoadError::Program { name, source: Box::new(source) })?;
        let functions = Functions { name, program: None };
        functions.try_it(ebpf)?;
        Ok(functions)
    }

    /// Puts the program on the function that begins at `offset`; it is told `cookie` each time.
    ///
    /// # Errors
    /// The kernel refused.
    pub(super) fn probe(
        &self,
        ebpf: &mut Ebpf,
        file: &File,
        offset: u64,
        cookie: u64,
    ) -> Result<Probed, LoadError> {
        let path = libraries::path_of(file);
        if let Some(loaded) = &self.program {
            let path = CString::new(path).map_err(|error| io_error(self.name)(error.into()))?;
            let link = sys::link_function(loaded.as_fd(), &path, offset, cookie);
            return Ok(Probed(Some(Link::Own(link.map_err(io_error("probe a function"))?))));
        }
        let failed = |source| LoadError::Program { name: self.name, source: Box::new(source) };
        let own: &mut UProbe = program(ebpf, self.name)?;
        let location = UProbeAttachLocation::AbsoluteOffset(offset);
        let point = UProbeAttachPoint { location, cookie: Some(cookie) };
        let id = own.attach(point, path, UProbeScope::AllProcesses).map_err(failed)?;
        Ok(Probed(Some(Link::Event(own.take_link(id).map_err(failed)?))))
    }

    /// Puts the program for a moment on what runs first in our own file, which nobody is about to.
    fn try_it(&self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        let failed = io_error("probe our own executable");
        let own = File::open("/proc/self/exe").map_err(&failed)?;
        let entry = Elf::read(&own).and_then(|elf| elf.entry());
        let entry = entry.ok_or_else(|| failed(io::Error::other("libraries are probed on x86-64 only")))?;
        self.probe(ebpf, &own, entry, 0).map(drop)
    }
}

/// Loads the program for links of their own kind, with the maps that the others have; aya has no name for that.
fn load(ebpf: &Ebpf, name: &'static str, object: &[u8]) -> Result<OwnedFd, LoadError> {
    let failed = |error: &dyn std::fmt::Display| io_error(name)(io::Error::other(error.to_string()));
    let mut object = aya_obj::Object::parse(object).map_err(|error| failed(&error))?;
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let maps = std::mem::take(&mut object.maps);
    let known = maps.iter().filter_map(|(name, map)| {
        let fd: RawFd = descriptor(ebpf.map(name)?)?.as_raw_fd();
        Some((name.as_str(), fd, map))
    });
    object.relocate_maps(known, &sections).map_err(|error| failed(&error))?;
    object.relocate_calls(&sections).map_err(|error| failed(&error))?;
    let found = object.programs.get(name).and_then(|own| object.functions.get(&own.function_key()));
    let found = found.ok_or(LoadError::NotInObject(name))?;
    sys::load_for_functions(name, &object.license, &found.instructions).map_err(io_error(name))
}

/// The descriptor of a map of any kind that programs here have.
fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(map)
        | Map::PerCpuArray(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map)
        | Map::RingBuf(map)
        | Map::SkStorage(map) => Some(map.fd().as_fd()),
        _ => None,
    }
}
