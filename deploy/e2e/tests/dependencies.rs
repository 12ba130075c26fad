//! Who may depend on whom (`ARCHITECTURE.md`, code map): what `cargo metadata` says is what the map allows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Each crate and those of our own that it may use. An edge that isn't here is a decision: it gets a line in
/// `ARCHITECTURE.md` first.
const ALLOWED: [(&str, &[&str]); 17] = [
    ("weir-abi", &[]),
    ("weir-model", &[]),
    ("weir-kit", &[]),
    ("weir-identity", &[]),
    ("weir-dissect", &["weir-model"]),
    ("weir-otlp", &["weir-model"]),
    ("weir-wire", &["weir-model"]),
    ("weir-stitch", &["weir-model"]),
    ("weir-store", &["weir-model"]),
    ("weir-probe", &["weir-abi", "weir-dissect", "weir-kit", "weir-model", "weir-wire"]),
    (
        "weir-collector",
        &[
            "weir-dissect",
            "weir-identity",
            "weir-kit",
            "weir-model",
            "weir-otlp",
            "weir-stitch",
            "weir-store",
            "weir-wire",
        ],
    ),
    ("weir-query", &["weir-model", "weir-store"]),
    ("weir-cluster", &["weir-query"]),
    ("weir-api", &["weir-kit", "weir-model", "weir-otlp", "weir-query", "weir-store"]),
    (
        "weir",
        &[
            "weir-api",
            "weir-cluster",
            "weir-collector",
            "weir-kit",
            "weir-model",
            "weir-probe",
            "weir-query",
            "weir-stitch",
            "weir-store",
            "weir-wire",
        ],
    ),
    ("weir-e2e", &[]),
    ("weir-bpf", &["weir-abi"]),
];

/// Crates that take the time as an argument and do no I/O: no runtime, no sockets, no clock of their own.
const PURE: [&str; 6] =
    ["weir-abi", "weir-model", "weir-dissect", "weir-identity", "weir-otlp", "weir-stitch"];
const IMPURE_CRATES: [&str; 9] =
    ["tokio", "tonic", "hyper", "axum", "reqwest", "object_store", "nix", "kube", "async-std"];

#[test]
fn crates_depend_only_where_the_map_allows_it() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for (name, uses) in ours() {
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not in the map"));
            continue;
        };
        let own = uses.iter().filter(|used| used.starts_with("weir"));
        wrong.extend(
            own.filter(|used| !allowed.contains(used.as_str())).map(|used| format!("{name} uses {used}")),
        );
    }
    assert!(wrong.is_empty(), "edges that ARCHITECTURE.md doesn't have:\n{}", wrong.join("\n"));
}

#[test]
fn the_functional_core_does_no_io() {
    let crates = ours();
    for name in PURE {
        let uses = crates.get(name).unwrap_or_else(|| panic!("{name} is not in the workspace"));
        let wrong: Vec<&String> = uses.iter().filter(|used| IMPURE_CRATES.contains(&used.as_str())).collect();
        assert!(wrong.is_empty(), "{name} uses {wrong:?}");
    }
}

/// Our crates with what each needs in order to run (not what only its tests or build need).
fn ours() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let arguments =
        ["metadata", "--no-deps", "--format-version=1", "--offline", "--locked", "--manifest-path", manifest];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let text = weir_e2e::run(cargo, arguments).unwrap_or_else(|err| panic!("cargo metadata: {err:#}"));
    let metadata: Value = serde_json::from_str(&text).unwrap_or_else(|err| panic!("cargo metadata: {err}"));
    let packages = metadata["packages"].as_array().unwrap_or_else(|| panic!("no packages in cargo metadata"));
    packages.iter().map(|package| (text_of(&package["name"]), needs(package))).collect()
}

fn needs(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| text_of(&dependency["name"]))
        .collect()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
