//! A cluster to draw traffic from: 5,000 pods of 1,000 workloads in 200 namespaces on 100 nodes, and whom it talks to outside.
//! All of it follows from its numbers: it is the same in each run.

use weir_model::{SmolStr, format_smolstr};

const WORKLOADS: u64 = 1_000;
const PODS_EACH: u64 = 5;
const NAMESPACES: u64 = 200;
const NODES: u64 = 100;
const OUTSIDE: u64 = 3_000;
/// What workloads are called after; also the names that people look for a part of.
const TRADES: [&str; 20] = [
    "cart", "checkout", "payment", "ledger", "search", "catalog", "mail", "image", "login", "profile",
    "stock", "price", "route", "report", "queue", "cache", "index", "review", "order", "ship",
];
const PORTS: [u16; 5] = [443, 8443, 8080, 5432, 9092];

/// A small generator with a fixed seed (`SplitMix64`).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.0)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in `percent` of a hundred draws.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// In (0, 1].
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Pareto's law: most are near `least`, a few are thousands of times as large.
    pub(super) fn heavy(&mut self, least: f64, shape: f64, most: f64) -> i64 {
        (least / self.share().powf(1.0 / shape)).min(most) as i64
    }
}

/// The number's bits, in no order that shows.
pub(super) fn mixed(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// One pod.
pub(super) struct Pod {
    pub(super) ip: SmolStr,
    pub(super) pid: i64,
    pub(super) process: SmolStr,
    pub(super) container: SmolStr,
    pub(super) name: SmolStr,
    pub(super) namespace: SmolStr,
    pub(super) workload: SmolStr,
    pub(super) trade: &'static str,
    pub(super) kind: SmolStr,
    pub(super) node: SmolStr,
    pub(super) zone: SmolStr,
    pub(super) port: u16,
    /// Its Service's address and name.
    pub(super) service_ip: SmolStr,
    pub(super) service_name: SmolStr,
    /// Its workload's number, from which its certificate follows.
    pub(super) number: u64,
}

/// Somebody outside the cluster.
pub(super) struct Outside {
    pub(super) ip: SmolStr,
    pub(super) name: SmolStr,
}

fn pod(number: u64) -> Pod {
    let workload = number / PODS_EACH;
    let trade = TRADES[(workload % TRADES.len() as u64) as usize];
    let node = mixed(number) % NODES;
    let namespace = format_smolstr!("team-{:03}", workload % NAMESPACES);
    let name = format_smolstr!("{trade}-{workload}");
    Pod {
        ip: format_smolstr!("10.{}.{}.{}", 64 + number / 50_000, number / 200 % 250, number % 200 + 2),
        pid: (1_000 + mixed(number + 7) % 60_000) as i64,
        process: SmolStr::new(trade),
        container: format_smolstr!(
            "{:016x}{:016x}{:016x}{:016x}",
            mixed(number),
            mixed(number + 1),
            mixed(number + 2),
            mixed(number + 3)
        ),
        name: format_smolstr!("{name}-{:08x}-{:05x}", mixed(workload) as u32, mixed(number) & 0xF_FFFF),
        service_ip: format_smolstr!("10.43.{}.{}", workload / 250, workload % 250 + 1),
        service_name: format_smolstr!("{name}.{namespace}.svc.cluster.local"),
        namespace,
        workload: name,
        trade,
        kind: SmolStr::new(if workload.is_multiple_of(9) { "StatefulSet" } else { "Deployment" }),
        node: format_smolstr!("node-{node:03}"),
        zone: format_smolstr!("zone-{}", node % 3),
        port: PORTS[(workload % PORTS.len() as u64) as usize],
        number: workload,
    }
}

fn outside(number: u64) -> Outside {
    let address = mixed(number) as u32;
    Outside {
        ip: format_smolstr!(
            "{}.{}.{}.{}",
            20 + address % 80,
            address >> 8 & 255,
            address >> 16 & 255,
            1 + number % 250
        ),
        name: format_smolstr!("api.{}{number}.example.com", TRADES[(number % 7) as usize]),
    }
}

/// The cluster, from which traffic is drawn.
pub(super) struct Cluster {
    pods: Vec<Pod>,
    outside: Vec<Outside>,
    /// How often a workload is called, as a running sum: the k-th is called 1/k as often as the first.
    called: Vec<f64>,
    /// The same for those outside.
    called_outside: Vec<f64>,
}

impl Cluster {
    pub(super) fn new() -> Cluster {
        Cluster {
            pods: (0..WORKLOADS * PODS_EACH).map(pod).collect(),
            outside: (0..OUTSIDE).map(outside).collect(),
            called: zipf(WORKLOADS),
            called_outside: zipf(OUTSIDE),
        }
    }

    /// Any pod, each as often as the next.
    pub(super) fn any(&self, random: &mut Random) -> &Pod {
        &self.pods[random.below(self.pods.len() as u64) as usize]
    }

    /// A pod of a workload that is called, by Zipf's law.
    pub(super) fn called(&self, random: &mut Random) -> &Pod {
        let workload = ranked(&self.called, random);
        &self.pods[(workload * PODS_EACH + random.below(PODS_EACH)) as usize]
    }

    /// Somebody outside, by Zipf's law.
    pub(super) fn outside(&self, random: &mut Random) -> &Outside {
        &self.outside[ranked(&self.called_outside, random) as usize]
    }

    /// A pod that is neither the busiest nor idle: somebody to ask about.
    pub(super) fn one(&self) -> &Pod {
        &self.pods[(40 * PODS_EACH + 2) as usize]
    }
}

fn zipf(count: u64) -> Vec<f64> {
    let mut sum = 0.0;
    let running = (1..=count).map(|rank| {
        sum += 1.0 / rank as f64;
        sum
    });
    running.collect()
}

fn ranked(running: &[f64], random: &mut Random) -> u64 {
    let wanted = random.share() * running.last().copied().unwrap_or_default();
    running.partition_point(|sum| *sum < wanted).min(running.len() - 1) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_cluster_has_as_many_pods_and_namespaces_as_it_says_each_with_an_address_of_its_own() {
        let cluster = Cluster::new();
        let count = |of: fn(&Pod) -> &SmolStr| cluster.pods.iter().map(of).collect::<HashSet<_>>().len();
        assert_eq!(count(|pod| &pod.name), 5_000);
        assert_eq!(count(|pod| &pod.ip), 5_000);
        assert_eq!(count(|pod| &pod.namespace), 200);
        assert_eq!(count(|pod| &pod.workload), 1_000);
        assert_eq!(count(|pod| &pod.node), 100);
    }

    #[test]
    fn the_first_workload_is_called_a_hundred_times_as_often_as_the_hundredth() {
        let cluster = Cluster::new();
        let mut random = Random::new(1);
        let mut calls = [0_u32; 1_000];
        for _ in 0..500_000 {
            calls[cluster.called(&mut random).number as usize] += 1;
        }
        let ratio = f64::from(calls[0]) / f64::from(calls[99]);
        assert!((60.0..160.0).contains(&ratio), "{ratio}");
    }
}
