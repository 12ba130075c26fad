//! DNS on port 53 against tshark, in every capture of the folder: the manifest has no answers for it.

mod tshark;

use std::path::Path;

use serde_json::Value;

use super::list;
use super::report::Report;
use tshark::{Comparison, FIELDS, compare};

const WANTED: f64 = 0.995;

/// Prints right / known by field, and each miss. Whether that is good enough.
pub(super) fn score(folder: &Path, manifest: &Value) -> bool {
    let mut report = Report::default();
    let mut captures = 0;
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
            report.add(field, right, known);
        }
        for miss in missed {
            report.miss(format!("{file} {miss}"));
        }
        for row in surplus {
            report.miss(format!("{file}: tshark shows no {row}"));
        }
    }
    report.print(&format!("{captures} captures with DNS on port 53"), &FIELDS, WANTED)
}
