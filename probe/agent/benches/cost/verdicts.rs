//! Targets, and whether they are met.

use std::collections::BTreeMap;

use crate::lab::Spread;
use crate::lab::loads::Load;
use crate::subject::Subject;
use crate::throughput::Against;

/// What was found, until it is judged.
#[derive(Default)]
pub(crate) struct Verdicts {
    against: BTreeMap<(String, String), Against>,
    lines: Vec<[String; 4]>,
}

impl Verdicts {
    pub(crate) fn throughput(&mut self, load: Load, subject: &Subject, against: Against) {
        self.against.insert((load.name(), subject.name().to_owned()), against);
    }

    pub(crate) fn latency(&mut self, load: Load, subject: &Subject, p99: Spread) {
        if let Subject::Probe(level) = subject {
            let more = (p99.median - 1.0) * 100.0;
            let noise = (p99.highest - p99.lowest) * 100.0;
            let verdict = if more <= 2.0 {
                "met"
            } else if p99.lowest <= 1.02 || noise > 20.0 {
                "can't tell: runs differ by more"
            } else {
                "missed"
            };
            let what = format!("p99, {}", load.name());
            let found = format!("{more:+.1} % (runs {noise:.0} % apart)");
            self.line(level, &what, "+2 %", &found, verdict);
        }
    }

    pub(crate) fn memory(&mut self, when: &str, level: &str, highest_mb: f64, limit_mb: f64) {
        let verdict = if highest_mb <= limit_mb { "met" } else { "missed" };
        self.line(
            level,
            &format!("resident, {when}"),
            &format!("{limit_mb} MB"),
            &format!("{highest_mb:.0} MB"),
            verdict,
        );
    }

    fn line(&mut self, level: &str, what: &str, target: &str, found: &str, verdict: &str) {
        self.lines.push([
            format!("{level}: {what}"),
            target.to_owned(),
            found.to_owned(),
            verdict.to_owned(),
        ]);
    }

    /// The table of all.
    pub(crate) fn print(mut self) {
        let mut throughput = Vec::new();
        for ((load, level), against) in &self.against {
            let connections = *load == Load::Connections.name();
            let is_udp = *load == Load::Datagrams.name();
            let (limit, base) = match level.as_str() {
                "flows" if connections => (5.0, None),
                "flows" if !is_udp => (1.0, None),
                "exchanges" if !is_udp => (3.0, self.against.get(&(load.clone(), "flows".to_owned()))),
                _ => continue,
            };
            let (lost, lost_cpu) = (loss(against, base), cpu_loss(against, base));
            let more = if base.is_some() { " more than flows" } else { "" };
            throughput.push((
                level,
                format!("{load}{more}"),
                format!("-{limit} %"),
                found(lost, lost_cpu),
                judge(lost, lost_cpu, limit),
            ));
        }
        let flows = self.against.get(&(Load::Connections.name(), "flows".to_owned()));
        let usual = self.against.get(&(Load::Connections.name(), "per-packet hash".to_owned()));
        if let (Some(flows), Some(usual)) = (flows, usual) {
            let (ours, ours_cpu) = (loss(flows, None), cpu_loss(flows, None));
            let (theirs, theirs_cpu) = (loss(usual, None), cpu_loss(usual, None));
            let shown = format!("{} of {}", found(ours, ours_cpu), found(theirs, theirs_cpu));
            let verdict = if ours_cpu <= theirs_cpu / 2.0 { "met" } else { "missed" };
            let level = self.against.keys().map(|(_, level)| level).find(|level| *level == "flows").unwrap();
            throughput.push((
                level,
                "connections, against the per-packet hash's loss".to_owned(),
                "half".to_owned(),
                shown,
                verdict,
            ));
        }
        let rows: Vec<[String; 4]> = throughput
            .into_iter()
            .map(|(level, what, target, found, verdict)| {
                [format!("{level}: {what}"), target, found, verdict.to_owned()]
            })
            .collect();
        self.lines.splice(0..0, rows);
        println!(
            "\nVerdicts. Throughput: what it lost, by the clock / by the CPU time that each unit takes.\n"
        );
        println!("| what | target | found | |\n|---|---|---|---|");
        for [what, target, found, verdict] in &self.lines {
            println!("| {what} | {target} | {found} | **{verdict}** |");
        }
    }
}

/// Percent of the throughput that is lost; against `base` instead of nothing.
fn loss(against: &Against, base: Option<&Against>) -> f64 {
    (1.0 - against.throughput.median / base.map_or(1.0, |base| base.throughput.median)) * 100.0
}

/// The same, if all CPUs are busy: CPU time that each unit takes more is what there is less for others.
fn cpu_loss(against: &Against, base: Option<&Against>) -> f64 {
    (1.0 - base.map_or(1.0, |base| base.cpu.median) / against.cpu.median) * 100.0
}

fn found(lost: f64, lost_cpu: f64) -> String {
    format!("{:+.1} % / {:+.1} %", -lost, -lost_cpu)
}

fn judge(lost: f64, lost_cpu: f64, limit: f64) -> &'static str {
    match (lost <= limit, lost_cpu <= limit) {
        (true, true) => "met",
        (true, false) => "met by the clock, missed by CPU time",
        (false, true) => "met by CPU time, missed by the clock",
        (false, false) => "missed",
    }
}
