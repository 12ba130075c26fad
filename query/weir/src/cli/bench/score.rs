//! Links beside the truth: how many are right, whether confidences are true to their word, what a least one costs.

use std::fmt::Write;

use weir_stitch::infer::Link;

use super::exchanges::Truth;

/// Upper ends of the ranges that confidences are counted in.
const RANGES: [f32; 7] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.01];
/// Least confidences to choose from.
const LEAST: [f32; 6] = [0.0, 0.5, 0.7, 0.8, 0.9, 0.99];

pub(super) fn table(truth: &Truth, links: &[Link]) -> String {
    let is_right = |link: &Link| link.parent == truth.parents[link.child as usize];
    let right = links.iter().filter(|link| is_right(link)).count();
    let mut is_whole = vec![true; truth.traces.iter().max().map_or(0, |last| last + 1)];
    for link in links.iter().filter(|link| !is_right(link)) {
        is_whole[truth.traces[link.child as usize]] = false;
    }
    let whole = is_whole.iter().filter(|is_whole| **is_whole).count();
    let mut table = String::new();
    let _ = writeln!(table, "  links right   {right} of {} = {:.4}", links.len(), share(right, links.len()));
    let _ = writeln!(
        table,
        "  whole traces  {whole} of {} = {:.4}",
        is_whole.len(),
        share(whole, is_whole.len())
    );

    let _ = writeln!(table, "  confidence      links     said    right");
    let mut from = 0.0;
    for to in RANGES {
        let within: Vec<&Link> = links.iter().filter(|link| (from..to).contains(&link.confidence)).collect();
        let said = within.iter().map(|link| f64::from(link.confidence)).sum::<f64>();
        let right = within.iter().filter(|link| is_right(link)).count();
        if !within.is_empty() {
            let count = within.len();
            let (said, right) = (said / count as f64, share(right, count));
            let _ = writeln!(table, "  {from:.2} to {:.2} {count:>8} {said:>8.3} {right:>8.3}", to.min(1.0));
        }
        from = to;
    }

    let _ = writeln!(table, "  at least     told    right of these   whole traces");
    for least in LEAST {
        let told: Vec<&Link> = links.iter().filter(|link| link.confidence >= least).collect();
        let right = told.iter().filter(|link| is_right(link)).count();
        let mut is_whole = is_whole.clone();
        for link in links.iter().filter(|link| link.confidence < least) {
            is_whole[truth.traces[link.child as usize]] = false;
        }
        let whole = is_whole.iter().filter(|is_whole| **is_whole).count();
        let (told_share, right) = (share(told.len(), links.len()), share(right, told.len()));
        let whole = share(whole, is_whole.len());
        let _ = writeln!(table, "  {least:<8.2} {told_share:>8.4} {right:>17.4} {whole:>14.4}");
    }
    table
}

fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use weir_stitch::infer::Method;

    use super::*;

    #[test]
    fn a_trace_is_whole_where_all_its_links_are_right() {
        let truth = Truth { traces: vec![0, 0, 1, 1], parents: vec![None, Some(0), None, Some(2)] };
        let link = |child, parent, confidence| Link { child, parent, method: Method::Timing, confidence };
        let text = table(&truth, &[link(1, Some(0), 0.95), link(3, Some(0), 0.55)]);
        assert!(text.contains("links right   1 of 2 = 0.5000"), "{text}");
        assert!(text.contains("whole traces  1 of 2 = 0.5000"), "{text}");
        let least = text.lines().find(|line| line.trim_start().starts_with("0.90 ")).unwrap();
        assert!(text.contains("0.50 to 0.60"), "{text}");
        assert!(least.contains("0.90"), "{least}");
    }
}
