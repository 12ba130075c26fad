//! DNS on port 53 against tshark, in every capture of the folder: the manifest has no answers for it.

mod tshark;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::list;
use tshark::{Comparison, FIELDS, compare};

const WANTED: f64 = 0.995;

/// Prints right / known by field, and each miss. Whether that is good enough.
pub(super) fn score(folder: &Path, manifest: &Value) -> bool {
    let mut scores: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let (mut captures, mut misses) = (0, Vec::new());
    for file in list(manifest, "captures").filter_map(|capture| capture["file"].as_str()) {
        let Comparison { scores: found, misses: missed, surplus } = match compare(&folder.join(file)) {
            Ok(comparison) => comparison,
            Err(err) => {
                println!("DNS: {file}: {err}");
                return false;
            }
        };
        captures += usize::from(!found.is_empty());
        for (field, (right, known)) in found {
            let score = scores.entry(field).or_default();
            *score = (score.0 + right, score.1 + known);
        }
        misses.extend(missed.iter().map(|miss| format!("{file} {miss}")));
        misses.extend(surplus.iter().map(|row| format!("{file}: tshark shows no {row}")));
    }
    println!("\n{captures} captures with DNS on port 53\n");
    println!("{:8} {:>6} {:>6} {:>8}", "field", "right", "known", "");
    let mut good = true;
    for field in FIELDS {
        let Some((right, known)) = scores.get(field) else { continue };
        let ratio = *right as f64 / *known as f64;
        good &= ratio >= WANTED;
        println!("{field:8} {right:>6} {known:>6} {:>7.2}%", ratio * 100.0);
    }
    println!("\n{} misses", misses.len());
    for miss in misses {
        println!("  {miss}");
    }
    good
}
