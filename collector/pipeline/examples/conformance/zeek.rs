//! Zeek's logs, as its tests keep them: some with all columns, some cut down to a few, times made unknown.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// A line of a log, by its columns' names. Fields that Zeek left unset are not in it.
pub(super) type Line = BTreeMap<String, String>;

/// The lines of a capture's log, where it has that one.
pub(super) fn log(folder: &Path, capture: &Value, name: &str) -> Vec<Line> {
    let path = capture["logs"][name].as_str().map(|path| folder.join(path));
    lines(&path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default())
}

fn lines(text: &str) -> Vec<Line> {
    let mut names: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(fields) = line.strip_prefix("#fields\t") {
            names = fields.split('\t').collect();
        } else if !line.starts_with('#') && names.is_empty() {
            // A log that was cut to some columns begins with their names.
            names = line.split('\t').collect();
        } else if !line.starts_with('#') {
            let values = line.split('\t').map(unescaped);
            let set = names.iter().map(|name| (*name).to_owned()).zip(values);
            found.push(set.filter(|(_, value)| value != "-").collect());
        }
    }
    found
}

/// Zeek writes a backslash as `\\` and other bytes as `\xHH`; an empty value has a word of its own.
fn unescaped(value: &str) -> String {
    if value == "(empty)" {
        return String::new();
    }
    value.replace("\\\\", "\\").replace("\\x5c", "\\")
}
