//! Candidate hooks, each alone: ns an event, events a request, and what is left of the throughput. The figures that
//! `probe/adr/0001-hooks.md` chose by; run it to judge another kernel.
//!
//! `make hooks` (root; `ROUNDS=3` pairs of runs with and without, 0: none; `RUN_SECONDS=1` each; `ONLY=` part of a name). The
//! kernel's own count of ns is the figure to go by: it hardly minds who else uses the machine. Net is without what an
//! empty program of the same kind takes.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails or is silent is of no use")]

#[path = "hooks/attach.rs"]
mod attach;
#[path = "hooks/candidates.rs"]
mod candidates;
#[path = "hooks/iterators.rs"]
mod iterators;
mod lab;

use std::collections::BTreeMap;

use attach::Ground;
use candidates::{CANDIDATES, Candidate, EMPTY, Kind};
use lab::hosts::Hosts;
use lab::loads::{self, Load, Peers};
use lab::runs::{Counting, Runs};
use lab::{Spread, machine, setting};

const LOADS: [Load; 4] = [Load::KeepAlive, Load::Connections, Load::Bulk(1), Load::Datagrams];

fn main() {
    let object =
        std::env::var("CANDIDATES").expect("CANDIDATES=file, made by probe/bpf/build.sh --candidates");
    let (rounds, seconds) = (setting("ROUNDS", 3), setting("RUN_SECONDS", 1));
    let only = std::env::var("ONLY").unwrap_or_default();
    println!("hooks: {}; {rounds} pairs of {seconds} s", machine());
    let hosts = Hosts::new();
    let peers = Peers::start(&hosts);
    let ground = Ground::new(std::fs::read(object).unwrap());
    let base = measuring_cost(&ground, &hosts);

    println!(
        "\nns net an event; in brackets events for each request, connection, datagram, MB. Both ends are here.\n"
    );
    println!("| candidate | program | request | connection | datagram | MB |\n|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for candidate in CANDIDATES.iter().filter(|candidate| candidate.name.contains(&only)) {
        judge(candidate, &ground, &hosts, &base, seconds);
        ratios.push((candidate, paired(candidate, &ground, &hosts, &peers, rounds, seconds)));
    }
    if rounds > 0 {
        println!(
            "\nCPU time of client and server for each request, with ÷ without; median (lowest–highest) of {rounds} pairs.\n"
        );
        println!("| candidate | keep-alive | connection per request | bulk | UDP |\n|---|---|---|---|---|");
        for (candidate, by_load) in &ratios {
            println!("| {} | {} |", candidate.name, by_load.clone().map(|(cpu, _)| cpu).join(" | "));
        }
        println!("\nThroughput, with ÷ without, of the same pairs; others on the machine disturb it most.\n");
        println!("| candidate | keep-alive | connection per request | bulk | UDP |\n|---|---|---|---|---|");
        for (candidate, by_load) in &ratios {
            println!("| {} | {} |", candidate.name, by_load.clone().map(|(_, clock)| clock).join(" | "));
        }
    }
    drop(peers);
    iterators::judge(&ground, &hosts);
}

/// What an empty program takes, by kind: the call, and the measuring.
fn measuring_cost(ground: &Ground, hosts: &Hosts) -> BTreeMap<Kind, f64> {
    let mut base = BTreeMap::new();
    for candidate in EMPTY {
        let runs = counted(candidate, ground, hosts, Load::Connections, 1).0;
        let (name, hook) = candidate.programs[0];
        base.insert(hook.kind(), runs[name].each_ns());
    }
    let shown: Vec<String> = base.iter().map(|(kind, ns)| format!("{kind:?} {ns:.0}")).collect();
    println!("an empty program takes, with measuring, ns: {}", shown.join(", "));
    base
}

fn counted(
    candidate: &Candidate,
    ground: &Ground,
    hosts: &Hosts,
    load: Load,
    seconds: u32,
) -> (BTreeMap<String, Runs>, f64) {
    let attached = ground.attach(candidate, hosts);
    let counting = Counting::of(std::process::id());
    let done = loads::run(hosts, load, seconds);
    let runs = counting.end();
    drop(attached);
    (runs, done.units)
}

fn judge(candidate: &Candidate, ground: &Ground, hosts: &Hosts, base: &BTreeMap<Kind, f64>, seconds: u32) {
    let by_load = [Load::KeepAlive, Load::Connections, Load::Datagrams, Load::Bulk(1)].map(|load| {
        let (runs, units) = counted(candidate, ground, hosts, load, seconds);
        // Bulk counts in GB.
        (runs, if load == Load::Bulk(1) { units * 1000.0 } else { units })
    });
    let mut sums = [0.0; 4];
    for (name, hook) in candidate.programs {
        let mut cells = Vec::new();
        for ((runs, units), sum) in by_load.iter().zip(&mut sums) {
            let runs = runs.get(*name).copied().unwrap_or_default();
            let (events, net) = (runs.runs as f64 / units, (runs.each_ns() - base[&hook.kind()]).max(0.0));
            *sum += events * net;
            cells.push(if events < 0.005 { "–".to_owned() } else { format!("{net:.0} [{events:.2}]") });
        }
        println!("| {} | {name} | {} |", candidate.name, cells.join(" | "));
    }
    println!("| **{}** | in all | {} |", candidate.name, sums.map(|sum| format!("**{sum:.0}**")).join(" | "));
}

/// CPU time and throughput, with ÷ without, by load: in turns, so that slow changes of the machine hit both.
fn paired(
    candidate: &Candidate,
    ground: &Ground,
    hosts: &Hosts,
    peers: &Peers,
    rounds: u32,
    seconds: u32,
) -> [(String, String); 4] {
    LOADS.map(|load| {
        let (mut cpu, mut clock) = (Vec::new(), Vec::new());
        let once = || {
            let before = peers.cpu_ns();
            let done = loads::run(hosts, load, seconds);
            ((peers.cpu_ns() - before) as f64 / done.units, done.per_second)
        };
        let with = || {
            let _attached = ground.attach(candidate, hosts);
            once()
        };
        for round in 0..rounds {
            let (with, without) = if round % 2 == 0 {
                let first = once();
                (with(), first)
            } else {
                (with(), once())
            };
            cpu.push(with.0 / without.0);
            clock.push(with.1 / without.1);
        }
        let shown = |ratios: &[f64]| Spread::of(ratios).map_or_else(String::new, |spread| spread.to_string());
        (shown(&cpu), shown(&clock))
    })
}
