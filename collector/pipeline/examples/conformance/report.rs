//! Right / known by field, each miss, and what is not counted: what every subject adds up and prints.

use std::collections::BTreeMap;

/// The scores of one subject.
#[derive(Default)]
pub(super) struct Report {
    /// By field: right, known.
    scores: BTreeMap<&'static str, (usize, usize)>,
    misses: Vec<String>,
    /// By the reason: answers that are no miss of ours.
    set_aside: BTreeMap<&'static str, Vec<String>>,
}

impl Report {
    /// One more known answer of a field; `miss` says what else was read, where it isn't ours.
    pub(super) fn count(&mut self, field: &'static str, right: bool, miss: impl FnOnce() -> String) {
        self.add(field, usize::from(right), 1);
        if !right {
            self.misses.push(miss());
        }
    }

    /// Several at once; their misses come by [`Report::miss`].
    pub(super) fn add(&mut self, field: &'static str, right: usize, known: usize) {
        let score = self.scores.entry(field).or_default();
        *score = (score.0 + right, score.1 + known);
    }

    /// Something that is wrong and belongs to no field, or was counted already.
    pub(super) fn miss(&mut self, what: String) {
        self.misses.push(what);
    }

    /// An answer that is not counted, and why.
    pub(super) fn set_aside(&mut self, why: &'static str, what: String) {
        self.set_aside.entry(why).or_default().push(what);
    }

    /// Prints it all; whether each field has the share of right answers that is wanted.
    pub(super) fn print(&self, title: &str, fields: &[&'static str], wanted: f64) -> bool {
        println!("\n{title}\n");
        let width = fields.iter().map(|field| field.len()).max().unwrap_or_default();
        println!("{:width$} {:>6} {:>6}", "field", "right", "known");
        let mut good = true;
        for field in fields {
            let Some((right, known)) = self.scores.get(field) else { continue };
            let ratio = *right as f64 / *known as f64;
            good &= ratio >= wanted;
            println!("{field:width$} {right:>6} {known:>6} {:>7.2}%", ratio * 100.0);
        }
        println!("\n{} misses", self.misses.len());
        for miss in &self.misses {
            println!("  {miss}");
        }
        for (why, answers) in &self.set_aside {
            println!("{} not counted: {why}", answers.len());
            for answer in answers {
                println!("  {answer}");
            }
        }
        good
    }
}
