//! What the probe costs, at each level, with both ends of the traffic on this machine; beside it the usual agent's
//! program, which counts each packet in a hash on tc.
//!
//! `make cost` (root; ~12 min). `ROUNDS=5` runs of `RUN_SECONDS=2` each, with and without in turns; `PART=` throughput, latency,
//! events or agent for one part alone. What others do on the machine shows in the spread: the CPU time that each request takes
//! minds it least, the kernel's own count of ns an event hardly at all.
//!
//! | file             | subject                                                                      |
//! |------------------|------------------------------------------------------------------------------|
//! | `subject.rs`     | who is measured: nobody, the probe at a level, the usual agent's program         |
//! | `sink.rs`        | a collector that acknowledges and does nothing else                              |
//! | `throughput.rs`  | what is left of the throughput; CPU time a unit                                  |
//! | `latency.rs`     | p50 and p99 at the same load                                                     |
//! | `agent.rs`       | CPU share and memory of `weir-probe`                                             |
//! | `verdicts.rs`    | targets, and whether they are met                                                |

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails or is silent is of no use")]

#[path = "cost/agent.rs"]
mod agent;
#[path = "hooks/attach.rs"]
#[allow(dead_code, reason = "the bench of hooks uses more of it")]
mod attach;
#[path = "hooks/candidates.rs"]
#[allow(dead_code, reason = "the bench of hooks uses more of it")]
mod candidates;
mod lab;
#[path = "cost/latency.rs"]
mod latency;
#[path = "cost/sink.rs"]
mod sink;
#[path = "cost/subject.rs"]
mod subject;
#[path = "cost/throughput.rs"]
mod throughput;
#[path = "cost/verdicts.rs"]
mod verdicts;

use lab::hosts::Hosts;
use lab::loads::Peers;
use lab::{machine, setting};
use subject::Yard;
use verdicts::Verdicts;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(place) = arguments.iter().position(|argument| argument == agent::HOLD) {
        return agent::hold(&arguments[place + 1..]);
    }
    let (rounds, seconds) = (setting("ROUNDS", 5), setting("RUN_SECONDS", 2));
    let part = std::env::var("PART").unwrap_or_default();
    let wanted = |name: &str| part.is_empty() || part == name;
    println!("cost: {}; {rounds} rounds of {seconds} s", machine());
    let hosts = Hosts::new();
    let peers = Peers::start(&hosts);
    let yard = Yard::new(&hosts);
    let mut verdicts = Verdicts::default();
    if wanted("events") {
        throughput::events(&yard, &hosts, seconds);
    }
    if wanted("throughput") {
        throughput::measure(&yard, &hosts, &peers, rounds, seconds, &mut verdicts);
    }
    if wanted("latency") {
        latency::measure(&yard, &hosts, rounds, seconds, &mut verdicts);
    }
    if wanted("agent") {
        agent::measure(&yard, &hosts, &mut verdicts);
    }
    verdicts.print();
}
