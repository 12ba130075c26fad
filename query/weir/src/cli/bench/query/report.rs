//! The table: medians, Weir beside the faster of its two rivals, bytes a row, and which targets are met.

use std::fmt::Write;

use super::fill::Filled;
use super::rival::Rival;

/// Weir's time by the faster rival's: at most so on (geometric) average, and of any question.
const RATIO: (f64, f64) = (1.0, 2.0);
/// First rows are there after this many ms.
const FIRST_MS: f64 = 200.0;
/// A flow takes this part of what it takes in ClickHouse, a span so many bytes.
const ON_DISK: (f64, f64) = (0.8, 40.0);
/// The rivals that count; the third, which reads our files, is for information.
const RIVALS: usize = 2;

/// The times of one question, ms.
pub(super) struct Line {
    what: &'static str,
    pub(super) ours: Vec<f64>,
    pub(super) first: Vec<f64>,
    pub(super) theirs: Vec<Vec<f64>>,
}

impl Line {
    pub(super) fn new(what: &'static str, rivals: usize) -> Line {
        Line { what, ours: Vec::new(), first: Vec::new(), theirs: vec![Vec::new(); rivals] }
    }
}

/// One engine's bytes by table.
struct Sizes {
    engine: String,
    load_s: Option<f64>,
    bytes: Vec<Option<u64>>,
}

/// All that is measured.
pub(super) struct Report {
    head: String,
    tables: Vec<(&'static str, u64)>,
    sizes: Vec<Sizes>,
    engines: Vec<String>,
    /// Ratio to the faster rival and first rows of each question.
    lines: Vec<(&'static str, Option<f64>, f64)>,
}

impl Report {
    pub(super) fn new(filled: &Filled, threads: usize, memory: usize) -> Report {
        let tables: Vec<_> = filled.tables.iter().map(|table| (table.table, table.rows_sealed)).collect();
        let counts: Vec<_> = tables.iter().map(|(table, rows)| format!("{rows} {table}")).collect();
        let mut head = format!("{}; {threads} threads, {} MiB each", counts.join(", "), memory >> 20);
        let files: u64 = filled.tables.iter().map(|table| table.files).sum();
        let _ = match filled.took {
            Some((seconds, cpu)) => {
                write!(
                    head,
                    "\ndrawn, stored and sealed into {files} files in {seconds:.0} s ({cpu:.0} s of CPU)"
                )
            }
            None => write!(head, "\n{files} files of an earlier run"),
        };
        let ours = Sizes {
            engine: "weir".to_owned(),
            load_s: None,
            bytes: filled.tables.iter().map(|table| Some(table.bytes)).collect(),
        };
        Report { head, tables, sizes: vec![ours], engines: Vec::new(), lines: Vec::new() }
    }

    pub(super) fn head(&self) -> String {
        self.head.clone()
    }

    pub(super) fn add_rival(&mut self, rival: &Rival) {
        self.engines.push(rival.version.clone());
        if !rival.bytes.is_empty() {
            let bytes = self.tables.iter().map(|(table, _)| rival.bytes.get(*table).copied()).collect();
            self.sizes.push(Sizes { engine: rival.version.clone(), load_s: Some(rival.load_s), bytes });
        }
    }

    /// Bytes a row on disk, by table and engine.
    pub(super) fn sizes(&self) -> String {
        let mut text = format!("\n{:<34}", "bytes a row on disk");
        for (table, _) in &self.tables {
            let _ = write!(text, "{table:>16}");
        }
        for sizes in &self.sizes {
            let _ = write!(text, "\n{:<34}", sizes.engine);
            for ((_, rows), bytes) in self.tables.iter().zip(&sizes.bytes) {
                let _ = match bytes {
                    Some(bytes) => write!(text, "{:>16.1}", *bytes as f64 / *rows as f64),
                    None => write!(text, "{:>16}", "-"),
                };
            }
            if let Some(load_s) = sizes.load_s {
                let _ = write!(text, "   loaded in {load_s:.0} s");
            }
        }
        text.push('\n');
        text
    }

    pub(super) fn titles(&self) -> String {
        let mut text = format!("{:<38}{:>10}{:>12}", "median, ms", "weir", "first rows");
        for engine in &self.engines {
            let _ = write!(text, "{engine:>28}");
        }
        if !self.engines.is_empty() {
            let _ = write!(text, "{:>20}", "weir / faster");
        }
        text
    }

    pub(super) fn line(&mut self, line: Line) -> String {
        let (ours, first) = (median(line.ours), median(line.first));
        let theirs: Vec<f64> = line.theirs.into_iter().map(median).collect();
        let mut text = format!("{:<38}{ours:>10.1}{first:>12.1}", line.what);
        for ms in &theirs {
            let _ = write!(text, "{ms:>28.1}");
        }
        let faster = theirs.iter().take(RIVALS).copied().reduce(f64::min);
        let ratio = faster.map(|faster| ours / faster);
        if let Some(ratio) = ratio {
            let _ = write!(text, "{ratio:>20.2}");
        }
        self.lines.push((line.what, ratio, first));
        text
    }

    /// The mean, and each target with whether it is met.
    pub(super) fn end(&self) -> String {
        let ratios: Vec<(&str, f64)> =
            self.lines.iter().filter_map(|(what, ratio, _)| Some((*what, (*ratio)?))).collect();
        let mut text = String::new();
        if !ratios.is_empty() {
            let mean = (ratios.iter().map(|(_, ratio)| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
            let slower: Vec<&str> =
                ratios.iter().filter(|(_, ratio)| *ratio > RATIO.1).map(|(what, _)| *what).collect();
            target(
                &mut text,
                mean <= RATIO.0,
                &format!("geometric mean {mean:.2} of the faster's (at most {})", RATIO.0),
            );
            target(
                &mut text,
                slower.is_empty(),
                &format!(
                    "{} of {} questions slower than {} times {slower:?}",
                    slower.len(),
                    ratios.len(),
                    RATIO.1
                ),
            );
        }
        let late: Vec<&str> =
            self.lines.iter().filter(|(_, _, first)| *first > FIRST_MS).map(|(what, _, _)| *what).collect();
        target(
            &mut text,
            late.is_empty(),
            &format!("first rows after {FIRST_MS} ms or less, but for {late:?}"),
        );
        for (table, least) in [("flows", None), ("spans", Some(ON_DISK.1))] {
            let Some(number) = self.tables.iter().position(|(name, _)| *name == table) else { continue };
            let each =
                |sizes: &Sizes| sizes.bytes[number].map(|bytes| bytes as f64 / self.tables[number].1 as f64);
            let Some(ours) = self.sizes.first().and_then(each) else { continue };
            if let Some(least) = least {
                target(
                    &mut text,
                    ours <= least,
                    &format!("{ours:.1} bytes for one of {table} (at most {least})"),
                );
            } else if let Some(theirs) =
                self.sizes.iter().find(|sizes| sizes.engine.starts_with("clickhouse")).and_then(each)
            {
                let part = ours / theirs;
                target(
                    &mut text,
                    part <= ON_DISK.0,
                    &format!(
                        "{ours:.1} bytes for one of {table}, {part:.2} of ClickHouse's (at most {})",
                        ON_DISK.0
                    ),
                );
            }
        }
        text
    }
}

fn target(text: &mut String, is_met: bool, what: &str) {
    let _ = write!(text, "\n{}: {what}", if is_met { "met    " } else { "NOT met" });
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    match times.len() % 2 {
        _ if times.is_empty() => 0.0,
        0 => f64::midpoint(times[middle - 1], times[middle]),
        _ => times[middle],
    }
}

#[cfg(test)]
mod tests {
    use weir_store::TableStats;

    use super::*;

    fn stats(table: &'static str, rows_sealed: u64, bytes: u64) -> TableStats {
        TableStats {
            table,
            rows_memory: 0,
            bytes_memory: 0,
            rows_sealed,
            files: 1,
            bytes,
            retired: None,
            rows_damaged: 0,
        }
    }

    #[test]
    fn a_target_is_met_only_by_what_was_measured() {
        let filled = Filled { tables: vec![stats("flows", 10, 700), stats("spans", 10, 500)], took: None };
        let mut report = Report::new(&filled, 2, 1 << 30);
        report.engines = vec!["duckdb".to_owned(), "clickhouse".to_owned()];
        let theirs =
            Sizes { engine: "clickhouse 1".to_owned(), load_s: None, bytes: vec![Some(1_000), None] };
        report.sizes.push(theirs);
        for (what, ours, theirs) in [("a", 10.0, [40.0, 20.0]), ("b", 90.0, [100.0, 30.0])] {
            let mut line = Line::new(what, 2);
            line.ours = vec![ours, ours * 9.0, ours / 9.0];
            line.first = vec![ours];
            line.theirs = theirs.map(|ms| vec![ms]).to_vec();
            report.line(line);
        }
        let end = report.end();
        // Half as long as the faster, and three times as long: the mean is √1.5.
        assert!(end.contains("NOT met: geometric mean 1.22"), "{end}");
        assert!(end.contains(r#"NOT met: 1 of 2 questions slower than 2 times ["b"]"#), "{end}");
        assert!(end.contains("met    : first rows"), "{end}");
        assert!(end.contains("met    : 70.0 bytes for one of flows, 0.70"), "{end}");
        assert!(end.contains("NOT met: 50.0 bytes for one of spans"), "{end}");
    }
}
