//! CPU share and memory of `weir-probe`: idle, at many new connections, with many open ones.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::lab::hosts::{CLIENT, Hosts, SERVER};
use crate::lab::loads::{Load, cpu_ns};
use crate::lab::{descriptors, pause};
use crate::latency::paced;
use crate::subject::{Probe, Yard, levels};
use crate::verdicts::Verdicts;

/// Says that this process is one that holds connections.
pub(crate) const HOLD: &str = "hold-connections";
/// Most that one process holds: many machines allow 20,000 descriptors.
const EACH: usize = 15_000;
/// Two intervals of the probe's default and a little.
const LOOK: Duration = Duration::from_secs(22);

pub(crate) fn measure(yard: &Yard, hosts: &Hosts, verdicts: &mut Verdicts) {
    println!(
        "\nweir-probe itself: CPU as share of one core; MB resident at the end, and the most there was.\n"
    );
    println!("| level | what passes | CPU | MB | most MB |\n|---|---|---|---|---|");
    for level in levels() {
        let probe = yard.probe(&["--level", &level]);
        let idle = look(&probe, || pause(Duration::from_secs(12)));
        row(&level, "next to nothing", &idle);
        verdicts.memory("idle", &level, idle.highest_mb, 30.0);
        let mut rate = 0.0;
        let busy = look(&probe, || {
            rate = paced(hosts, Load::Connections, 10_000.0, Duration::from_secs(12)).per_second;
        });
        row(&level, &format!("{rate:.0} new connections/s, both ends here"), &busy);
        if rate < 9_500.0 {
            println!("    (this machine did not do 10,000 a second)");
        }
    }
    let level = levels().pop().unwrap_or_default();
    let probe = yard.probe(&[]);
    let mut held = Vec::new();
    for thousands in [50, 100] {
        let opening = look(&probe, || held.extend(Held::open(hosts, 50_000)));
        let ends = thousands * 2;
        row("default", &format!("opening {thousands},000 connections ({ends},000 sockets)"), &opening);
        let still = look(&probe, || pause(LOOK));
        row("default", &format!("{thousands},000 open, still"), &still);
        let moving = look(&probe, || {
            let began = Instant::now();
            while began.elapsed() < LOOK {
                held.iter_mut().for_each(Held::send_on_each);
            }
        });
        row("default", &format!("{thousands},000 open, all moving"), &moving);
        let highest = opening.highest_mb.max(still.highest_mb).max(moving.highest_mb);
        verdicts.memory(&format!("{ends},000 sockets"), "default", highest, 60.0);
    }
    drop(probe);
    let probe = yard.probe(&["--level", &level]);
    let start = look(&probe, || pause(LOOK));
    row(&level, "started with 100,000 open", &start);
}

struct Share {
    cpu: f64,
    mb: f64,
    highest_mb: f64,
}

fn look(probe: &Probe, meanwhile: impl FnOnce()) -> Share {
    let process_id = probe.process_id();
    // The kernel forgets the most that there was.
    std::fs::write(format!("/proc/{process_id}/clear_refs"), "5").unwrap();
    let (cpu, began) = (cpu_ns(process_id), Instant::now());
    meanwhile();
    let cpu = (cpu_ns(process_id) - cpu) as f64 / began.elapsed().as_nanos() as f64;
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap();
    let mb = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    };
    Share { cpu, mb: mb("VmRSS:"), highest_mb: mb("VmHWM:") }
}

fn row(level: &str, what: &str, share: &Share) {
    println!("| {level} | {what} | {:.1} % | {:.0} | {:.0} |", share.cpu * 100.0, share.mb, share.highest_mb);
}

/// A process on each host, with connections between them.
struct Held {
    server: Child,
    client: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Held {
    /// Opens so many connections, by as many processes as they need; returns when all are there.
    fn open(hosts: &Hosts, connections: usize) -> Vec<Held> {
        let mut rest = connections;
        let mut held = Vec::new();
        while rest > 0 {
            let count = rest.min(EACH);
            rest -= count;
            held.push(Held::begin(hosts, count));
        }
        held.iter_mut().for_each(Held::hear);
        held
    }

    fn begin(hosts: &Hosts, count: usize) -> Held {
        let own = std::env::current_exe().unwrap();
        let own = own.to_str().unwrap();
        let process = |host: usize, arguments: &[&str]| {
            let mut command = hosts.command(host, own);
            command.arg(HOLD).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let count = count.to_string();
        let mut server = process(SERVER, &["accept", &count]);
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let mut client = process(CLIENT, &["connect", &count, port.trim()]);
        let said = BufReader::new(client.stdout.take().unwrap());
        Held { server, client, said }
    }

    fn hear(&mut self) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }

    /// A byte on each connection.
    fn send_on_each(&mut self) {
        self.client.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.hear();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.server] {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// The process that holds: `accept COUNT` or `connect COUNT PORT`. It ends when its input does.
pub(crate) fn hold(arguments: &[String]) {
    let count: usize = arguments[1].parse().unwrap();
    descriptors(count + 100);
    let mut input = std::io::stdin().lock();
    if arguments[0] == "accept" {
        let listener = TcpListener::bind("10.84.0.2:0").unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        let _held: Vec<TcpStream> = (0..count).map(|_| listener.accept().unwrap().0).collect();
        let _ = input.read_to_end(&mut Vec::new());
        return;
    }
    let port: u16 = arguments[2].parse().unwrap();
    let mut held: Vec<TcpStream> =
        (0..count).map(|_| TcpStream::connect(("10.84.0.2", port)).unwrap()).collect();
    println!("done");
    let mut line = String::new();
    while input.read_line(&mut line).unwrap() > 0 {
        for stream in &mut held {
            stream.write_all(b"x").unwrap();
        }
        println!("done");
    }
}
