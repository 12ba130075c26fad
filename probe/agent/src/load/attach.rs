//! Attaches a feature's programs: all of them, or none.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::Map;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, Iter, Program, ProgramError, SchedClassifier,
};
use aya::{Btf, Ebpf};

use super::functions::Functions;
use super::pins::Pins;
use super::{LoadError, io_error};
use crate::features::{Feature, Hook};
use crate::preflight::CgroupRoot;
use crate::sys;

/// What programs are attached to.
pub(super) struct Ground {
    btf: Btf,
    /// The root of all cgroups.
    cgroup: File,
    /// Where links are kept, if they shall outlive the process.
    pins: Option<Pins>,
    /// What the programs were loaded from.
    object: Cow<'static, [u8]>,
}

impl Ground {
    pub(super) fn new(
        btf: Btf,
        cgroups: &CgroupRoot,
        pins: Option<&Pins>,
        object: Cow<'static, [u8]>,
    ) -> Result<Ground, LoadError> {
        let cgroup = File::open(&cgroups.path).map_err(io_error(&cgroups.path.display().to_string()))?;
        Ok(Ground { btf, cgroup, pins: pins.cloned(), object })
    }

    /// A program that an earlier run left at its hook.
    fn adopt(&self, name: &'static str) -> Result<Option<Link>, LoadError> {
        let Some(path) = self.pins.as_ref().map(|pins| pins.path(name)).filter(|path| path.exists()) else {
            return Ok(None);
        };
        let link = PinnedLink::from_pin(path).map_err(|error| io_error(name)(io::Error::other(error)))?;
        Ok(Some(Link::Pinned(link)))
    }

    fn hold(&self, name: &'static str, link: FdLink) -> Result<Link, LoadError> {
        match &self.pins {
            Some(pins) => link
                .pin(pins.path(name))
                .map(Link::Pinned)
                .map_err(|error| io_error(name)(io::Error::other(error))),
            None => Ok(Link::Hook(link)),
        }
    }

    fn let_go(&self, name: &str) {
        if let Some(pins) = &self.pins {
            // Not there: it wasn't pinned yet.
            let _ = std::fs::remove_file(pins.path(name));
        }
    }
}

/// A program at its hook; dropping it takes it off.
enum Link {
    Hook(#[expect(dead_code, reason = "held, since dropping it detaches")] FdLink),
    /// As above, but the program stays where it is.
    Pinned(#[expect(dead_code, reason = "held like the others")] PinnedLink),
    Iterator(OwnedFd),
    /// Its probes come and go.
    Library(Functions),
    /// Ready for interfaces, which come and go.
    Interfaces,
}

/// The programs that are at work, by name.
#[derive(Default)]
pub(super) struct Attached {
    links: HashMap<&'static str, Link>,
}

impl Attached {
    /// Loads and attaches all programs of a feature; what was attached before one failed is taken off again.
    ///
    /// # Errors
    /// [`LoadError::Program`], [`LoadError::NotInObject`] or [`LoadError::Io`]: the first that failed.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        feature: &Feature,
        ground: &Ground,
    ) -> Result<(), LoadError> {
        let mut links = Vec::new();
        for (name, hook) in feature.programs {
            match attach(ebpf, name, *hook, ground) {
                Ok(link) => links.push((*name, link)),
                Err(error) => {
                    feature.programs.iter().for_each(|(name, _)| ground.let_go(name));
                    return Err(error);
                }
            }
        }
        self.links.extend(links);
        Ok(())
    }

    /// The program that is put on functions.
    pub(super) fn functions(&self, program: &str) -> Option<&Functions> {
        match self.links.get(program)? {
            Link::Library(functions) => Some(functions),
            _ => None,
        }
    }

    /// The link of an iterator that is at work.
    pub(super) fn iterator(&self, program: &str) -> Option<&OwnedFd> {
        match self.links.get(program)? {
            Link::Iterator(link) => Some(link),
            Link::Hook(_) | Link::Pinned(_) | Link::Library(_) | Link::Interfaces => None,
        }
    }
}

fn attach(ebpf: &mut Ebpf, name: &'static str, hook: Hook, ground: &Ground) -> Result<Link, LoadError> {
    if let Some(adopted) = ground.adopt(name)? {
        return Ok(adopted);
    }
    let failed = |source| LoadError::Program { name, source: Box::new(source) };
    match hook {
        Hook::Tracepoint(tracepoint) => {
            let program: &mut BtfTracePoint = program(ebpf, name)?;
            program.load(tracepoint, &ground.btf).map_err(failed)?;
            let id = program.attach().map_err(failed)?;
            ground.hold(name, program.take_link(id).map_err(failed)?.into())
        }
        Hook::Packets(direction) => {
            let program: &mut CgroupSkb = program(ebpf, name)?;
            program.load().map_err(failed)?;
            // Links always share a cgroup with others; the kernel refuses to be told so.
            let id = program.attach(&ground.cgroup, direction, CgroupAttachMode::Single).map_err(failed)?;
            let link = program.take_link(id).map_err(failed)?;
            ground.hold(
                name,
                FdLink::try_from(link).map_err(|source| io_error(name)(io::Error::other(source)))?,
            )
        }
        Hook::Iterator { target, over } => {
            let map = over.map(|map| map_of(ebpf, map)).transpose()?;
            let program: &mut Iter = program(ebpf, name)?;
            program.load(target, &ground.btf).map_err(failed)?;
            let fd = program.fd().map_err(failed)?;
            let link =
                sys::link_iterator(fd.as_fd(), map.as_ref().map(AsFd::as_fd)).map_err(io_error(name))?;
            Ok(Link::Iterator(link))
        }
        Hook::Interfaces => {
            let program: &mut SchedClassifier = program(ebpf, name)?;
            program.load().map_err(failed)?;
            Ok(Link::Interfaces)
        }
        Hook::Library => Ok(Link::Library(Functions::new(ebpf, name, &ground.object)?)),
    }
}

/// An own descriptor of the map: the object can't be lent while its program is.
pub(super) fn map_of(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, LoadError> {
    match ebpf.map(name) {
        Some(Map::HashMap(map) | Map::SkStorage(map)) => {
            map.fd().as_fd().try_clone_to_owned().map_err(io_error(name))
        }
        _ => Err(LoadError::NotInObject(name)),
    }
}

pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(LoadError::NotInObject(name))?;
    program.try_into().map_err(|source| LoadError::Program { name, source: Box::new(source) })
}
