//! A filter → the tests that the kernel program makes, each with the two places where it goes on.

use std::net::IpAddr;

use weir_abi::capture::{
    CAPTURE_LEAVE, CAPTURE_TAKE, CAPTURE_TERMS, CaptureTerm, END_CLIENT, END_DESTINATION, END_EITHER,
    END_SERVER, END_SOURCE, TERM_CGROUP, TERM_NET, TERM_NETNS, TERM_PID, TERM_PORTS, TERM_PROCESS,
    TERM_PROTOCOL, TERM_TRUE, TERM_VERSION, WANTS_OWNER,
};
use weir_model::capture::{End, Filter, Term, Test};

use crate::identity::{Identities, Workload};

/// The beginning of an IPv4-mapped address, in bits.
const MAPPED: u8 = 96;

/// What the kernel is told.
#[derive(Debug)]
pub(super) struct Program {
    /// The tests; only those that can be reached mean something.
    pub(super) terms: [CaptureTerm; CAPTURE_TERMS],
    /// `WANTS_*`.
    pub(super) wants: u32,
    /// Whether a test asks what only the probe's own maps know: process, and who opened a connection.
    pub(super) needs_holders: bool,
}

/// Why a filter doesn't fit into the kernel program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the filter needs more than {CAPTURE_TERMS} tests on this node (each cgroup of a pod or container is one): ask for less"
)]
pub(super) struct NoProgram;

/// Where a test goes on. Tests are made from the last to the first, so that all that is jumped to is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Take,
    Leave,
    /// That many tests were made before it.
    Made(usize),
}

/// A test without the places that it goes on at, and those.
struct Made {
    term: CaptureTerm,
    on_true: Target,
    on_false: Target,
}

struct Compiler<'a> {
    made: Vec<Made>,
    wants: u32,
    needs_holders: bool,
    cgroups_of: &'a mut dyn FnMut(&Test) -> Vec<u64>,
}

impl Program {
    /// For this node, whose pods and containers `identities` knows.
    ///
    /// # Errors
    /// [`NoProgram`] when it needs too many tests.
    pub(super) fn of(filter: &Filter, identities: &mut Identities) -> Result<Program, NoProgram> {
        Program::with(filter, &mut |test| match test {
            Test::Pod(uid) => identities.cgroups_of(|workload| workload.pod.as_ref() == Some(uid)),
            Test::Container(id) => {
                let is_it = |workload: &Workload| {
                    workload.container.as_ref().is_some_and(|container| container.starts_with(id.as_str()))
                };
                identities.cgroups_of(is_it)
            }
            _ => Vec::new(),
        })
    }

    fn with(filter: &Filter, cgroups_of: &mut dyn FnMut(&Test) -> Vec<u64>) -> Result<Program, NoProgram> {
        let mut compiler = Compiler { made: Vec::new(), wants: 0, needs_holders: false, cgroups_of };
        let entry = compiler.filter(filter, Target::Take, Target::Leave);
        if entry != Target::Made(compiler.made.len().wrapping_sub(1)) || compiler.made.is_empty() {
            // It is decided without a test; the program begins with one all the same.
            compiler.make(CaptureTerm { kind: TERM_TRUE, ..CaptureTerm::default() }, entry, entry);
        }
        let count = compiler.made.len();
        if count > CAPTURE_TERMS {
            return Err(NoProgram);
        }
        let index = |target| match target {
            Target::Take => CAPTURE_TAKE,
            Target::Leave => CAPTURE_LEAVE,
            Target::Made(before) => (count - 1 - before) as u8,
        };
        let mut terms = Program::nothing().terms;
        for (place, made) in terms.iter_mut().zip(compiler.made.iter().rev()) {
            *place =
                CaptureTerm { on_true: index(made.on_true), on_false: index(made.on_false), ..made.term };
        }
        Ok(Program { terms, wants: compiler.wants, needs_holders: compiler.needs_holders })
    }

    /// Takes no packet.
    pub(super) fn nothing() -> Program {
        let never = CaptureTerm {
            kind: TERM_TRUE,
            on_true: CAPTURE_LEAVE,
            on_false: CAPTURE_LEAVE,
            ..CaptureTerm::default()
        };
        Program { terms: [never; CAPTURE_TERMS], wants: 0, needs_holders: false }
    }

    /// As many tests as there can be, of every kind, with as many ways through them as the verifier has to follow; takes
    /// no packet all the same.
    pub(super) fn largest() -> Program {
        let mut terms = Program::nothing().terms;
        for (index, term) in terms.iter_mut().enumerate() {
            let next =
                |ahead| if index + ahead < CAPTURE_TERMS { (index + ahead) as u8 } else { CAPTURE_LEAVE };
            let kind = (index % usize::from(TERM_CGROUP) + 1) as u8;
            let end = if index % 2 == 0 { END_CLIENT } else { END_EITHER };
            *term = CaptureTerm { kind, end, on_true: next(1), on_false: next(2), low: 1, ..*term };
        }
        Program { terms, wants: WANTS_OWNER, needs_holders: false }
    }

    /// Whether no packet can pass.
    pub(super) fn takes_nothing(&self) -> bool {
        self.terms[0] == Program::nothing().terms[0]
    }
}

impl Compiler<'_> {
    fn make(&mut self, term: CaptureTerm, on_true: Target, on_false: Target) -> Target {
        self.made.push(Made { term, on_true, on_false });
        Target::Made(self.made.len() - 1)
    }

    /// Makes the tests of a filter that goes on at `yes` or `no`; returns where it begins.
    fn filter(&mut self, filter: &Filter, yes: Target, no: Target) -> Target {
        match filter {
            Filter::Everything => yes,
            Filter::Term(term) => self.term(term, yes, no),
            Filter::Not(inner) => self.filter(inner, no, yes),
            Filter::All(parts) => parts.iter().rev().fold(yes, |next, part| self.filter(part, next, no)),
            Filter::Any(parts) => parts.iter().rev().fold(no, |next, part| self.filter(part, yes, next)),
        }
    }

    fn term(&mut self, term: &Term, yes: Target, no: Target) -> Target {
        let end = match term.end {
            End::Either => END_EITHER,
            End::Source => END_SOURCE,
            End::Destination => END_DESTINATION,
            End::Client => END_CLIENT,
            End::Server => END_SERVER,
        };
        self.needs_holders |= matches!(term.end, End::Client | End::Server)
            || matches!(term.test, Test::Process(_) | Test::Pid(_));
        let asks_the_socket = matches!(term.end, End::Client | End::Server)
            || !matches!(
                term.test,
                Test::Protocol(_) | Test::Version(_) | Test::Net { .. } | Test::Ports { .. }
            );
        if asks_the_socket {
            self.wants |= WANTS_OWNER;
        }
        let of = |kind| CaptureTerm { kind, end, ..CaptureTerm::default() };
        let number = |kind, low| CaptureTerm { low, ..of(kind) };
        match &term.test {
            Test::Protocol(protocol) => self.make(number(TERM_PROTOCOL, u32::from(*protocol)), yes, no),
            Test::Version(version) => self.make(number(TERM_VERSION, u32::from(*version)), yes, no),
            Test::Ports { first, last } => {
                let ports = CaptureTerm { high: u32::from(*last), ..number(TERM_PORTS, u32::from(*first)) };
                self.make(ports, yes, no)
            }
            Test::Net { address, prefix } => {
                let (net, holds_mapped) = net(of(TERM_NET), *address, *prefix);
                let next = self.make(net, yes, no);
                // IPv4 lies within ::/0 and the like only in our own form of it.
                if holds_mapped { self.make(number(TERM_VERSION, 6), next, no) } else { next }
            }
            Test::Process(name) => {
                let mut comm = [0; 16];
                comm[..name.len().min(16)].copy_from_slice(&name.as_bytes()[..name.len().min(16)]);
                self.make(CaptureTerm { value: words(comm), ..of(TERM_PROCESS) }, yes, no)
            }
            Test::Pid(pid) => self.make(number(TERM_PID, *pid), yes, no),
            Test::Netns(inode) => self.make(number(TERM_NETNS, *inode), yes, no),
            Test::Cgroup(id) => self.make(CaptureTerm { value: [*id, 0], ..of(TERM_CGROUP) }, yes, no),
            Test::Container(_) | Test::Pod(_) => {
                let ids = (self.cgroups_of)(&term.test);
                ids.into_iter().fold(no, |next, id| {
                    self.make(CaptureTerm { value: [id, 0], ..of(TERM_CGROUP) }, yes, next)
                })
            }
        }
    }
}

/// A network as value and mask; whether IPv4-mapped addresses lie in it although it is one of IPv6.
fn net(term: CaptureTerm, address: IpAddr, prefix: u8) -> (CaptureTerm, bool) {
    let (bytes, prefix) = match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().octets(), prefix + MAPPED),
        IpAddr::V6(v6) => (v6.octets(), prefix),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    let mapped = u128::from(std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
    let holds_mapped = prefix < MAPPED && mapped & mask == u128::from_be_bytes(bytes);
    (CaptureTerm { value: words(bytes), mask: words(mask.to_be_bytes()), ..term }, holds_mapped)
}

/// As the kernel program reads 16 bytes.
fn words(bytes: [u8; 16]) -> [u64; 2] {
    let (low, high) = bytes.split_at(8);
    [low, high].map(|half| half.try_into().map_or(0, u64::from_ne_bytes))
}

#[cfg(test)]
mod tests;
