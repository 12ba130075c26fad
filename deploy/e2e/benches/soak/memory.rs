//! Resident memory of a process over time.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use weir_e2e::Process;

use crate::LOOK;

/// Samples, oldest first.
pub(crate) struct Memory {
    name: &'static str,
    process_id: u32,
    /// Whether a few minutes are enough to see what it settles at.
    settles_soon: bool,
    mb: Vec<f64>,
}

/// A store that seals every ten minutes fills its memory until then.
const LONG_ENOUGH: Duration = Duration::from_mins(25);
/// Growth that is still flat: allocators keep what they once had.
const SLACK_MB: f64 = 8.0;
const SLACK: f64 = 1.1;

impl Memory {
    pub(crate) fn of(name: &'static str, process: &Process, settles_soon: bool) -> Memory {
        Memory { name, process_id: process.pid(), settles_soon, mb: Vec::new() }
    }

    pub(crate) fn look(&mut self) -> anyhow::Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kb: f64 = line.split_whitespace().next().context("VmRSS")?.parse()?;
        self.mb.push(kb / 1024.0);
        Ok(())
    }

    /// Prints a row; whether it is flat: the most in the last quarter is hardly more than the most in the second and
    /// third. (The first quarter warms up; the store fills and empties its memory, so that single values say little.)
    pub(crate) fn print(&self) -> bool {
        let quarter = self.mb.len() / 4;
        let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
        let (middle, last) = (most(&self.mb[quarter..quarter * 3]), most(&self.mb[quarter * 3..]));
        let flat = last <= (middle * SLACK).max(middle + SLACK_MB);
        let is_long_enough = self.settles_soon || LOOK.saturating_mul(self.mb.len() as u32) >= LONG_ENOUGH;
        println!(
            "| resident memory of {} | {:.1} MB after a quarter, at most {middle:.1} MB until three, {last:.1} MB in the last: {:+.2} MB a minute | **{}** |",
            self.name,
            self.mb.get(quarter).copied().unwrap_or_default(),
            self.slope_a_minute(quarter),
            match (flat, is_long_enough) {
                (true, _) => "flat",
                (false, true) => "grows",
                (false, false) => "too short to tell",
            }
        );
        flat || !is_long_enough
    }

    /// Least squares over all but the first quarter.
    fn slope_a_minute(&self, from: usize) -> f64 {
        let values = &self.mb[from..];
        let middle_x = (values.len() as f64 - 1.0) / 2.0;
        let middle_y = values.iter().sum::<f64>() / values.len() as f64;
        let (mut above, mut below) = (0.0, 0.0);
        for (x, y) in values.iter().enumerate() {
            let x = x as f64 - middle_x;
            above += x * (y - middle_y);
            below += x * x;
        }
        if below == 0.0 { 0.0 } else { above / below * (60.0 / LOOK.as_secs_f64()) }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:.0} MB", self.name, self.mb.last().copied().unwrap_or_default())
    }
}
