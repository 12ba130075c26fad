//! How often a process' programs ran and how long that took, by the kernel's own count (`kernel.bpf_stats_enabled`).

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use aya::sys::{Stats, enable_stats};
use weir_probe::programs_of;

/// The kernel counts as long as one of these lives. Counting costs some 70 ns a run: throughput is measured without.
pub(crate) struct Counting {
    process_id: u32,
    before: BTreeMap<String, (u64, u64)>,
    _held: OwnedFd,
}

/// Of one program.
#[derive(Clone, Copy, Default)]
pub(crate) struct Runs {
    pub(crate) runs: u64,
    pub(crate) run_ns: u64,
}

impl Runs {
    /// ns a run, with what measuring costs.
    pub(crate) fn each_ns(self) -> f64 {
        if self.runs == 0 { 0.0 } else { self.run_ns as f64 / self.runs as f64 }
    }
}

impl Counting {
    /// Begins to count the programs that a process holds.
    pub(crate) fn of(process_id: u32) -> Counting {
        let held = enable_stats(Stats::RunTime).expect("count programs' runs: needs root");
        Counting { process_id, before: counts(process_id), _held: held }
    }

    /// What ran since.
    pub(crate) fn end(self) -> BTreeMap<String, Runs> {
        let mut runs = BTreeMap::new();
        for (name, (run_count, run_ns)) in counts(self.process_id) {
            let (runs_before, ns_before) = self.before.get(&name).copied().unwrap_or_default();
            runs.insert(name, Runs { runs: run_count - runs_before, run_ns: run_ns - ns_before });
        }
        runs
    }
}

fn counts(process_id: u32) -> BTreeMap<String, (u64, u64)> {
    let programs = programs_of(process_id).expect("look at the loaded programs");
    programs.into_iter().map(|program| (program.name, (program.runs, program.run_ns))).collect()
}
