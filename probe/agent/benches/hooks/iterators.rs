//! Iterators over connections: time for each socket, which the kernel's count of runs doesn't have (walking its tables
//! is not the program's).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::Map;
use aya::programs::Iter;
use nix::sys::time::TimeValLike as _;
use nix::time::ClockId;

use crate::attach::{Attached, Ground};
use crate::candidates::CANDIDATES;
use crate::lab::descriptors;
use crate::lab::hosts::{CLIENT, Hosts, SERVER, SERVER_IP};

/// Connections that are open; each has two sockets here, within the 20,000 descriptors that most machines allow.
const CONNECTIONS: usize = 9_000;
const RUNS: usize = 5;

pub(crate) fn judge(ground: &Ground, hosts: &Hosts) {
    let life = CANDIDATES.iter().find(|candidate| candidate.programs[0].0 == "life_tp").unwrap();
    let mut attached = ground.attach(life, hosts);
    descriptors(CONNECTIONS * 2 + 200);
    let listener = hosts.within(SERVER, || TcpListener::bind((SERVER_IP, 0)).unwrap());
    let at = listener.local_addr().unwrap();
    let mut ends: Vec<(TcpStream, TcpStream)> = hosts.within(CLIENT, || {
        (0..CONNECTIONS).map(|_| (TcpStream::connect(at).unwrap(), listener.accept().unwrap().0)).collect()
    });
    let storage = link(&mut attached, ground, "iter_storage", "bpf_sk_storage_map", Some("BORN"));
    let tcp = link(&mut attached, ground, "iter_tcp", "tcp", None);
    let files = link(&mut attached, ground, "iter_files", "task_file", None);

    println!(
        "\nIterators, {CONNECTIONS} connections, both ends here; ns of CPU a socket, fastest of {RUNS}.\n"
    );
    println!("| iterator | all moved | none moved | bytes written when all moved |\n|---|---|---|---|");
    let sockets = (CONNECTIONS * 2) as f64;
    let everywhere = |link: &OwnedFd| run(link);
    let in_both = |link: &OwnedFd| {
        let (client_ns, client_bytes) = hosts.within(CLIENT, || run(link));
        let (server_ns, server_bytes) = hosts.within(SERVER, || run(link));
        (client_ns + server_ns, client_bytes + server_bytes)
    };
    row("socket storage", &everywhere, &storage, sockets, &mut ends);
    row("iter/tcp, once a namespace", &in_both, &tcp, sockets, &mut ends);
    row("iter/task_file (once, at start)", &everywhere, &files, sockets, &mut ends);
}

fn row(
    name: &str,
    work: &dyn Fn(&OwnedFd) -> (f64, usize),
    link: &OwnedFd,
    sockets: f64,
    ends: &mut [(TcpStream, TcpStream)],
) {
    let (mut moved, mut still, mut bytes) = (f64::MAX, f64::MAX, 0);
    for _ in 0..RUNS {
        for (client, server) in &mut *ends {
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
        }
        let (took, written) = work(link);
        (moved, bytes) = (moved.min(took), bytes.max(written));
        still = still.min(work(link).0);
    }
    println!("| {name} | {:.0} | {:.0} | {bytes} |", moved / sockets, still / sockets);
}

fn run(link: &OwnedFd) -> (f64, usize) {
    let mut output = Vec::new();
    let began = thread_ns();
    weir_probe::lab::open_iterator(link).unwrap().read_to_end(&mut output).unwrap();
    ((thread_ns() - began) as f64, output.len())
}

/// CPU time of this thread: others use the machine too.
fn thread_ns() -> i64 {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap().num_nanoseconds()
}

fn link(attached: &mut Attached, ground: &Ground, name: &str, target: &str, over: Option<&str>) -> OwnedFd {
    let map = over.map(|map| match attached.ebpf.map(map) {
        Some(Map::SkStorage(map)) => map.fd().as_fd().try_clone_to_owned().unwrap(),
        _ => panic!("no map {map}"),
    });
    let program: &mut Iter = attached.ebpf.program_mut(name).unwrap().try_into().unwrap();
    program.load(target, &ground.btf).unwrap();
    let fd = program.fd().unwrap();
    weir_probe::lab::link_iterator(fd.as_fd(), map.as_ref().map(AsFd::as_fd)).unwrap()
}
