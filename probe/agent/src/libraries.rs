//! TLS libraries: which files have functions that read certificates, and probes on those functions as long as somebody
//! uses the file. In TLS 1.3 nothing else shows a certificate.
//!
//! A file is found where it is used, in whatever container: a process's executable (libraries that are linked in, Go), the
//! libraries that it has in memory, and those in the usual directories of its mount namespace, so that a short-lived
//! program's are probed before it runs. A probe belongs to the file, not to a process: one serves all that use it.
//!
//! | who          | function                                          |
//! |--------------|----------------------------------------------------|
//! | OpenSSL      | `d2i_X509`                                         |
//! | `GnuTLS`     | `gnutls_x509_crt_import`                           |
//! | `BoringSSL`  | `CRYPTO_BUFFER_new_from_CBS`                       |
//! | Go           | `verifyServerCertificate`, `processCertsFromClient` |
//! | rustls       | webpki's `Cert`, in programs with symbols          |
//!
//! Never here: what a certificate says, or whose it is. Only on x86-64, whose registers the kernel's program knows.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use tracing::debug;
use weir_abi::{
    CALL_DATUM, CALL_GO_BEGINS, CALL_GO_SLICES, CALL_GO_STRUCT, CALL_POINTER, CALL_SLICE, CALL_SPAN,
    cookie_of,
};

use crate::census::{Change, FileId};
use crate::elf::{Elf, Name, pclntab};
use crate::golang;
use crate::load::{Kernel, LoadError, Probed};

/// Probes at once; each is a descriptor.
pub(crate) const MAX_PROBES: usize = 384;
/// Files that are remembered.
const MAX_FILES: usize = 8_192;
/// How long processes are looked at in one turn, once a second; the others wait for the next.
const TURN: Duration = Duration::from_millis(20);
/// Processes that wait.
const MAX_WAITING: usize = 4_096;
/// Bytes of a process's list of mappings that are read.
const MAX_MAPS: u64 = 4 << 20;
/// Entries of a directory that are looked at.
const MAX_ENTRIES: usize = 8_192;

/// C's calling convention, by the file's own symbols.
const FUNCTIONS: [(Name, u64); 5] = [
    (Name::Whole("d2i_X509"), CALL_POINTER),
    (Name::Whole("gnutls_x509_crt_import"), CALL_DATUM),
    (Name::Whole("CRYPTO_BUFFER_new_from_CBS"), CALL_SPAN),
    // Rust's names end in a number of the build. The compiler may have put the one into the other.
    (Name::Beginning("_ZN6webpki4cert4Cert8from_der17h"), CALL_SLICE),
    (Name::Beginning("_ZN6webpki4cert4Cert10from_input17h"), CALL_SLICE),
];
/// Go's, since 1.18. What begins a handshake tells whose goroutine is at it, in processes that we may not know yet.
const GO_FUNCTIONS: [(Name, u64); 4] = [
    (Name::Whole("crypto/tls.(*Conn).clientHandshake"), CALL_GO_BEGINS),
    (Name::Whole("crypto/tls.(*Conn).serverHandshake"), CALL_GO_BEGINS),
    (Name::Whole("crypto/tls.(*Conn).verifyServerCertificate"), CALL_GO_SLICES),
    (Name::Whole("crypto/tls.(*Conn).processCertsFromClient"), CALL_GO_STRUCT),
];

/// How files of libraries begin.
const LIBRARIES: [&str; 2] = ["libcrypto", "libgnutls"];
/// Where they lie.
const DIRECTORIES: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
    "/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// Puts probes on functions; what the kernel is in tests.
pub(crate) trait Prober {
    /// Probes the function that begins at `offset` of the file; the probe is told `cookie` each time.
    ///
    /// # Errors
    /// The kernel refused.
    fn probe(&mut self, file: &File, offset: u64, cookie: u64) -> Result<Probed, LoadError>;
}

impl Prober for Kernel {
    fn probe(&mut self, file: &File, offset: u64, cookie: u64) -> Result<Probed, LoadError> {
        self.probe_function(file, offset, cookie)
    }
}

/// A file that somebody uses.
#[derive(Default)]
struct Watched {
    /// Processes and mount namespaces.
    users: usize,
    /// Dropped, they are off.
    probes: Vec<Probed>,
}

struct Process {
    namespace: u64,
    files: HashSet<FileId>,
    /// Looked at again after it was seen to speak TLS, when its libraries are in memory for certain.
    spoke: bool,
}

/// A mount namespace.
#[derive(Default)]
struct Namespace {
    processes: usize,
    files: HashSet<FileId>,
}

/// All files with TLS libraries in them.
#[derive(Default)]
pub(crate) struct Libraries {
    files: HashMap<FileId, Watched>,
    processes: HashMap<u32, Process>,
    namespaces: HashMap<u64, Namespace>,
    waiting: VecDeque<u32>,
    probes: usize,
    /// Probes of files that nobody uses any more.
    given_up: Vec<Probed>,
    /// Functions that could not be probed, for lack of room or because the kernel refused, and processes that we may not look
    /// at.
    pub(crate) not_probed: u64,
}

impl Libraries {
    /// How many functions are probed.
    pub(crate) fn probes(&self) -> usize {
        self.probes
    }

    /// Follows which processes there are, and looks at some of those that wait.
    pub(crate) fn follow(&mut self, changes: &[Change], prober: &mut impl Prober) {
        for change in changes {
            match *change {
                Change::Began(pid, _) => self.wait(pid),
                Change::Ended(pid) => self.ended(pid),
            }
        }
        let began = Instant::now();
        while began.elapsed() < TURN
            && let Some(pid) = self.waiting.pop_front()
        {
            self.look_at(pid, prober);
        }
        take_off(std::mem::take(&mut self.given_up));
    }

    /// A process was seen to speak TLS.
    pub(crate) fn spoke(&mut self, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid).filter(|process| !process.spoke) {
            process.spoke = true;
            self.wait(pid);
        }
    }

    fn wait(&mut self, pid: u32) {
        if self.waiting.len() >= MAX_WAITING {
            self.not_probed += 1;
        } else {
            self.waiting.push_back(pid);
        }
    }

    fn look_at(&mut self, pid: u32, prober: &mut impl Prober) {
        let namespace = match std::fs::metadata(format!("/proc/{pid}/ns/mnt")) {
            Ok(metadata) => metadata.ino(),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                self.not_probed += 1;
                return;
            }
            // Gone, or only its remains.
            Err(_) => return,
        };
        let Ok(root) = open_root(pid) else { return };
        if !self.processes.contains_key(&pid) {
            self.processes.insert(pid, Process { namespace, files: HashSet::new(), spoke: false });
            let known = self.namespaces.entry(namespace).or_default();
            known.processes += 1;
            if known.processes == 1 {
                for path in installed(&root) {
                    if let Some(id) = open_within(&root, &path).and_then(|file| self.consider(&file, prober))
                    {
                        self.used_by_namespace(namespace, id);
                    }
                }
            }
        }
        let executable = File::open(format!("/proc/{pid}/exe")).ok();
        let mapped = mapped(pid).into_iter().filter_map(|path| open_within(&root, &path));
        for file in executable.into_iter().chain(mapped) {
            if let Some(id) = self.consider(&file, prober) {
                self.used_by_process(pid, id);
            }
        }
    }

    fn used_by_namespace(&mut self, namespace: u64, id: FileId) {
        if let Some(namespace) = self.namespaces.get_mut(&namespace)
            && namespace.files.insert(id)
            && let Some(watched) = self.files.get_mut(&id)
        {
            watched.users += 1;
        }
    }

    fn used_by_process(&mut self, pid: u32, id: FileId) {
        if let Some(process) = self.processes.get_mut(&pid)
            && process.files.insert(id)
            && let Some(watched) = self.files.get_mut(&id)
        {
            watched.users += 1;
        }
    }

    fn ended(&mut self, pid: u32) {
        let Some(process) = self.processes.remove(&pid) else { return };
        let mut given_up = process.files;
        for id in given_up.drain() {
            self.let_go(id);
        }
        let Some(namespace) = self.namespaces.get_mut(&process.namespace) else { return };
        namespace.processes -= 1;
        if namespace.processes == 0 {
            for id in self.namespaces.remove(&process.namespace).unwrap_or_default().files {
                self.let_go(id);
            }
        }
    }

    /// One user less; after the last the probes are off, so that no file system is held.
    fn let_go(&mut self, id: FileId) {
        let Some(watched) = self.files.get_mut(&id) else { return };
        watched.users = watched.users.saturating_sub(1);
        if watched.users == 0 {
            self.probes -= watched.probes.len();
            self.given_up.append(&mut watched.probes);
            self.files.remove(&id);
        }
    }

    /// Probes the file's functions if it is new; `None` if it can't be looked at.
    fn consider(&mut self, file: &File, prober: &mut impl Prober) -> Option<FileId> {
        let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let id = (metadata.dev(), metadata.ino());
        if self.files.contains_key(&id) {
            return Some(id);
        }
        if self.files.len() >= MAX_FILES {
            self.not_probed += 1;
            return None;
        }
        let mut watched = Watched::default();
        for (offset, cookie) in functions(file) {
            if self.probes >= MAX_PROBES {
                self.not_probed += 1;
                continue;
            }
            match prober.probe(file, offset, cookie) {
                Ok(probed) => {
                    watched.probes.push(probed);
                    self.probes += 1;
                }
                Err(error) => {
                    debug!(error = format!("{:#}", anyhow::Error::from(error)), "a library is not probed");
                    self.not_probed += 1;
                }
            }
        }
        self.files.insert(id, watched);
        Some(id)
    }
}

/// Where in the file the functions lie that read certificates, each with what its probe's cookie says.
fn functions(file: &File) -> Vec<(u64, u64)> {
    let Some(elf) = Elf::read(file) else { return Vec::new() };
    let found = elf.functions(&FUNCTIONS.map(|(name, _)| name)).into_iter();
    let mut places: Vec<(u64, u64)> =
        found.filter_map(|(which, address)| Some((elf.offset_of(address)?, FUNCTIONS[which].1))).collect();
    // Goroutines change threads: where they can't be told apart, neither can their connections.
    let Some(layout) = golang::layout(&elf) else { return places };
    let names = GO_FUNCTIONS.map(|(name, _)| name);
    let mut found = elf.functions(&names);
    if found.is_empty() {
        found = pclntab::functions(&elf, &names);
    }
    let of_go = found.into_iter().filter_map(|(which, address)| {
        let cookie = cookie_of(GO_FUNCTIONS[which].1, layout)?;
        Some((elf.offset_of(address)?, cookie))
    });
    places.extend(of_go);
    places
}

/// The kernel takes its time, some 40 ms each: others wait for it.
fn take_off(probes: Vec<Probed>) {
    if !probes.is_empty() {
        // Where there can be no thread, they were dropped with the closure, here.
        let _ = std::thread::Builder::new().name("weir-take-off".to_owned()).spawn(move || drop(probes));
    }
}

/// A process's root directory, as it sees it.
fn open_root(pid: u32) -> nix::Result<OwnedFd> {
    nix::fcntl::open(
        Path::new(&format!("/proc/{pid}/root")),
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// A file by its path below that root; links lead nowhere else, and a pipe that lies there holds nobody up.
fn open_within(root: &OwnedFd, path: &str) -> Option<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how).ok().map(File::from)
}

/// Libraries in the usual directories.
fn installed(root: &OwnedFd) -> Vec<String> {
    let mut paths = Vec::new();
    for directory in DIRECTORIES {
        let Some(opened) = open_within(root, directory) else { continue };
        let Ok(entries) = std::fs::read_dir(path_of(&opened)) else { continue };
        for entry in entries.take(MAX_ENTRIES).flatten() {
            if let Some(name) = entry.file_name().to_str().filter(|name| is_library(name)) {
                paths.push(format!("{directory}/{name}"));
            }
        }
    }
    paths
}

fn is_library(name: &str) -> bool {
    LIBRARIES.iter().any(|begin| name.starts_with(begin)) && name.contains(".so")
}

/// Libraries that a process has in memory. Those whose file was replaced since can't be opened any more.
fn mapped(pid: u32) -> HashSet<String> {
    let Ok(maps) = File::open(format!("/proc/{pid}/maps")) else { return HashSet::new() };
    let lines = BufReader::new(maps.take(MAX_MAPS)).lines().map_while(Result::ok);
    lines.filter_map(|line| library_in(&line).map(str::to_owned)).collect()
}

/// The path in a line of `/proc/PID/maps`, if it is a library's code.
fn library_in(line: &str) -> Option<&str> {
    let path = &line[line.find('/')?..];
    let is_code = line.split_ascii_whitespace().nth(1)?.contains('x');
    (is_code && is_library(path.rsplit('/').next()?) && !path.ends_with(" (deleted)")).then_some(path)
}

/// The file's descriptor as a path, which the kernel can't be led astray by.
pub(crate) fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[cfg(test)]
mod tests;
