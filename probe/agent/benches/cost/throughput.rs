//! What is left of the throughput, and the CPU time that each request takes, client, server and programs together.

use std::collections::BTreeMap;

use crate::lab::Spread;
use crate::lab::hosts::Hosts;
use crate::lab::loads::{self, Load, Peers};
use crate::lab::runs::Counting;
use crate::subject::{Subject, Yard, levels};
use crate::verdicts::Verdicts;

const LOADS: [Load; 5] = [Load::Bulk(1), Load::Bulk(8), Load::KeepAlive, Load::Connections, Load::Datagrams];

struct Measured {
    per_second: f64,
    /// Client and server with the programs that ran on their behalf, ns a unit.
    traffic_ns: f64,
    /// `weir-probe`, ns a unit.
    agent_ns: f64,
}

/// Figures of one load and one subject against nothing, in the same rounds.
pub(crate) struct Against {
    /// Throughput with ÷ without.
    pub(crate) throughput: Spread,
    /// CPU time of a unit with ÷ without, the agent's in it.
    pub(crate) cpu: Spread,
}

pub(crate) fn measure(
    yard: &Yard,
    hosts: &Hosts,
    peers: &Peers,
    rounds: u32,
    seconds: u32,
    verdicts: &mut Verdicts,
) {
    let subjects = Subject::all();
    println!(
        "\nThroughput and CPU time, median (lowest–highest) of {rounds} rounds; left: with ÷ without.\n"
    );
    println!(
        "| load | with | a second | left of it | CPU µs each | CPU, with ÷ without | of it weir-probe |"
    );
    println!("|---|---|---|---|---|---|---|");
    for load in LOADS {
        let mut measured: Vec<Vec<Measured>> = subjects.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds as usize {
            // Each round begins with another, so that slow changes of the machine hit all alike.
            for index in (0..subjects.len()).map(|index| (index + round) % subjects.len()) {
                measured[index].push(once(yard, hosts, peers, &subjects[index], load, seconds));
            }
        }
        for (subject, runs) in subjects.iter().zip(&measured) {
            let per_second = spread(runs, |run| run.per_second);
            let each_us = spread(runs, |run| (run.traffic_ns + run.agent_ns) / 1000.0);
            let against = against(runs, &measured[0]);
            let agent = spread(runs, |run| run.agent_ns / (run.traffic_ns + run.agent_ns) * 100.0);
            let with = if *subject == Subject::Nothing {
                ["–".to_owned(), "–".to_owned(), "–".to_owned()]
            } else {
                [against.throughput.to_string(), against.cpu.to_string(), format!("{:.1} %", agent.median)]
            };
            let [left, cpu, agent] = with;
            let (name, unit) = (subject.name(), load.unit());
            let (each, rate) = (each_us.median, per_second.median);
            let load_name = load.name();
            println!("| {load_name} | {name} | {rate:.4} {unit} | {left} | {each:.2} | {cpu} | {agent} |");
            verdicts.throughput(load, subject, against);
        }
    }
}

fn once(yard: &Yard, hosts: &Hosts, peers: &Peers, subject: &Subject, load: Load, seconds: u32) -> Measured {
    let running = yard.start(subject, hosts);
    let (traffic, agent) = (peers.cpu_ns(), running.agent_ns());
    let done = loads::run(hosts, load, seconds);
    let (traffic, agent) = (peers.cpu_ns() - traffic, running.agent_ns() - agent);
    Measured {
        per_second: done.per_second,
        traffic_ns: traffic as f64 / done.units,
        agent_ns: agent as f64 / done.units,
    }
}

fn spread(runs: &[Measured], figure: impl Fn(&Measured) -> f64) -> Spread {
    Spread::of(&runs.iter().map(figure).collect::<Vec<_>>()).unwrap()
}

fn against(with: &[Measured], without: &[Measured]) -> Against {
    let ratio = |figure: fn(&Measured) -> f64| {
        let pairs = with.iter().zip(without).map(|(with, without)| figure(with) / figure(without));
        Spread::of(&pairs.collect::<Vec<_>>()).unwrap()
    };
    Against { throughput: ratio(|run| run.per_second), cpu: ratio(|run| run.traffic_ns + run.agent_ns) }
}

/// ns an event of each of the probe's programs, and how often they run.
pub(crate) fn events(yard: &Yard, hosts: &Hosts, seconds: u32) {
    println!(
        "\nns an event, with some 60 of measuring; in brackets events for each request, connection, datagram, MB.\n"
    );
    println!("| with | program | request | connection | datagram | MB |\n|---|---|---|---|---|---|");
    let subjects = levels().into_iter().map(Subject::Probe).chain([Subject::PerPacket]);
    for subject in subjects {
        let loads = [Load::KeepAlive, Load::Connections, Load::Datagrams, Load::Bulk(1)];
        let by_load = loads.map(|load| {
            let running = yard.start(&subject, hosts);
            let counting = Counting::of(running.process_id().unwrap());
            let done = loads::run(hosts, load, seconds);
            // Bulk counts in GB.
            (counting.end(), if load == Load::Bulk(1) { done.units * 1000.0 } else { done.units })
        });
        let mut rows: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for (runs, units) in &by_load {
            for (name, runs) in runs {
                let events = runs.runs as f64 / units;
                let cell = if events < 0.005 {
                    "–".to_owned()
                } else {
                    format!("{:.0} [{events:.2}]", runs.each_ns())
                };
                rows.entry(name).or_default().push(cell);
            }
        }
        for (name, cells) in rows {
            println!("| {} | {name} | {} |", subject.name(), cells.join(" | "));
        }
    }
}
