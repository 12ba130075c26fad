//! What the documents point at is there: a map that names what isn't leads astray.

use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "deploy/README.md",
    "collector/adr/0001-store-format.md",
    "probe/adr/0001-hooks.md",
];
/// Folders at the top whose paths a document may name in its text.
const TOP: [&str; 6] = ["probe/", "collector/", "query/", "ui/", "deploy/", "docs/"];
/// Named as where something will be.
const PLANNED: [&str; 4] = ["collector/policy", "deploy/helm", "deploy/systemd", "ui/dist"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut named = 0;
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text =
            std::fs::read_to_string(root().join(document)).unwrap_or_else(|err| panic!("{document}: {err}"));
        let folder = root().join(document).parent().map(Path::to_owned).unwrap_or_default();
        for link in links(&text) {
            named += 1;
            if !folder.join(link).exists() {
                missing.push(format!("{document}: ]({link})"));
            }
        }
        for path in paths(&text) {
            named += 1;
            if !root().join(path).exists() && !PLANNED.contains(&path) {
                missing.push(format!("{document}: `{path}`"));
            }
        }
    }
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
    assert!(named > 30, "only {named} paths found: the documents are read wrongly");
}

/// Targets of Markdown links that are no addresses.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"))
}

/// Paths in code spans; those with wildcards or alternatives name no single file.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| TOP.iter().any(|top| span.starts_with(top)))
        .filter(|span| !span.contains(['*', '{', '<', ' ', '…']))
        .map(|span| span.trim_end_matches('/'))
}

#[test]
fn links_and_paths_are_told_from_other_text() {
    let text = "See [the map](ARCHITECTURE.md), [Weir](https://weir.example), `deploy/setup.sh` and `a::b` or `ui/{a,b}`.";
    assert_eq!(links(text).collect::<Vec<_>>(), ["ARCHITECTURE.md"]);
    assert_eq!(paths(text).collect::<Vec<_>>(), ["deploy/setup.sh"]);
}
