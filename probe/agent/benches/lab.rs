//! What the benches of cost stand on: two hosts on one wire, peers that nobody here wrote, and figures with their spread.
//!
//! | file        | subject                                                              |
//! |-------------|----------------------------------------------------------------------|
//! | `hosts.rs`  | two network namespaces joined by a veth pair                             |
//! | `loads.rs`  | nginx with wrk, iperf3: how much they did, in a second and in all        |
//! | `runs.rs`   | how often programs ran and how long, by the kernel's own count           |

#![allow(dead_code, reason = "each bench uses a part")]

#[path = "lab/hosts.rs"]
pub(crate) mod hosts;
#[path = "lab/loads.rs"]
pub(crate) mod loads;
#[path = "lab/runs.rs"]
pub(crate) mod runs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A middle value, and how far apart the runs were.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Spread { median, lowest, highest })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ({:.3}–{:.3})", self.median, self.lowest, self.highest)
    }
}

/// A number from the environment, such as `ROUNDS=7`.
pub(crate) fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Which machine the figures are from.
pub(crate) fn machine() -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let others = load.split(' ').next().unwrap_or_default().to_owned();
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{cpus} × {model}, Linux {}, load before {others}", kernel.trim())
}

/// Lets time pass; the benches have no async threads that could be held up.
#[expect(clippy::disallowed_methods, reason = "a thread of its own")]
pub(crate) fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}

/// Lets this process open so many files, if the machine does.
pub(crate) fn descriptors(wanted: usize) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < wanted as u64 {
        // More than the hard limit needs CAP_SYS_RESOURCE, which root in a container may lack.
        let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted as u64, hard.max(wanted as u64));
        raised.unwrap_or_else(|error| panic!("{wanted} open files, of which {hard} are allowed: {error}"));
    }
}
